"""Checks of a posterior that see what single parameters do not: dependence among them and on the
data.

Shapes as in `calibration`: truths [B, P] and samples [B, S, P].
"""

from __future__ import annotations

import numpy as np

from flow_models.diagnostics.calibration import checked, pooled_moments, sbc_ranks

RANDOM = 4  # random directions
FOUND = 3  # worst directions
BLOCK = 32  # observations whose samples are handled at a time


def projection_ranks(truths: np.ndarray, samples: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ranks [B, RANDOM + FOUND] of truths along directions in parameter space; no column if P = 1.

    Parameters are in units of their spread. Four directions are random. Three are those in which
    one half of the observations looks worst; the other half is ranked along them, so the ranks of a
    right posterior are uniform. With residuals r = (truth - mean of the samples), their mean square
    R and the covariance C of the samples, the three are

        max and min of w'R w / w'C w    too narrow, too wide
        w = C^-1 mean(r)                biased
    """
    truths, samples = checked(truths, samples)
    size, parameters = truths.shape
    if parameters == 1:
        return np.zeros((size, 0), int)
    centre, spread = pooled_moments(truths, samples)
    residuals = (truths - samples.mean(1)) / spread
    rng = np.random.default_rng((seed, 3))
    random, half = rng.standard_normal((parameters, RANDOM)), rng.permutation(size) < size // 2
    projected, of_truths = (
        np.empty((size, samples.shape[1], RANDOM + FOUND)),
        np.empty((size, RANDOM + FOUND)),
    )
    for here in (half, ~half):
        directions = np.hstack(
            [random, _worst_directions(residuals, samples, spread, np.flatnonzero(~here))]
        )
        of_truths[here] = (truths[here] - centre[here]) / spread[here] @ directions
        for b in np.flatnonzero(here):
            projected[b] = (samples[b] - centre[b]) / spread[b] @ directions
    return sbc_ranks(of_truths, projected, seed)


def _worst_directions(residuals, samples, spread, rows):
    """Directions [P, 3] from some rows of residuals [B, P] and samples [B, S, P] with their spread
    [B, P]."""
    from scipy.linalg import eigh

    claimed = 1e-6 * np.eye(residuals.shape[1])
    size, residuals = len(rows) * samples.shape[1], residuals[rows]
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        some = samples[block]
        some = ((some - some.mean(1, keepdims=True)) / spread[block, None]).reshape(
            -1, len(claimed)
        )
        # BLAS on two busy cores: 10 times slower
        claimed += np.einsum("ni,nj->ij", some, some) / size
    vectors = eigh(residuals.T @ residuals / len(residuals), claimed)[1]
    return np.stack([vectors[:, -1], vectors[:, 0], np.linalg.solve(claimed, residuals.mean(0))], 1)


def data_dependence(pits: np.ndarray, observations: np.ndarray, components: int = 10) -> np.ndarray:
    """p-values [2 P] of F-tests: do the data predict where the truth lies in its posterior?

    Arguments: pits [B, P], data [B, ...]. Rank tests average over the data, so a posterior that
    ignores them (the prior itself) passes all. Here each normal score of `calibration.pit`, and
    that of its distance from the middle, is regressed on the principal components of the data. If
    the posterior is right, both are N(0, 1) and independent of the data, which makes the F-test
    exact. After Diagnostics for conditional density models and Bayesian inference algorithms (Zhao,
    Dalmasso, Izbicki and Lee 2021).
    """
    from scipy import stats

    size, data = len(pits), np.asarray(observations, np.float64).reshape(len(pits), -1)
    spread = data.std(0)
    data = (data - data.mean(0))[:, spread > 0] / spread[spread > 0]
    if not data.shape[1]:
        return np.ones(2 * pits.shape[1])
    left, values, _ = np.linalg.svd(data, full_matrices=False)
    left = left[:, values > 1e-9 * values[0]][:, : max(1, min(components, size // 20))]
    scores = stats.norm.ppf(
        np.clip(np.hstack([pits, np.abs(2.0 * pits - 1.0)]), 1e-12, 1.0 - 1e-12)
    )
    scores = scores - scores.mean(0)
    explained, total = np.square(left.T @ scores).sum(0), np.square(scores).sum(0)
    freedom = size - 1 - left.shape[1]
    return stats.f.sf(
        (explained / left.shape[1]) / ((total - explained) / freedom), left.shape[1], freedom
    )
