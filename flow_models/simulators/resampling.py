"""Exact posterior draws out of weighted candidates: as many candidates as it takes, then systematic
resampling."""

from collections.abc import Callable

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics.posterior import importance_resample

LEAST = 5000.0  # effective sample size below which more candidates are drawn
GROWTH, MOST = 4, 3_000_000  # each time so many more, up to this number of proposals


def posterior_draws(
    candidates: Callable, y: np.ndarray, n: int, seed: int, proposals: int
) -> tuple[np.ndarray, np.ndarray]:
    """x [B, n, P] for observations y [B, M], and the effective sample size of each, [B].

    Args:
      candidates: candidates(y [M], number, rng) -> x [C, P] and weights [C], C in proportion to the
        number.
      proposals: the number to begin with; grows until the effective sample size is LEAST or the
        number MOST.

    Each observation has random numbers of its own: a part of a batch gives the same draws as the
    whole up to there.

    Raises:
      UserError: no candidate has any weight.
    """
    drawn = [
        _draws(candidates, each, n, np.random.default_rng((seed, i)), proposals)
        for i, each in enumerate(y)
    ]
    return tuple(np.stack(parts) for parts in zip(*drawn))


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
