"""Checks of arrays that users pass."""

import numpy as np

from flow_models.core.errors import UserError

REPEATED = 1e-12  # 1 - |correlation| below which a column repeats another
WIDEST = 2_000  # columns up to which all pairs are compared
DEPENDENT = 1e-11  # least variance of a direction, of columns with variance 1


def as_arrays(data, dtype=np.float32, what: str = "data", missing: bool = False):
    """An array or dictionary of arrays as `dtype`, with equal first dimensions and finite rows.

    uint8 arrays [B, H, W, C], pixels, stay uint8. NaN may stand in an array, or in the "x" of
    several, where cells may be `missing`. Raises UserError for anything else than numbers
    [rows, ...].
    """
    named = data if isinstance(data, dict) else {what: data}
    arrays = {
        name: _rows(name, value, dtype, missing and name in ("x", what))
        for name, value in named.items()
    }
    if len({len(a) for a in arrays.values()}) != 1:
        raise UserError(
            f"arrays of unequal length: { {name: len(a) for name, a in arrays.items()} }"
        )
    return arrays if isinstance(data, dict) else arrays[what]


def dependent_columns(x: np.ndarray) -> list[int]:
    """Columns of x [N, D] that depend on each other linearly, such as two equal ones; none where
    all vary on their own."""
    spread = x.std(0)
    if x.shape[1] < 2 or not (spread > 0).all():
        return []
    values, vectors = np.linalg.eigh(np.corrcoef(x.T))
    return [] if values[0] > DEPENDENT else list(np.flatnonzero(np.abs(vectors[:, 0]) > 1e-3))


def repeated_columns(x: np.ndarray) -> tuple[int, int] | None:
    """Two columns of float64 x [N, D], each of which varies, that are multiples of one another but
    for an offset; None where there are none, or fewer than three rows."""
    if not 1 < x.shape[1] <= WIDEST or len(x) < 3:
        return None
    standard = (x - x.mean(0)) / x.std(0)
    likeness = np.abs(np.triu(standard.T @ standard / len(x), 1))
    first, second = np.unravel_index(likeness.argmax(), likeness.shape)
    return (int(first), int(second)) if likeness[first, second] > 1 - REPEATED else None


def filled(values) -> np.ndarray:
    """An array in which the masked cells of a masked array are NaN."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiub":
        return np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)


def _rows(name, value, dtype, missing):
    """One array [rows, ...] of finite numbers, or NaN where they may be missing."""
    try:
        array = filled(value)
        array = array if array.dtype == np.uint8 and array.ndim == 4 else np.asarray(array, dtype)
    except (TypeError, ValueError):
        kinds = (
            "an array of numbers"
            if name == "validation data"
            else "an array of numbers, a tf.data.Dataset or draw(n, seed)"
        )
        raise UserError(f"{name} must be {kinds}, got {type(value).__name__}") from None
    if array.ndim < 2:
        raise UserError(f"{name} must have shape [rows, dimensions], got {list(array.shape)}")
    if not len(array):
        raise UserError(f"{name} has no rows")
    bad = ~(np.isfinite(array) | (missing & np.isnan(array))).reshape(len(array), -1).all(1)
    if bad.any():
        raise UserError(
            f"{name} has {bad.sum()} rows with NaN or Inf, the first is row {int(np.argmax(bad))}"
        )
    return array
