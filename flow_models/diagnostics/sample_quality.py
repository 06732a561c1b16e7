"""How good samples are, by features of samples and of real pictures: distance, precision and
recall, density and coverage, copies. Each stands beside its null, the same between halves of the
real ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from flow_models.core.errors import UserError
from flow_models.diagnostics.classification import auroc
from flow_models.diagnostics.two_sample import FEWEST, c2st

SPLITS = 10  # random halves of the real pictures
LEAST = 20  # pictures in a half
COMPONENTS = 32  # of the features, at most
MEASURES = {
    "kid": "0",
    "precision": "1",
    "recall": "1",
    "density": "1",
    "coverage": "1",
    "memorised": "0.5",
    "c2st": "0.5",
}  # and the value of samples that nobody tells from real ones, where halves are large


class Measure(NamedTuple):
    """Mean and standard deviation over random halves, of samples and of real pictures in their
    place."""

    samples: float
    samples_sd: float
    null: float
    null_sd: float


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD of features a [n, D] and b [m, D]; 0 on average for equal distributions.

        mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_ij k(a_i, b_j)
        k(x, y) = (x . y / D + 1)^3

    KID, of Demystifying MMD GANs (Binkowski, Sutherland, Arbel and Gretton 2018).

    Raises:
      UserError: shapes do not match, or fewer than two rows.
    """
    a, b = _features(a, b, 2)
    return _within(a) + _within(b) - 2.0 * float(_kernel(a, b).mean())


def precision_recall(
    samples: np.ndarray, real: np.ndarray, neighbours: int = 3
) -> tuple[float, float]:
    """The share of samples [n, D] within the real features [m, D], and of these within the samples.

    Within a set is what is no farther from one of its members than that one's third nearest
    neighbour. Improved precision and recall metric for assessing generative models (Kynkaanniemi,
    Karras, Laine, Lehtinen and Aila 2019).

    Raises:
      UserError: shapes do not match, or no more rows than neighbours.
    """
    samples, real = _features(samples, real, neighbours + 1)
    apart = cdist(samples, real)
    precision = (apart <= _radii(real, neighbours)).any(1).mean()
    return float(precision), float((apart.T <= _radii(samples, neighbours)).any(1).mean())


def density_coverage(
    samples: np.ndarray, real: np.ndarray, neighbours: int = 5
) -> tuple[float, float]:
    """How many balls of real features [m, D] a sample [n, D] lies in, over `neighbours`, and the
    share of balls with a sample.

    A ball reaches to the fifth nearest neighbour. An outlier among the real ones raises the
    precision, whose ball is large, and hardly the density. Reliable fidelity and diversity metrics
    for generative models (Naeem, Oh, Uh, Choi and Yoo 2020).

    Raises:
      UserError: shapes do not match, or no more rows than neighbours.
    """
    samples, real = _features(samples, real, neighbours + 1)
    inside = cdist(samples, real) <= _radii(real, neighbours)
    return float(inside.sum(1).mean() / neighbours), float(inside.any(0).mean())


def memorised(samples: np.ndarray, held_out: np.ndarray) -> float:
    """P(a sample is nearer to the training pictures than a held-out picture is), from distances
    [n] and [m]: above 0.5 where samples are copies.

    A non-parametric test to detect data-copying in generative models (Meehan, Chaudhuri and
    Dasgupta 2020), without its cells.
    """
    return float(auroc(samples, held_out))


def sample_quality(
    samples: np.ndarray, real: np.ndarray, distances: tuple[np.ndarray, np.ndarray], seed: int = 0
) -> dict[str, Measure]:
    """The `MEASURES` of features of samples [n, D] against halves of the real ones [m, D].

    Features are standardised by the real ones, and those are kept that lie in their first
    principal components. Samples, and the null, are as many as a half has; the classifier test is
    of one split, and left out below 50 a side.

    Args:
      distances: [n] and [m], of samples and real pictures to their nearest training pictures.

    Raises:
      UserError: shapes do not match, or fewer than 20 samples or 40 real pictures.
    """
    samples, real = _features(samples, real, LEAST)
    size = min(len(samples), len(real) // 2)
    if size < LEAST:
        raise UserError(f"{len(real)} real pictures; at least {2 * LEAST} are needed")
    samples, real = _principal(samples, real)
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in MEASURES}
    for split in range(SPLITS):
        one, other = np.split(rng.permutation(len(real))[: 2 * size], 2)
        drawn = rng.permutation(len(samples))[:size]
        of_both = [
            _measured(samples[drawn], real[other], distances[0][drawn], distances[1][other], split),
            _measured(real[one], real[other], distances[1][one], distances[1][other], split),
        ]
        for name in of_both[0]:
            found[name].append((of_both[0][name], of_both[1][name]))
    return {name: _summed(np.array(values)) for name, values in found.items() if values}


def nearest(a: np.ndarray, b: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [n, k] of the rows of b [m, D] nearest to each of a [n, D], and their rms distances
    [n, k], in standard deviations of b."""
    a, b = _features(a, b, 1)
    scale = np.where(b.std(0) > 0, b.std(0), 1.0)
    apart = cdist(a / scale, b / scale) / np.sqrt(a.shape[1])
    order = np.argsort(apart, 1, kind="stable")[:, : min(k, len(b))]
    return order, np.take_along_axis(apart, order, 1)


def _principal(samples, real):
    """Both [., k] in the first components of the standardised real ones, whose mean square is 1."""
    centre, scale = real.mean(0), real.std(0)
    samples, real = ((x - centre) / np.where(scale > 0, scale, 1.0) for x in (samples, real))
    directions = np.linalg.svd(real, full_matrices=False)[2][:COMPONENTS].T
    samples, real = samples @ directions, real @ directions
    size = np.sqrt(np.square(real).mean()) or 1.0
    return samples / size, real / size


def _summed(values: np.ndarray) -> Measure:
    """Of values [splits, 2]; one split has no standard deviation."""
    sd = values.std(0, ddof=1) if len(values) > 1 else np.full(2, np.nan)
    return Measure(*(float(each) for each in np.stack([values.mean(0), sd], 1).ravel()))


def _measured(a, b, near_a, near_b, split) -> dict[str, float]:
    """All measures of a against b."""
    precision, recall = precision_recall(a, b)
    density, coverage = density_coverage(a, b)
    found = {"kid": kernel_distance(a, b), "precision": precision, "recall": recall}
    found |= {"density": density, "coverage": coverage, "memorised": memorised(near_a, near_b)}
    if not split and len(a) >= FEWEST:
        found["c2st"] = c2st(a, b, classifiers=("network",))
    return found


def _kernel(x, y):
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _within(x):
    values = _kernel(x, x)
    return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))


def _radii(x, neighbours):
    """Distance [n] of each row to its neighbour of that rank."""
    return np.partition(cdist(x, x), neighbours, 1)[:, neighbours]


def _features(a, b, least):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    fits = a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1] and min(len(a), len(b)) >= least
    if not fits or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UserError(
            f"two sets of finite features [n, D] of at least {least} rows are needed; got"
            f" {a.shape} and {b.shape}"
        )
    return a, b
