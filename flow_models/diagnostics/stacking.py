"""Densities of few rows: kernels, Gaussian mixtures and Gaussians, weighted by cross-validation.

Linearly combining density estimators via stacking (Smyth and Wolpert 1999). Every part is a mixture
of Gaussians in one of two charts of the rows: as they are, or with columns made less skewed.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

FOLDS = 5
BANDWIDTHS = np.geomspace(0.05, 1.3, 9)  # of kernels, in standard deviations of the rows
COMPONENTS = (1, 2, 3, 4, 6, 9, 14, 20, 32)  # of a mixture; 1 is a Gaussian
SETTINGS = (("full", 1e-6), ("full", 0.03), ("full", 0.1), ("diag", 1e-6), ("diag", 0.03))
SHRINKAGES = (0.0, 0.05, 0.2)  # of a Gaussian's covariance towards its diagonal
RIDGE = 1e-8  # variance that every direction of standardised rows has
WORSE = 2  # numbers of components in a row that are worse, after which no more are tried
OTHERS = 2 * (COMPONENTS[-1] + 1)  # components beside the kernels
NONE = -1000.0  # log-weight of a component that is not used


@dataclasses.dataclass(frozen=True)
class Part:
    """Gaussians N(m_k, (A_k^T A_k)^-1): log_weights [K], centres A_k m_k [K, D] and factors A_k,
    lower triangular, [K, D, D], or [1, D, D] for all."""

    log_weights: np.ndarray
    centres: np.ndarray
    factors: np.ndarray

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p [N] of rows [N, D], nats."""
        found = np.empty((len(x), len(self.log_weights)))
        if len(self.factors) == 1:
            u = x @ self.factors[0].T
            squares = (u**2).sum(1)[:, None] + (self.centres**2).sum(1) - 2 * u @ self.centres.T
            found[:] = -0.5 * np.maximum(squares, 0)
        else:
            for k, (centre, factor) in enumerate(zip(self.centres, self.factors, strict=True)):
                found[:, k] = -0.5 * np.square(x @ factor.T - centre).sum(1)
        log_dets = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(1)
        found += self.log_weights + log_dets - 0.5 * x.shape[1] * np.log(2 * np.pi)
        return np.logaddexp.reduce(found, 1)


@dataclasses.dataclass(frozen=True)
class Stack:
    """Kernels, a mixture in each chart and a Gaussian in each chart, as `rows` + OTHERS components.

    Attributes:
      log_weights: [K].
      centres: [K, D].
      factors: [1 + OTHERS, D, D]: of all kernels, then of each other component.
      bent: [1 + OTHERS], 1 for those of the second chart.
    """

    log_weights: np.ndarray
    centres: np.ndarray
    factors: np.ndarray
    bent: np.ndarray


def stacked(
    charts: Sequence[np.ndarray], log_slopes: np.ndarray, rows: int, seed: int = 0
) -> tuple[Stack, list[Stack], np.ndarray]:
    """The stack of rows, the stacks that lack a fold each, and the folds [N] of the rows.

    The likelihood of left-out folds chooses the bandwidth and shape of the kernels, the size of
    the mixtures, and the weights of all. Copies of a row are in one fold.

    Args:
      charts: the rows [N, D] in both charts.
      log_slopes: log |d second / d first| of each row [N].
      rows: kernels at most, N or more.
    """
    folds = np.random.default_rng((seed, 3)).permutation(len(charts[0])) % FOLDS
    _, first, number = np.unique(charts[0], axis=0, return_index=True, return_inverse=True)
    folds = folds[first[number.reshape(-1)]]  # copies of a row would know it
    from threadpoolctl import threadpool_limits

    slopes = (np.zeros(len(folds)), log_slopes)
    known = (len(folds), rows, seed, *(chart.tobytes() for chart in charts))
    if known in _LAST:  # training asks for the folds of what was measured just before
        return _LAST[known]
    # small matrices: threads would cost more than they give
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # convergence at the ends of the grids
        tried = [
            [_Tried(make, x, slope, folds, chart) for make in _best_of_each(x, folds, seed)]
            for chart, (x, slope) in enumerate(zip(charts, slopes, strict=True))
        ]
        kernels = max((of_chart[0] for of_chart in tried), key=lambda each: each.log_p.mean())
        parts = [kernels, tried[0][1], tried[1][1], tried[0][2], tried[1][2]]
        shares = _shares(np.stack([part.log_p for part in parts], 1))
        whole = [part.make(charts[part.chart]) for part in parts]
    left_out = [
        _together(parts, [part.made[fold] for part in parts], shares, rows) for fold in range(FOLDS)
    ]
    _LAST.clear()
    _LAST[known] = _together(parts, whole, shares, rows), left_out, folds
    return _LAST[known]


_LAST: dict = {}


