"""Where whole numbers crowd: at multiples of a step, and at single values."""

import numpy as np

PERIODS = (2, 5, 7, 10, 12, 15, 20, 24, 25, 30, 50, 60, 100, 250, 500, 1000, 5000, 10_000)
LOOKED_AT = 20_000  # values
CROWDED = 1.5  # times its neighbours, for a residue
FEWEST = 3  # values of a residue that are multiples of a step, not single values
GAIN = 0.005  # nats a row that a step must bring, and 20 nats in all
MOST_STEPS, MOST_RESIDUES = 3, 5
ATOM, ALONE = 0.03, 3.0  # share of a single value, and times any other within a spread
MOST_ATOMS, MOST_LOOKED_AT = 8, 20

Steps = tuple[tuple[int, int], ...]


def found(values: np.ndarray) -> tuple[Steps, tuple[int, ...], tuple[float, ...]]:
    """Steps (h, r), single values, and the shares of the numbers that are neither and of each, as
    `bijectors.heaped.HeapedCDF` has them, of whole numbers [N]; where they crowd nowhere, no steps
    and no values.

    A single value is three times as frequent as any other within half a spread of it. A residue
    of a step has half more values than both its neighbours, and raises the likelihood of a
    coarsened density.
    """
    values = np.asarray(values, np.int64)
    atoms = _single(values)
    steps, weights = _steps(values[~np.isin(values, atoms)])
    shares = [float((values == atom).mean()) for atom in atoms]
    return steps, atoms, (*((1 - sum(shares)) * weights).tolist(), *shares)


def _single(values) -> tuple[int, ...]:
    """The values that stand alone among many others, the most frequent ones."""
    each, counts = np.unique(values, return_counts=True)
    often = [i for i in np.argsort(-counts, kind="stable") if counts[i] >= ATOM * len(values)]
    alone = [i for i in often[:MOST_LOOKED_AT] if _is_alone(values, each, counts, i)][:MOST_ATOMS]
    rest = values[~np.isin(values, each[alone])]
    wide = len(np.unique(rest)) > 10 and _spread(rest) >= 2
    return tuple(sorted(each[alone].tolist())) if wide else ()


def _is_alone(values, each, counts, i: int) -> bool:
    """Whether value number i is far more frequent than the others near it."""
    others = values[values != each[i]]
    if not len(others):
        return False
    near = (np.abs(each - each[i]) <= max(_spread(others) / 2, 2)) & (each != each[i])
    return counts[i] >= ALONE * counts[near].max(initial=0)


def _steps(values) -> tuple[Steps, np.ndarray]:
    """Steps whose residues crowd, the best first, and the weights of no step and of each."""
    values = values[:: max(len(values) // LOOKED_AT, 1)]
    chosen: Steps = ()
    weights, level, spread = np.ones(1), 0.0, _spread(values) if len(values) else 0.0
    candidates = [(h, r) for h in PERIODS if h <= spread for r in _crowded(values, h)]
    while candidates and len(chosen) < MOST_STEPS:
        fits = [_fitted(values, (*chosen, each)) for each in candidates]
        best = max(range(len(fits)), key=lambda i: fits[i][0])
        gain = fits[best][0] - level
        if gain < GAIN or gain * len(values) < 20:
            break
        (level, weights), chosen = fits[best], (*chosen, candidates.pop(best))
    return chosen, weights


def _spread(values) -> float:
    """Half of what the middle 68% span."""
    return float(np.subtract(*np.quantile(values, (0.84, 0.16)))) / 2


def _crowded(values, h: int) -> list[int]:
    """Residues of h with more values than both their neighbours, by far."""
    residues = values % h
    counts = np.bincount(residues, minlength=h)
    near = np.maximum(np.roll(counts, 1), np.roll(counts, -1))
    error = np.sqrt(counts + near)
    by_far = (counts > CROWDED * near) & (counts - near > 5 * error)
    order = [r for r in np.argsort(-(counts - near), kind="stable") if by_far[r]][:MOST_RESIDUES]
    return [int(r) for r in order if len(np.unique(values[residues == r])) >= FEWEST]


def _fitted(values, steps: Steps) -> tuple[float, np.ndarray]:
    """By how much steps raise the mean log-likelihood of values, and their weights, by EM.

    The smooth density cancels: a number on a step h is h times as likely under it.
    """
    codes = sum((values % h == r).astype(int) << i for i, (h, r) in enumerate(steps))
    shares = np.bincount(codes, minlength=2 ** len(steps)) / len(values)
    places = np.arange(len(shares))
    on = [h * (places >> i & 1) for i, (h, _) in enumerate(steps)]
    patterns = np.stack([np.ones(len(shares)), *on], 1)
    weights = np.full(len(steps) + 1, 1 / (len(steps) + 1))
    for _ in range(60):
        each = patterns * weights
        weights = shares @ (each / each.sum(1, keepdims=True))
    return float(shares @ np.log(patterns @ weights)), weights
