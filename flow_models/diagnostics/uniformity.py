"""Are ranks uniform? A chi-square test, and the distribution function inside bands that hold it all
at once, exactly.

A rank r is one of 0, ..., S, all equally probable where things are right. Its distribution function
is looked at in z = k / (S + 1), where it is the share of ranks below k.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flow_models.core.errors import UserError

POINTS = 100  # of the distribution function that are looked at, at most
BINS = 20  # of the chi-square test, at most
EXPECTED = 10  # ranks that a bin should hold at least, so that chi-square's law is good


def chi_square(ranks: np.ndarray, n_samples: int, bins: int | None = None) -> float:
    """p-value of Pearson's chi-square test of ranks [N] in 0..n_samples, in bins as equal as whole
    ranks allow."""
    from scipy import stats

    edges = bin_edges(len(ranks), n_samples, bins)
    counts = np.histogram(ranks, edges - 0.5)[0]
    return float(stats.chisquare(counts, len(ranks) * np.diff(edges) / (n_samples + 1)).pvalue)


def bin_edges(size: int, n_samples: int, bins: int | None = None) -> np.ndarray:
    """The first rank of each bin, and n_samples + 1, for N = size ranks; by default 20 bins, each
    of at least 10."""
    bins = min(BINS, max(2, size // EXPECTED)) if bins is None else bins
    if bins < 2:
        raise UserError(f"a test of ranks needs at least 2 bins, got {bins}")
    return np.unique(
        np.round(np.linspace(0, n_samples + 1, min(bins, n_samples + 1) + 1)).astype(int)
    )


def ecdf(ranks: np.ndarray, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """z [K] and the share [K] of ranks [N] that are at most z, both without the ends 0 and 1."""
    places = _places(n_samples)
    return places / (n_samples + 1), _below(ranks, places) / len(ranks)


def ecdf_p_value(ranks: np.ndarray, n_samples: int) -> float:
    """p-value of the place where the distribution function of ranks [N] is least probable, all
    places taken together.

        g = min_z 2 min(P(n <= n_z), P(n >= n_z)),  n ~ Binomial(N, z);   p = P(g of N uniform ranks <= the g found)

    Graphical test for discrete uniformity and its applications in goodness-of-fit evaluation and
    multiple sample comparison (Saeilynoja, Buerkner and Vehtari 2022), p by their recursion rather
    than by simulation.
    """
    places, size = _places(n_samples), len(ranks)
    tails = _tails(size, n_samples)
    found = tails[np.arange(len(places)), _below(ranks, places)].min()
    return 1.0 if found >= 1.0 else max(0.0, 1.0 - _stays(size, n_samples, float(found)))


@lru_cache(maxsize=64)
def simultaneous_bands(
    size: int, n_samples: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, lower and upper bound [K]: the distribution function of N = size uniform ranks is all
    between, with `level`.

    At least with `level`: counts are whole numbers.
    """
    inside, outside = (
        0.0,
        1.0 - level,
    )  # of the tail g: single bands of 1 - g hold each place, together they hold less
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
    """2 min(P(n <= k), P(n >= k)) [K, N + 1] of n ~ Binomial(N, z) for each z and k."""
    from scipy import stats

    law, k = stats.binom(size, _places(n_samples)[:, None] / (n_samples + 1)), np.arange(size + 1)
    return 2.0 * np.minimum(law.cdf(k), law.sf(k - 1))


def _bounds(size, n_samples, tail):
    """Least and largest count [K] at each z whose tail is above `tail`."""
    inside = _tails(size, n_samples) > tail
    return inside.argmax(1), size - inside[:, ::-1].argmax(1)


def _stays(size, n_samples, tail):
    """P(the counts of N uniform ranks stay within the bounds at all z).

    Counts are a Poisson process given that it ends at N: its law is carried from one z to the next,
    and what leaves the bounds is dropped.
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
