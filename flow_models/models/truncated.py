"""Posteriors inside bounds that the network does not know: draws outside are rejected, and the
density is renormalised by the share inside, observation by observation.

A flow on all of the line learns an edge as a steep slope and leaks a little across it. That costs
less than a transform of the interval to the line, whose latents are harder to learn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.problem import Parameters

DRAWS = 128  # a round, of the share inside
SETTLED = 1e-3  # squared relative error of the share inside, at which rounds end
ROUNDS = 48  # at most
LEAST = 1e-3  # share inside below which samples are refused
TRIES = 20_000  # draws of an observation before they are


@dataclasses.dataclass(frozen=True)
class Truncated(Parameters):
    """Parameters with bounds; the network sees theta and knows of none."""

    def allows(self, theta: np.ndarray) -> np.ndarray:
        """Which draws theta [..., P] of the network are inside the bounds."""
        return self.simulator.allows(theta)  # type: ignore[attr-defined]


def filled(codec: Truncated, draw: Callable, rows: int, n: int) -> np.ndarray:
    """n draws inside for each of the observations 0 .. rows - 1, theta [rows, n, P].

    Args:
      draw: (numbers of observations [B], n, round) -> theta [B, n, P].

    Raises:
      UserError: almost no draw of an observation is inside.
    """
    found = np.empty((rows, n, codec.simulator.size), np.float32)
    count, tried = np.zeros(rows, int), np.zeros(rows, int)
    lacking, each, number = np.arange(rows), n, 0
    while len(lacking):
        theta = draw(lacking, each, number)
        for place, drawn, inside in zip(lacking, theta, codec.allows(theta), strict=True):
            taken = drawn[inside][: n - count[place]]
            found[place, count[place] : count[place] + len(taken)] = taken
            count[place] += len(taken)
        tried[lacking] += each
        lacking = lacking[count[lacking] < n]
        _check(count[lacking], tried[lacking], lacking)
        share = (count[lacking] + 1) / (tried[lacking] + 2)
        needed = (n - count[lacking]) / share
        each, number = int(min(1.2 * needed.max(initial=0) + 16, max(n, TRIES))), number + 1
    return found


def _check(count, tried, places) -> None:
    """Raises UserError for observations that have almost no draw inside the bounds."""
    bad = (tried >= TRIES) & (count < LEAST * tried)
    if bad.any():
        first = int(np.argmax(bad))
        raise UserError(
            f"of {tried[first]:,} draws for observation {places[first]} only {count[first]} are"
            " inside the bounds: it is unlike the simulations, or the training is too short; look"
            " at it, or fit with truncate=False"
        )


def log_share(codec: Truncated, draw: Callable, rows: int) -> np.ndarray:
    """log of the share of draws inside, [rows]; the same for equal observations.

    Args:
      draw: (numbers of observations [B], n, round) -> theta [B, n, P], from equal latents for all.
    """
    inside, tried = np.zeros(rows), np.zeros(rows)
    open_ = np.arange(rows)
    for number in range(ROUNDS):
        if not len(open_):
            break
        inside[open_] += codec.allows(draw(open_, DRAWS, number)).sum(1)
        tried[open_] += DRAWS
        share = (inside[open_] + 0.5) / (tried[open_] + 1)
        open_ = open_[(1 - share) / (share * tried[open_]) > SETTLED]
    return np.log((inside + 0.5) / (tried + 0.5))