class _Tried:
    """A way to make a part: what it makes of the rows without each fold, and log p [N] of the rows
    of that fold."""

    def __init__(self, make, x, log_slopes, folds, chart):
        self.make, self.chart = make, chart
        self.made = [make(x[folds != fold]) for fold in range(FOLDS)]
        self.log_p = log_slopes + _left_out(self.made, x, folds)


def _left_out(made, x, folds):
    found = np.zeros(len(x))
    for fold, part in enumerate(made):
        found[folds == fold] = part.log_prob(x[folds == fold])
    return found


def _best_of_each(x, folds, seed) -> list[Callable]:
    """The best kernels, mixture and Gaussian of a chart, by left-out folds."""
    return [
        max(scored, key=lambda each: each[0])[1]
        for scored in (
            [(_score(make, x, folds), make) for make in _kernels()],
            [found for setting in SETTINGS for found in _mixtures(*setting, x, folds, seed)],
            [(_score(make, x, folds), make) for make in _gaussians()],
        )
    ]


def _score(make, x, folds) -> float:
    """Mean log p of left-out rows; -inf where too few rows are left for a part."""
    try:
        made = [make(x[folds != fold]) for fold in range(FOLDS)]
    except (ValueError, np.linalg.LinAlgError):
        return -np.inf
    return float(_left_out(made, x, folds).mean())


def _kernels() -> list[Callable]:
    """Kernels with the shape of the covariance, or of its diagonal."""

    def make(x, width, full):
        factor = _factor(_covariance(x, 0.0 if full else 1.0)) / width
        return Part(np.full(len(x), -np.log(len(x))), x @ factor.T, factor[None])

    return [lambda x, w=w, full=f: make(x, w, full) for w in BANDWIDTHS for f in (True, False)]


def _gaussians() -> list[Callable]:
    def make(x, shrinkage):
        factor = _factor(_covariance(x, shrinkage))
        return Part(np.zeros(1), (factor @ x.mean(0))[None], factor[None])

    return [lambda x, s=s: make(x, s) for s in SHRINKAGES]


def _mixtures(form, regular, x, folds, seed) -> Iterator[tuple[float, Callable]]:
    """(score, make) of Gaussian mixtures of more and more components, as long as that helps."""
    from sklearn.mixture import GaussianMixture

    def make(x, count):
        kind = GaussianMixture(
            count, covariance_type=form, reg_covar=regular, random_state=seed, max_iter=200
        )
        fitted = kind.fit(x)
        roots = fitted.precisions_cholesky_
        factors = np.stack([root.T if form == "full" else np.diag(root) for root in roots])
        centres = np.einsum("kij,kj->ki", factors, fitted.means_)
        return Part(np.log(fitted.weights_), centres, factors)

    best, worse = -np.inf, 0
    for count in COMPONENTS:
        one = lambda x, count=count: make(x, count)
        score = _score(one, x, folds)
        yield score, one
        best, worse = max(best, score), 0 if score > best else worse + 1
        if worse == WORSE:
            return


def _covariance(x, shrinkage):
    """Of rows, shrunk towards its diagonal; columns that do not vary together get RIDGE."""
    covariance = np.atleast_2d(np.cov(x.T)) + RIDGE * np.eye(x.shape[1])
    return (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))


def _factor(covariance):
    """A, lower triangular, with A covariance A^T = 1."""
    return np.linalg.inv(np.linalg.cholesky(covariance))


def _shares(log_p: np.ndarray, rounds: int = 500) -> np.ndarray:
    """Weights [C] of densities that maximise sum_n log sum_c w_c p_nc, by EM."""
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    shares = np.full(p.shape[1], 1 / p.shape[1])
    for _ in range(rounds):
        shares = (shares * p / (p @ shares)[:, None]).mean(0)
    return shares


def _together(tried, parts, shares, rows: int) -> Stack:
    """All parts in one mixture; the places of components that are not used have no weight."""
    size = parts[0].centres.shape[1]
    log_weights, centres = np.full(rows + OTHERS, NONE), np.zeros((rows + OTHERS, size))
    factors, bent = np.tile(np.eye(size), (1 + OTHERS, 1, 1)), np.zeros(1 + OTHERS)
    place = 0
    for number, (each, part, share) in enumerate(zip(tried, parts, shares, strict=True)):
        count = len(part.log_weights)
        log_weights[place : place + count] = part.log_weights + np.log(max(share, 1e-30))
        centres[place : place + count] = part.centres
        group = slice(0, 1) if number == 0 else slice(place - rows + 1, place - rows + 1 + count)
        factors[group], bent[group] = part.factors, each.chart
        place += (rows, COMPONENTS[-1], COMPONENTS[-1], 1, 1)[number]
    return Stack(log_weights, centres, factors, bent)
