"""Is a posterior right on average over the prior? Tests on pairs (truth, data) from the simulator,
with S posterior samples for each data set.

Shapes: truths [B, P], samples [B, S, P]. Every check computes one number from the truth and the
same number from each sample. If the posterior is right, the truth is one more draw among the
samples, and its rank is uniform on 0, ..., S. The checks differ in the number: a parameter (SBC), a
projection, the distance from a reference point (TARP), a log-density. Samples must be independent:
thin those of a chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics import uniformity

LEAST = 20  # observations that a check needs
NEAR = 0.5  # spread of TARP's reference points around a posterior, in its standard deviations


@dataclass(frozen=True)
class RankTest:
    """Uniformity tests of Q columns of ranks. Overall p-values are Bonferroni bounds.

    Attributes:
      p_values: [Q], chi-square.
      ecdf_p_values: [Q], of the distribution function within simultaneous bands.
      deviations: [Q], largest distance of that function from the diagonal.
    """

    p_values: np.ndarray
    ecdf_p_values: np.ndarray
    deviations: np.ndarray

    @property
    def p_value(self) -> float:
        """Of all columns, chi-square."""
        return bonferroni(self.p_values)

    @property
    def ecdf_p_value(self) -> float:
        """Of all columns, distribution function."""
        return bonferroni(self.ecdf_p_values)

    @property
    def max_deviation(self) -> float:
        """The largest of the deviations."""
        return float(self.deviations.max())


@dataclass(frozen=True)
class Coverage:
    """Fraction of truths inside regions that claim to hold `levels` [L] of the posterior.

    Attributes:
      levels: [L].
      parameters: [L, Q], of each of them.
      mean: [L], over all of them.
      error: [L], standard error of the mean; parameters of one observation count as dependent.
    """

    levels: np.ndarray
    parameters: np.ndarray
    mean: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Tarp:
    """Expected coverage of balls around random points, see `tarp`.

    Attributes:
      levels: credibility [L].
      coverage: [L].
      low, high: [L], bounds of 95% of bootstrap draws.
      deviation: the largest |coverage - level|.
      p_value: of the whole curve, from simultaneous bands.
    """

    levels: np.ndarray
    coverage: np.ndarray
    low: np.ndarray
    high: np.ndarray
    deviation: float
    p_value: float


def sbc_ranks(truths: np.ndarray, samples: np.ndarray, seed: int = 0) -> np.ndarray:
    """Number [B, P] of samples below the truth; ties are broken at random.

    Validating Bayesian inference algorithms with simulation-based calibration (Talts, Betancourt,
    Simpson, Vehtari and Gelman 2018).

    Raises:
      UserError: shapes do not match, or a number is not finite.
    """
    truths, samples = checked(truths, samples)
    below = (samples < truths[:, None]).sum(1)
    equal = (samples == truths[:, None]).sum(1)
    return below + np.random.default_rng((seed, 0)).integers(0, equal + 1)


def sbc_test(ranks: np.ndarray, n_samples: int, bins: int | None = None) -> RankTest:
    """Tests of ranks [B, Q] among n_samples; see `uniformity.chi_square` and `ecdf_p_value`.

    Raises:
      UserError: the ranks are not [B, Q] in 0 .. n_samples, or too few.
    """
    ranks = np.asarray(ranks)
    if ranks.ndim != 2 or len(ranks) < LEAST or ranks.min() < 0 or ranks.max() > n_samples:
        raise UserError(
            f"ranks must be [B, Q] of at least {LEAST} observations, each 0 to {n_samples}; "
            f"got {ranks.shape}"
        )
    return RankTest(
        np.array([uniformity.chi_square(column, n_samples, bins) for column in ranks.T]),
        np.array([uniformity.ecdf_p_value(column, n_samples) for column in ranks.T]),
        np.array(
            [np.abs(np.subtract(*uniformity.ecdf(column, n_samples))).max() for column in ranks.T]
        ),
    )


def bonferroni(p_values: np.ndarray) -> float:
    """min(1, Q min p) of Q p-values [Q], dependent or not."""
    return float(min(1.0, np.size(p_values) * np.min(p_values)))


def p_text(p: float) -> str:
    """A p-value as text; values below 1e-12 are not computed exactly."""
    return f"p = {p:.2g}" if p >= 1e-12 else "p < 1e-12"


def pit(ranks: np.ndarray, n_samples: int, seed: int = 0) -> np.ndarray:
    """(rank + v) / (S + 1) of ranks [B, Q] among S = n_samples, v uniform: continuous and uniform
    on (0, 1) for uniform ranks, at any S."""
    v = np.random.default_rng((seed, 1)).random(np.shape(ranks))
    return np.clip((ranks + v) / (n_samples + 1), 1e-12, 1.0 - 1e-12)


def coverage(
    truths: np.ndarray,
    samples: np.ndarray,
    levels: Sequence[float] | np.ndarray = (0.5, 0.9),
    seed: int = 0,
) -> Coverage:
    """Fraction of truths [B, P] inside the central intervals of their samples [B, S, P], per
    parameter and mean, at each of `levels`.

    Raises:
      UserError: shapes do not match, or a number is not finite.
    """
    ranks = sbc_ranks(truths, samples, seed)
    return rank_coverage(ranks, np.shape(samples)[1], levels, seed)


def rank_coverage(
    ranks: np.ndarray,
    n_samples: int,
    levels: Sequence[float] | np.ndarray = (0.5, 0.9),
    seed: int = 0,
) -> Coverage:
    """`coverage` from ranks [B, Q]: inside if |pit - 1/2| <= level / 2. Correct for few samples
    too."""
    return _coverage(2.0 * np.abs(pit(ranks, n_samples, seed) - 0.5), levels)


def hdr_coverage(
    log_prob_truths: np.ndarray,
    log_prob_samples: np.ndarray,
    levels: Sequence[float] = (0.5, 0.9),
    seed: int = 0,
) -> Coverage:
    """Fraction of truths inside the highest-density regions, from log q of truths [B] and samples
    [B, S].

    A truth is inside the region of `level` if less than that fraction of the samples has a higher
    density.
    """
    truths, samples = np.asarray(log_prob_truths)[:, None], np.asarray(log_prob_samples)[..., None]
    return _coverage(1.0 - pit(sbc_ranks(truths, samples, seed), samples.shape[1], seed), levels)


def _coverage(depth, levels):
    """`Coverage` from depths d [B, Q], uniform if all is right: inside if d <= level."""
    inside = np.stack([depth <= level for level in levels])
    error = inside.mean(2).std(1, ddof=1) / np.sqrt(len(depth))
    return Coverage(np.asarray(levels, np.float64), inside.mean(1), inside.mean((1, 2)), error)


def tarp(
    truths: np.ndarray,
    samples: np.ndarray,
    seed: int = 0,
    references: np.ndarray | None = None,
    resamples: int = 1000,
) -> Tarp:
    """Expected coverage of balls around random points with the truth on their surface.

    Sampling-based accuracy testing of posterior estimators for general inference (Lemos, Coogan,
    Hezaveh and Perreault-Levasseur 2023). `references` [B, P] must not depend on the truths; see
    `tarp_ranks`.
    """
    ranks, size, n_samples = (
        tarp_ranks(truths, samples, seed, references),
        len(truths),
        np.shape(samples)[1],
    )
    levels = np.linspace(0.0, 1.0, 101)
    counts = np.histogram(pit(ranks, n_samples, seed), levels)[0]
    drawn = np.random.default_rng((seed, 4)).multinomial(size, counts / size, resamples)
    curves = np.pad(np.cumsum(np.vstack([counts, drawn]), 1) / size, [(0, 0), (1, 0)])
    low, high = np.quantile(curves[1:], [0.025, 0.975], axis=0)
    deviation = float(np.abs(curves[0] - levels).max())
    return Tarp(levels, curves[0], low, high, deviation, uniformity.ecdf_p_value(ranks, n_samples))


def tarp_ranks(
    truths: np.ndarray, samples: np.ndarray, seed: int = 0, references: np.ndarray | None = None
) -> np.ndarray:
    """Number [B] of samples closer to the reference point than the truth, in units of each
    posterior's spread.

    By default the reference points scatter around the middle of each posterior, half as wide as it
    is. Points that depend on the data make the test sharp (Lemos et al. 2023, section 3). Near
    points detect wrong widths and missing correlations best, by many powers of ten in p; they
    detect a bias least, but the ranks of parameters do that. Centre and spread are those of the
    samples and the truth together, in which all play the same part, so the ranks of a right
    posterior are exactly uniform at any S.

    Raises:
      UserError: shapes do not match, or a number is not finite.
    """
    truths, samples = checked(truths, samples)
    centre, spread = pooled_moments(truths, samples)
    if references is None:
        references = centre + NEAR * spread * np.random.default_rng((seed, 2)).standard_normal(
            truths.shape
        )
    references = np.asarray(references, np.float64)
    if references.shape != truths.shape:
        raise UserError(
            f"reference points must be {truths.shape} as the truths are, got {references.shape}"
        )
    far = np.square((truths - references) / spread).sum(1)
    near = np.stack([np.square((s - r) / d).sum(1) for s, r, d in zip(samples, references, spread)])
    return sbc_ranks(far[:, None], near[..., None], seed)[:, 0]


def pooled_moments(truths: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [B, P] of truth and samples together; a deviation of 0 becomes
    1."""
    size = samples.shape[1]
    # one observation at a time: all their deviations are as large as all samples
    mean, variance = samples.mean(1), np.stack([rows.var(0) for rows in samples])
    off = truths - mean
    spread = np.sqrt((size * variance + np.square(off) * size / (size + 1)) / (size + 1))
    return mean + off / (size + 1), np.where(spread > 0.0, spread, 1.0)


def checked(truths: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truths and samples as float64 [B, P] and [B, S, P]. Raises UserError if they do not match."""
    truths, samples = np.asarray(truths, np.float64), np.asarray(samples, np.float64)
    if (
        truths.ndim != 2
        or samples.ndim != 3
        or samples.shape[::2] != truths.shape
        or not samples.size
    ):
        raise UserError(
            f"truths [B, P] and samples [B, S, P] are needed; got {truths.shape} and"
            f" {samples.shape}"
        )
    wrong = ~(np.isfinite(truths).all(1) & np.isfinite(samples).all((1, 2)))
    if wrong.any():
        raise UserError(
            f"{int(wrong.sum())} of {len(truths)} observations have a truth or a sample that is not"
            " finite"
        )
    return truths, samples
