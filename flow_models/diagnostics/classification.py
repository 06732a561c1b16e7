"""How good class probabilities are: accurate, calibrated, and uncertain about unknown classes.

Probabilities p [N, M] sum to one over the classes; labels y [N] are class numbers.
"""

from __future__ import annotations

import numpy as np

from flow_models.core.errors import UserError

BINS = 15  # of the calibration error, as in Guo et al. 2017
SMALLEST = 1e-300  # stands for a probability of zero, so that the mean stays finite


def class_metrics(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Accuracy and its standard error, expected calibration error, mean -log p(y | x) in nats, of
    probabilities p [N, M] and labels y [N].

    Raises:
      UserError: shapes do not match, or labels that are no class numbers.
    """
    p, y = _checked(p, y)
    right = p.argmax(1) == y
    return {
        "accuracy": float(right.mean()),
        "accuracy_se": float(right.std() / np.sqrt(len(y))),
        "ece": calibration(p, y)[0],
        "nll_class": float(-np.log(np.maximum(p[np.arange(len(y)), y], SMALLEST)).mean()),
    }


def calibration(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> tuple[float, np.ndarray]:
    """Expected calibration error, and per bin [bins, 3]: mean confidence, accuracy, fraction of
    rows.

        ECE = sum_b fraction_b |accuracy_b - confidence_b|

    over bins of equal width of the confidence max_k p_k; the accuracy of an empty bin is NaN (On
    Calibration of Modern Neural Networks, Guo et al. 2017).
    """
    p, y = _checked(p, y)
    confidence, right = p.max(1), p.argmax(1) == y
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(which, values, bins) / count for values in (confidence, right)]
    share = count / len(y)
    return float(np.nansum(share * np.abs(means[1] - means[0]))), np.stack([*means, share], 1)


def rejection_curve(
    p: np.ndarray, y: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of rows rejected, and accuracy of the rest, [N] each; the highest scores go
    first."""
    p, y = _checked(p, y)
    right = (p.argmax(1) == y)[np.argsort(np.asarray(score), kind="stable")]
    kept = np.arange(1, len(y) + 1)
    return 1 - kept[::-1] / len(y), (np.cumsum(right) / kept)[::-1]


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """P(score from outside > score from inside), ties counting half.

    Args:
      inside, outside: scores [N] and [M].

    Raises:
      UserError: no score on one of the sides.
    """
    from scipy.stats import rankdata

    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    if not inside.size or not outside.size:
        raise UserError(
            f"auroc needs scores of both kinds; got {inside.size} inside and {outside.size}"
            " outside."
        )
    ranks = rankdata(np.concatenate([inside, outside]))[inside.size :]
    return float(
        (ranks.sum() - outside.size * (outside.size + 1) / 2) / (inside.size * outside.size)
    )


def _checked(p, y):
    p, y = np.asarray(p, np.float64), np.asarray(y)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y) or not np.isfinite(p).all():
        raise UserError(
            f"class probabilities [N, M] and labels [N] are needed, N at least 1; got {p.shape} and"
            f" {y.shape}."
        )
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise UserError(f"labels must be class numbers 0 to {p.shape[1] - 1}.")
    return p, y
