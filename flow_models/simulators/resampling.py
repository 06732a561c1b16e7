"""Exact posterior draws from weighted candidates: as many candidates as it takes, then systematic
resampling."""

from collections.abc import Callable

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics.posterior import importance_resample

LEAST = 5000.0  # effective sample size; below it more candidates are drawn
GROWTH, MOST = 4, 3_000_000  # factor of each further attempt, and the most proposals


def posterior_draws(
    candidates: Callable, y: np.ndarray, n: int, seed: int, proposals: int
) -> tuple[np.ndarray, np.ndarray]:
    """x [B, n, P] for observations y [B, M], and the effective sample size of each, [B].

    Args:
      candidates: candidates(y [M], number, rng) -> x [C, P] and weights [C], C proportional to
        number.
      proposals: the first number; it grows until the effective sample size reaches LEAST, or the
        number MOST.

    Each observation has its own random numbers: the first observations of a batch get the same
    draws whatever follows.

    Raises:
      UserError: no candidate has any weight.
    """
    drawn = [
        _draws(candidates, each, n, np.random.default_rng((seed, i)), proposals)
        for i, each in enumerate(y)
    ]
    samples, sizes = zip(*drawn)
    return np.stack(samples), np.stack(sizes)


def _draws(candidates, y, n, rng, proposals):
    while True:
        x, weights = candidates(y, proposals, rng)
        total = weights.sum()
        size = total**2 / np.square(weights).sum() if total > 0 else 0.0
        if size >= LEAST or proposals * GROWTH > MOST:
            break
        proposals *= GROWTH
    if not size:
        raise UserError(
            f"no candidate of the prior explains the observation {np.array2string(y, precision=4)}"
        )
    with np.errstate(divide="ignore"):
        drawn = importance_resample(x, np.log(weights), n, int(rng.integers(2**31)), smooth=False)
    return drawn.samples, drawn.effective_size
