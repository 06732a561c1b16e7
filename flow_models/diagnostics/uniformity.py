"""Are ranks uniform? A chi-square test, and exact simultaneous bands for the distribution function.

A rank r is one of 0, ..., S, all equally probable if the posterior is right. The distribution
function at z = k / (S + 1) is the fraction of ranks below k.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flow_models.core.errors import UserError

POINTS = 100  # of the distribution function, at most
BINS = 20  # of the chi-square test, at most
EXPECTED = 10  # ranks that a bin should hold, so that the chi-square approximation is good


def chi_square(ranks: np.ndarray, n_samples: int, bins: int | None = None) -> float:
    """p-value of Pearson's chi-square test of ranks [N] in 0..n_samples, with bins as equal as
    possible."""
    from scipy import stats

    edges = bin_edges(len(ranks), n_samples, bins)
    counts = np.histogram(ranks, edges - 0.5)[0]
    return float(stats.chisquare(counts, len(ranks) * np.diff(edges) / (n_samples + 1)).pvalue)


def bin_edges(size: int, n_samples: int, bins: int | None = None) -> np.ndarray:
    """Edges [bins + 1]: the first rank of each bin, then n_samples + 1, for `size` ranks. By
    default at most 20 bins of 10 or more.

    Raises:
      UserError: fewer than 2 bins.
    """
    bins = min(BINS, max(2, size // EXPECTED)) if bins is None else bins
    if bins < 2:
        raise UserError(f"a test of ranks needs at least 2 bins, got {bins}")
    return np.unique(
        np.round(np.linspace(0, n_samples + 1, min(bins, n_samples + 1) + 1)).astype(int)
    )


def ecdf(ranks: np.ndarray, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """z [K] and the fraction [K] of ranks [N] below z, both without the ends 0 and 1."""
    places = _places(n_samples)
    return places / (n_samples + 1), _below(ranks, places) / len(ranks)


def ecdf_p_value(ranks: np.ndarray, n_samples: int) -> float:
    """p-value of the least probable point of the distribution function of ranks [N], over all
    points together.

        g = min_z 2 min(P(n <= n_z), P(n >= n_z)),  n ~ Binomial(N, z)
        p = P(g of N uniform ranks <= the observed g)

    Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and
    multiple sample comparison (Saeilynoja, Buerkner and Vehtari 2022); p by their recursion,
    without simulation.
    """
    places, size = _places(n_samples), len(ranks)
    tails = _tails(size, n_samples)
    found = tails[np.arange(len(places)), _below(ranks, places)].min()
    return 1.0 if found >= 1.0 else max(0.0, 1.0 - _stays(size, n_samples, float(found)))


@lru_cache(maxsize=64)
def simultaneous_bands(
    size: int, n_samples: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, lower and upper bounds [K] that hold the whole distribution function of `size` uniform
    ranks.

    They hold it with probability at least `level`: counts are whole numbers.
    """
    # tails g: bands of 1 - g hold each point with that probability, all together with less
    inside, outside = 0.0, 1.0 - level
    while outside - inside > 1e-3 * outside:
        middle = 0.5 * (inside + outside)
        inside, outside = (
            (middle, outside) if _stays(size, n_samples, middle) >= level else (inside, middle)
        )
    low, high = _bounds(size, n_samples, inside)
    return _places(n_samples) / (n_samples + 1), low / size, high / size


def _places(n_samples):
    if n_samples < 1:
        raise UserError(f"ranks among at least 1 sample are needed, got {n_samples}")
    return np.unique(
        np.round(np.linspace(0, n_samples + 1, min(POINTS, n_samples) + 2)).astype(int)
    )[1:-1]


def _below(ranks, places):
    return np.searchsorted(np.sort(ranks), places, side="left")


@lru_cache(maxsize=8)
def _tails(size, n_samples):
    """2 min(P(n <= k), P(n >= k)) [K, N + 1] of n ~ Binomial(N, z), for each z and k."""
    from scipy import stats

    law, k = stats.binom(size, _places(n_samples)[:, None] / (n_samples + 1)), np.arange(size + 1)
    return 2.0 * np.minimum(law.cdf(k), law.sf(k - 1))


def _bounds(size, n_samples, tail):
    """Smallest and largest count [K] at each z whose tail is above `tail`."""
    inside = _tails(size, n_samples) > tail
    return inside.argmax(1), size - inside[:, ::-1].argmax(1)


def _stays(size, n_samples, tail):
    """P(the counts of N uniform ranks stay within the bounds at all z).

    The counts are a Poisson process conditioned to end at N. Its distribution is carried from one z
    to the next, and what leaves the bounds is dropped.
    """
    from scipy.special import gammaln, xlogy

    def poisson(mean, most):
        k = np.arange(most + 1)
        return np.exp(xlogy(k, mean) - mean - gammaln(k + 1))

    low, high = _bounds(size, n_samples, tail)
    steps = np.diff(np.concatenate([[0], _places(n_samples), [n_samples + 1]])) * (
        size / (n_samples + 1)
    )
    law, first = np.ones(1), 0
    for below, above, mean in zip([*low, size], [*high, size], steps, strict=True):
        law = np.convolve(law, poisson(mean, above - first))[below - first : above - first + 1]
        first = below
    return float(law[0] / poisson(size, size)[-1])
