"""Draws of a network from a region that it hardly reaches, and the share of its draws there."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

PARTICLES = 1000
KEPT = 0.2  # share of the draws that a level keeps
STEPS = 10  # of each draw a level
LEVELS = 25  # at most: down to shares of 1e-17


def reached(
    theta_of: Callable, outside_by: Callable, size: int, n: int, seed: int
) -> tuple[np.ndarray, float] | None:
    """n draws theta [n, P] inside the region, and log of the share that is there; None where even
    that cannot be found.

    Levels come nearer to the region: each keeps the nearest fifth of the draws, copies them, and
    moves the copies by steps that keep N(0, I) of their latents and go no further away than the
    level. Draws are somewhat dependent, and the share is right to some tens of percent. Estimation
    of small failure probabilities in high dimensions by subset simulation (Au and Beck 2001), with
    the steps of MCMC methods for functions (Cotter, Roberts, Stuart and White 2013).

    Args:
      theta_of: latents [n, size] -> theta [n, P].
      outside_by: theta [n, P] -> how far outside [n]; at most 0 inside.
    """
    rng = np.random.default_rng((seed % 2**64, 5))
    distance = lambda theta: np.nan_to_num(outside_by(theta), nan=np.inf)
    z = rng.normal(size=(max(n, PARTICLES), size))
    theta = theta_of(z)
    d, log_share, step = distance(theta), 0.0, 0.7
    for _ in range(LEVELS):
        level = max(float(np.sort(d)[int(KEPT * len(d))]), 0.0)
        kept = np.flatnonzero(d <= level)
        log_share += math.log(len(kept) / len(d))
        chosen = rng.choice(kept, len(d))
        z, theta, d = z[chosen], theta[chosen], d[chosen]
        for _ in range(STEPS):
            proposed = math.sqrt(1 - step**2) * z + step * rng.normal(size=z.shape)
            there = theta_of(proposed)
            away = distance(there)
            taken = away <= level
            z[taken], theta[taken], d[taken] = proposed[taken], there[taken], away[taken]
            step = min(step * math.exp(0.5 * (taken.mean() - 0.4)), 0.95)
        if level == 0:
            return theta[rng.permutation(len(d))[:n]], log_share
    return None
