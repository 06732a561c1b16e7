"""Bounds of columns, in the user's units and in float64."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from flow_models.core.errors import UserError

Bound = float | None
NEAR = 100.0  # standard deviations of the mean from a bound, below which rows are counted from it


def by_column(told, names: Sequence[str]) -> tuple[Bound, ...]:
    """A bound a column, from a list, a dictionary by name, one number for all, or None.

    Raises:
      UserError: no such column, no number, or bounds for more or fewer.
    """
    if told is None:
        return (None,) * len(names)
    if isinstance(told, Mapping):
        unknown = [name for name in told if name not in names]
        if unknown:
            raise UserError(f"a bound of {unknown[0]!r}; the columns are {', '.join(names)}")
        told = [told.get(name) for name in names]
    if np.ndim(told) == 0:
        told = [told] * len(names)
    if len(told) != len(names):
        raise UserError(
            f"bounds for {len(told)} columns, but the data have {len(names)}: give each one"
        )
    return tuple(_bound(bound, name) for bound, name in zip(told, names, strict=True))


def _bound(told, name: str) -> Bound:
    """A bound as a number, None for none, which an infinite one is.

    Raises:
      UserError: it is no number.
    """
    try:
        bound = math.inf if told is None else float(told)
    except (TypeError, ValueError):
        bound = math.nan
    if math.isnan(bound):
        raise UserError(f"the bound of {name!r} is {told!r}: a number or None is expected")
    return None if math.isinf(bound) else bound


def of_columns(lower, upper, names: Sequence[str]) -> tuple[tuple[Bound, ...], tuple[Bound, ...]]:
    """Lower and upper bounds, one each a column, by position or by name.

    Raises:
      UserError: more or fewer, a name that is no column, or a lower one that is not below.
    """
    sides = by_column(lower, names), by_column(upper, names)
    for name, low, high in zip(names, *sides, strict=True):
        if low is not None and high is not None and not low < high:
            raise UserError(
                f"column {name!r}: the lower bound {low:g} is not below the upper bound {high:g}"
            )
    return sides


def check(values: np.ndarray, names: Sequence[str], lower, upper) -> None:
    """Raises UserError for a column of values [N, D] that is not between its bounds; rows count
    from 1."""
    for name, column, low, high in zip(names, np.transpose(values), lower, upper, strict=True):
        check_column(column, low, high, f"column {name!r}")


def check_column(column: np.ndarray, low: Bound, high: Bound, what: str) -> None:
    """Raises UserError for numbers [N] that are not strictly between the bounds."""
    for bound, wrong, side in (
        (low, low is not None and column <= low, "above the lower"),
        (high, high is not None and column >= high, "below the upper"),
    ):
        if np.any(wrong):
            row, count = int(np.argmax(wrong)), int(np.sum(wrong))
            others = f", nor are {count - 1} other rows" if count > 1 else ""
            raise UserError(
                f"{what}, row {row + 1}: {column[row]:.10g} is not {side} bound {bound:.10g}"
                f"{others}; widen the bounds or leave the rows out"
            )


def origin(mean: float, sd: float, low: Bound, high: Bound) -> float:
    """Where a column is counted from: its nearest bound, so that float32 is fine there; its mean
    where both are far."""
    near = [bound for bound in (low, high) if bound is not None and abs(mean - bound) < NEAR * sd]
    return float(min(near, key=lambda bound: abs(mean - bound)) if near else mean)


def inside(values: np.ndarray, low: Bound, high: Bound, dtype=np.float64) -> np.ndarray:
    """Numbers moved strictly between the bounds where rounding to `dtype` puts them on one."""
    if low is not None:
        values = np.maximum(values, beside(low, 1, dtype))
    return values if high is None else np.minimum(values, beside(high, -1, dtype))


def beside(bound: float, side: int, dtype=np.float64):
    """The number beside a bound, above (1) or below (-1); of 0 the smallest normal one."""
    number = np.dtype(dtype).type
    step = max(np.spacing(abs(number(bound))), np.finfo(np.float32).tiny)
    return number(number(bound) + side * step)


def is_outside(values: np.ndarray, low: Bound, high: Bound) -> np.ndarray:
    """Which numbers are on a bound or beyond it."""
    below = np.zeros(np.shape(values), bool) if low is None else values <= low
    return below if high is None else below | (values >= high)
