"""Posteriors inside bounds that the network does not know: draws outside are rejected, and the
density is renormalised by the share inside, observation by observation.

A flow on all of the line learns an edge as a steep slope and leaks a little across it. That costs
less than a transform of the interval to the line, whose latents are harder to learn. Where an
observation has almost no draw inside, `models.rare` finds them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.models.problem import Parameters
from flow_models.models.rows import rows_of

DRAWS = 128  # a round, of the share inside
SETTLED = 1e-3  # squared relative error of the share inside, at which rounds end
ROUNDS = 48  # at most
LEAST = 1e-3  # share inside below which rejection ends
TRIES = 20_000  # draws of an observation before it does
FEW = 8  # draws inside, below which their share is not known from them
ROUNDED = 1e-6  # of a sum of pairs, which may lie so far beyond its limit


@dataclasses.dataclass(frozen=True)
class Truncated(Parameters):
    """Parameters with bounds and linear limits; the network sees theta and knows of none.

    Attributes:
      matrix, limits: A [K, P] and b [K] of A x <= b, in the user's units; None for none.
    """

    matrix: np.ndarray | None = None
    limits: np.ndarray | None = None

    def __post_init__(self):
        """Arrays stay arrays: they are saved beside the description."""

    def allows(self, theta: np.ndarray) -> np.ndarray:
        """Which draws theta [..., P] of the network are inside the bounds and limits."""
        inside = self.simulator.allows(theta)  # type: ignore[attr-defined]
        return inside if self.matrix is None else inside & (self._beyond(self._x(theta)) <= 0)

    def outside_by(self, theta: np.ndarray) -> np.ndarray:
        """How far theta [n, P] are outside, in standard deviations of the pairs, [n]; at most 0
        inside."""
        drawn, x = self.simulator, self._x(theta)
        scale = np.asarray(drawn.scale)  # type: ignore[attr-defined]
        found = [np.where(self.allows(theta), -np.inf, 0.0)]
        for i, (low, high) in enumerate(zip(drawn.lower, drawn.upper)):  # type: ignore[attr-defined]
            found += [] if low is None else [(low - x[:, i]) / scale[i]]
            found += [] if high is None else [(x[:, i] - high) / scale[i]]
        if self.matrix is not None:
            found.append(self._beyond(x, np.linalg.norm(self.matrix * scale, axis=1)))
        return np.max(found, 0)

    def refuse_outside(self, theta: np.ndarray) -> None:
        """Raises UserError for pairs theta [N, P] beyond a limit, but for rounding."""
        x = self._x(theta)
        far = self._beyond(x, 1.0) > ROUNDED * (np.abs(x).max() + 1)
        if far.any():
            row = int(np.argmax(far))
            raise UserError(
                f"{far.sum():,} of {len(x):,} rows of x are outside the support, the first is row"
                f" {row}: {x[row].tolist()}"
            )

    def number(self, dtype):
        """float64 beside limits, which sums in float32 would cross."""
        return super().number(dtype) if self.matrix is None else np.dtype(np.float64)

    def is_beyond(self, x: np.ndarray) -> np.ndarray:
        """Which x [..., P] are beyond a limit of their sums, [...]."""
        return np.zeros(x.shape[:-1], bool) if self.matrix is None else self._beyond(x) > 0

    def encode(self, values, dtype, seed=0):
        found = super().encode(values, dtype, seed)
        if self.matrix is None:
            return found
        beyond = self.is_beyond(rows_of(values, self.columns, "x", np.float64)[0])
        return found._replace(rows=np.where(beyond[:, None], np.nan, found.rows).astype(dtype))

    def _x(self, theta):
        scale, mean = self.simulator.scale, self.simulator.mean  # type: ignore[attr-defined]
        return theta.astype(np.float64) * scale + mean

    def _beyond(self, x, scale=1.0) -> np.ndarray:
        """By how much of `scale` x [..., P] are beyond their worst limit, [...]."""
        assert self.matrix is not None and self.limits is not None
        return ((x @ self.matrix.T - self.limits) / scale).max(-1)

    def arrays(self):
        return {} if self.matrix is None else {"matrix": self.matrix, "limits": self.limits}

    def with_arrays(self, arrays):
        return dataclasses.replace(self, **arrays)


def half_spaces(support, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A [K, P] and b [K] of a support that is told as (A, b).

    Raises:
      UserError: something else.
    """
    try:
        matrix, limits = (np.asarray(each, np.float64) for each in support)
        fits = matrix.shape == (len(limits), size) and limits.ndim == 1
    except (TypeError, ValueError):
        fits = False
    if not fits or not (np.isfinite(matrix).all() and np.isfinite(limits).all()):
        raise UserError(f"support is (A, b) of A x <= b, with A [K, {size}] and b [K]")
    if not np.abs(matrix).max(1, initial=0.0).all():
        raise UserError("a row of A of the support is 0: leave it out")
    return matrix, limits


def filled(codec: Truncated, draw: Callable, rows: int, n: int, rare: Callable) -> np.ndarray:
    """n draws inside for each of the observations 0 .. rows - 1, theta [rows, n, P].

    Args:
      draw: (numbers of observations [B], n, round) -> theta [B, n, P].
      rare: (number of an observation, n) -> theta [n, P] inside, and log of their share; or None.

    Raises:
      UserError: no draw of an observation is inside, however rare.
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
        seldom = (tried[lacking] >= TRIES) & (count[lacking] < LEAST * tried[lacking])
        for place in lacking[seldom]:
            found[place] = _rare(rare(place, n), place, count[place], tried[place])
        lacking = lacking[~seldom]
        share = (count[lacking] + 1) / (tried[lacking] + 2)
        needed = (n - count[lacking]) / share
        each, number = int(min(1.2 * needed.max(initial=0) + 16, max(n, TRIES))), number + 1
    return found


def _rare(drawn: tuple[np.ndarray, float] | None, place: int, count: int, tried: int):
    """The rare draws of an observation, with a warning."""
    said = f"of {tried:,} draws for observation {place} only {count} are inside the bounds"
    if drawn is None:
        raise UserError(
            f"{said}, and none were found by moving towards them: it is unlike the simulations, or"
            " the training is too short; look at it, or fit with truncate=False"
        )
    warn(
        f"{said}: its samples are of the tail of the network that is inside, a share of about"
        f" {math.exp(drawn[1]):.1g}. It is unlike the simulations, or the training is too short"
    )
    return drawn[0]


def log_share(codec: Truncated, draw: Callable, rows: int, rare: Callable) -> np.ndarray:
    """log of the share of draws inside, [rows], NaN where there is none; the same for equal
    observations.

    Args:
      draw: (numbers of observations [B], n, round) -> theta [B, n, P], from equal latents for all.
      rare: as in `filled`, for shares that are too small to be counted.
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
    found = np.log((inside + 0.5) / (tried + 0.5))
    for place in np.flatnonzero(inside < FEW):
        drawn = rare(place, 1)
        found[place] = np.nan if drawn is None else drawn[1]
    return found
