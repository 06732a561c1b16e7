"""Is a posterior right on average over the prior? From pairs (truth, data) of the simulator, S
samples for each data.

truths [B, P], samples [B, S, P]. Every check asks one thing: is a number computed from the truth a
like draw among those computed from the samples? If so, its rank is uniform on 0, ..., S. The checks
differ in the number: a parameter (SBC), a projection, the distance from a reference point (TARP), a
log-density. Samples must be independent: thin those of a chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics import uniformity

LEAST = 20  # observations that a check can be made of
NEAR = 0.5  # standard deviations of TARP's reference points around a posterior's middle, in its own


@dataclass(frozen=True)
class RankTest:
    """Tests of Q columns of ranks. Overall p-values are Bonferroni's: below a with probability at
    most a."""

    p_values: np.ndarray  # [Q], chi-square
    ecdf_p_values: np.ndarray  # [Q], of the distribution function within simultaneous bands
    deviations: np.ndarray  # [Q], largest distance of the distribution function from the diagonal

    @property
    def p_value(self) -> float:
        return bonferroni(self.p_values)

    @property
    def ecdf_p_value(self) -> float:
        return bonferroni(self.ecdf_p_values)

    @property
    def max_deviation(self) -> float:
        return float(self.deviations.max())


@dataclass(frozen=True)
class Coverage:
    """Share of truths inside regions that claim to hold `levels` [L] of the posterior."""

    levels: np.ndarray
    parameters: np.ndarray  # [L, Q], each
    mean: np.ndarray  # [L], over all
    # [L], standard error of the mean; parameters of one observation are not taken for independent
    error: np.ndarray


@dataclass(frozen=True)
class Tarp:
    """Expected coverage [L] at credibility `levels` [L]; `low` and `high` [L] bound 95% of
    bootstrap draws."""

    levels: np.ndarray
    coverage: np.ndarray
    low: np.ndarray
    high: np.ndarray
    deviation: float  # largest |coverage - level|
    p_value: float  # of the whole curve, by simultaneous bands


def sbc_ranks(truths: np.ndarray, samples: np.ndarray, seed: int = 0) -> np.ndarray:
    """Number [B, P] of the samples below the truth; equal ones are put in random order.

    Validating Bayesian inference algorithms with simulation-based calibration (Talts, Betancourt,
    Simpson, Vehtari and Gelman 2018).

    Raises:
      UserError: shapes do not pair, or a number is not finite.
    """
    truths, samples = checked(truths, samples)
    below = (samples < truths[:, None]).sum(1)
    equal = (samples == truths[:, None]).sum(1)
    return below + np.random.default_rng((seed, 0)).integers(0, equal + 1)


def sbc_test(ranks: np.ndarray, n_samples: int, bins: int | None = None) -> RankTest:
    """Tests of ranks [B, Q] among n_samples: see `uniformity.chi_square` and
    `uniformity.ecdf_p_value`."""
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
    """min(1, Q min p) of Q p-values, dependent or not."""
    return float(min(1.0, np.size(p_values) * np.min(p_values)))


def p_text(p: float) -> str:
    """p-value as it is printed; below 1e-12 it is not computed exactly."""
    return f"p = {p:.2g}" if p >= 1e-12 else "p < 1e-12"


def pit(ranks: np.ndarray, n_samples: int, seed: int = 0) -> np.ndarray:
    """(rank + v) / (S + 1), v uniform: continuous and uniform on (0, 1) where ranks are uniform, at
    every S."""
    v = np.random.default_rng((seed, 1)).random(np.shape(ranks))
    return np.clip((ranks + v) / (n_samples + 1), 1e-12, 1.0 - 1e-12)


def coverage(
    truths: np.ndarray, samples: np.ndarray, levels: Sequence[float] = (0.5, 0.9), seed: int = 0
) -> Coverage:
    """Share of truths inside the central intervals of their samples, for each parameter and
    averaged."""
    ranks = sbc_ranks(truths, samples, seed)
    return rank_coverage(ranks, np.shape(samples)[1], levels, seed)


def rank_coverage(
    ranks: np.ndarray, n_samples: int, levels: Sequence[float] = (0.5, 0.9), seed: int = 0
) -> Coverage:
    """`coverage` from ranks [B, Q]: inside where |pit - 1/2| <= level / 2. With few samples too it
    is right."""
    return _coverage(2.0 * np.abs(pit(ranks, n_samples, seed) - 0.5), levels)


def hdr_coverage(
    log_prob_truths: np.ndarray,
    log_prob_samples: np.ndarray,
    levels: Sequence[float] = (0.5, 0.9),
    seed: int = 0,
) -> Coverage:
    """Share of truths inside the regions of highest posterior density, from log q of truths [B] and
    of samples [B, S].

    A truth is inside the region of `level` if less than that share of the samples has a higher
    density than it has.
    """
    truths, samples = np.asarray(log_prob_truths)[:, None], np.asarray(log_prob_samples)[..., None]
    return _coverage(1.0 - pit(sbc_ranks(truths, samples, seed), samples.shape[1], seed), levels)


def _coverage(depth, levels):
    """A truth at depth d [B, Q], uniform where all is right, is inside the regions whose level is
    at least d."""
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
    """Expected coverage of the balls around random points that have the truth on their surface.

    Sampling-based accuracy testing of posterior estimators for general inference (Lemos, Coogan,
    Hezaveh and Perreault-Levasseur 2023). `references` [B, P] must not know the truths; see
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
    """Number [B] of samples nearer to the reference point than the truth is, in units of each
    posterior's own spread.

    By default reference points are scattered around the middle of each posterior, half as wide as
    it is: points that depend on the data make the test sharp (Lemos et al. 2023, section 3), and
    near ones see wrong widths and removed correlations best, better than far ones by many powers of
    ten in p; a bias they see least, but ranks of parameters do. Centre and spread are those of the
    samples and the truth together, to which all of them are alike, so ranks of a right posterior
    are exactly uniform at every S.
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
    """Mean and standard deviation [B, P] of truth and samples of each observation; the latter 1
    where it would be 0."""
    size = samples.shape[1]
    mean, variance = samples.mean(1), samples.var(1)
    off = truths - mean
    spread = np.sqrt((size * variance + np.square(off) * size / (size + 1)) / (size + 1))
    return mean + off / (size + 1), np.where(spread > 0.0, spread, 1.0)


def checked(truths: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [B, P] and [B, S, P]."""
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
