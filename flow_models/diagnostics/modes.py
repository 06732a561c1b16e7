"""Modes of a density, counted from draws of it."""

from collections.abc import Callable

import numpy as np

NEIGHBOURS = 10  # that a draw may be joined with
PLACES = np.linspace(0, 1, 11)  # from one neighbour to the other
VALLEY = 1.0  # nats, from which on they are apart
THIN = 0.1  # share of the draws that stand farthest from others: no path leads over them
LEAST = 0.01  # share of the others that makes a mode
MOST = 0.9  # share of the others that modes must hold together


def find_modes(x: np.ndarray, log_density: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The mode of each draw, whole numbers [n] from 0 on, largest mode first; -1 for draws of
    groups with a share below LEAST.

    Two draws belong to one mode where a path of neighbours leads from one to the other without a
    valley of the density, and not through places where draws are thin; those there take the mode of
    the nearest. A mode is no peak: a ring is one. Where modes do not hold MOST of the draws, there
    are more than draws can show, as in products of many double wells: all are -1.

    Args:
      x: draws [n, D].
      log_density: of points [m, D] -> [m], up to a constant.
    """
    from sklearn.neighbors import NearestNeighbors

    x = np.asarray(x, np.float32)
    scaled = (x - x.mean(0)) / (x.std(0) + 1e-12)
    count = min(NEIGHBOURS, int((1 - THIN) * len(x)) - 1)
    far = NearestNeighbors(n_neighbors=count).fit(scaled).kneighbors()[0][:, -1]
    thick = np.flatnonzero(far <= np.quantile(far, 1 - THIN))
    of_thick = NearestNeighbors(n_neighbors=count).fit(scaled[thick])
    near = of_thick.kneighbors(return_distance=False)
    number = _connected(x[thick], near, log_density)
    return number[of_thick.kneighbors(scaled, 1, return_distance=False)[:, 0]]


def _connected(x, near, log_density):
    """The mode of each draw, which paths over its neighbours [n, K] lead to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.repeat(np.arange(len(x)), near.shape[1]), near.ravel()
    joined = _valley(x[first], x[second], log_density) < VALLEY
    pairs = (first[joined], second[joined])
    graph = coo_array((np.ones(joined.sum()), pairs), shape=(len(x), len(x)))
    groups = connected_components(graph, directed=False)[1]
    sizes = np.bincount(groups)
    order = np.argsort(-sizes)
    kept = order[sizes[order] >= max(LEAST * len(x), 2)]
    if sizes[kept].sum() < MOST * len(x):
        kept = kept[:0]
    number = np.full(len(sizes), -1)
    number[kept] = np.arange(len(kept))
    return number[groups]


def _valley(a, b, log_density):
    """Depth [n] of the deepest valley on the straight lines from a to b [n, D], in nats.

    It is measured below the heights on both sides of it, not below the ends: in many dimensions the
    middle of two draws lies far above both.
    """
    heights = np.stack([np.asarray(log_density((1 - t) * a + t * b)) for t in PLACES])
    before = np.maximum.accumulate(heights)
    behind = np.maximum.accumulate(heights[::-1])[::-1]
    return (np.minimum(before, behind) - heights).max(0)
