"""What makes a table fit for a density.

Numbers must be finite, no column constant or the multiple of another (the likelihood would be
unbounded), and float32 must keep enough digits.
"""

from collections.abc import Sequence

import numpy as np

from flow_models.core.arrays import repeated_columns
from flow_models.core.errors import UserError
from flow_models.data.tables.numerals import MISSING

_STEPS = 100  # float32 steps in one standard deviation, or rounding shows in the density
ROW = "row"  # name of an index that holds the numbers of rows in their file


def check_table(
    values,
    columns: Sequence[str] | None = None,
    min_rows: int = 2,
    source: str = "the table",
    dtype: type = np.float32,
) -> np.ndarray:
    """The values as float32 [N, D], or a UserError that names the column and the first row (counted
    from 1, in the file where a reader made the frame) at fault.

    Args:
      values: array, nested list or DataFrame [N, D]; [N] is taken as [N, 1].
      columns: D names for messages; a DataFrame has its own, else x1, x2, ...
      dtype: float64 for values that keep too few digits in 32 bits.
    """
    names, numbers = _matrix(values, columns, source)
    rows = row_numbers(values)
    if len(numbers) < min_rows:
        raise UserError(
            f"{source}: {plural(len(numbers), 'row')}; at least {min_rows} are expected"
        )
    for name, column in zip(names, numbers.T):
        _check_column(column, f"{source}: column '{name}'", rows, dtype)
    _check_repeats(numbers, names, source)
    return numbers.astype(dtype)


def as_numbers(values, source: str = "the table") -> np.ndarray:
    """The values as finite float64 [N, D] of any spread: what can be scored, but not trained on.

    Raises UserError that names the column and the first row at fault.
    """
    names, numbers = _matrix(values, None, source)
    for name, column in zip(names, numbers.T):
        _check_finite(column, f"{source}: column '{name}'", row_numbers(values))
    return numbers


def row_numbers(values) -> np.ndarray:
    """Numbers [N] of the rows of values [N, D]: those of the file where a reader made the frame,
    else from 1."""
    index = getattr(values, "index", None)
    if getattr(index, "name", None) == ROW:
        return np.asarray(index)
    return np.arange(1, len(values) + 1)


def plural(count: int, noun: str) -> str:
    """ "1 row", "2 rows"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def _matrix(values, columns: Sequence[str] | None, source: str) -> tuple[Sequence[str], np.ndarray]:
    """Names of the columns, and their numbers float64 [N, D]."""
    if hasattr(values, "iloc"):  # a DataFrame, whose columns have types of their own
        parts = [values.iloc[:, place].to_numpy() for place in range(values.shape[1])]
        names: Sequence[str] = [str(name) for name in values.columns]
    else:
        parts = list(_array(values, source).T)
        names = [f"x{place}" for place in range(1, len(parts) + 1)]
    if not parts:
        raise UserError(f"{source}: the table has no column")
    if columns is not None and len(columns) != len(parts):
        raise UserError(f"{source}: {len(columns)} column names given for {len(parts)} columns")
    names = names if columns is None else columns
    rows = row_numbers(values)
    numbers = [
        _numbers(part, f"{source}: column '{name}'", rows) for name, part in zip(names, parts)
    ]
    return names, np.stack(numbers, axis=1)


def _array(values, source: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{source}: rows of equal length are expected: {reason}") from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise UserError(
            f"{source}: an array [rows, columns] is expected; this one has shape {array.shape}"
        )
    return array


def _numbers(part: np.ndarray, where: str, rows: np.ndarray) -> np.ndarray:
    """One column as float64; a missing value becomes NaN."""
    if part.dtype.kind in "fiu":
        return part.astype(np.float64)
    if part.dtype.kind not in "OUSTb":
        raise UserError(f"{where} holds {part.dtype}, not real numbers")
    numbers = [_number(value) for value in part]
    if None in numbers:
        bad = numbers.index(None)
        raise UserError(
            f"{where}, row {rows[bad]}: a number is expected, not {str(part[bad])[:40]!r}"
        )
    return np.array(numbers, np.float64)


def _number(value) -> float | None:
    """The value as a number, NaN where it is missing, None where it is something else."""
    if value is None or str(value).strip().lower() in MISSING:
        return np.nan
    try:
        wrong = isinstance(value, (bool, np.bool_, np.ndarray)) or "_" in str(value)
        return None if wrong else float(value)
    except (TypeError, ValueError):
        return None


def _check_column(column: np.ndarray, where: str, rows: np.ndarray, dtype: type) -> None:
    """Finite, within float32, not constant, and not so far from zero that the type rounds its
    variation away."""
    _check_finite(column, where, rows)
    largest = np.abs(column).max()
    if largest > np.finfo(np.float32).max:
        raise UserError(
            f"{where}: {largest:.3g} is too large for 32-bit numbers (3.4e38); rescale the column"
        )
    if column.min() == column.max():
        raise UserError(
            f"{where} is constant ({column[0]:g}): its likelihood would be unbounded; leave it out"
        )
    deviation = column.std()
    if deviation < max(_STEPS * float(np.spacing(dtype(largest))), np.finfo(np.float32).tiny):
        raise UserError(
            f"{where} varies by {deviation:.3g} around {column.mean():.9g}: too little for"
            f" {np.finfo(dtype).bits}-bit numbers; subtract an offset (or rescale) first"
        )


def _check_finite(column: np.ndarray, where: str, rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        raise UserError(
            f"{where}: {plural(bad.size, 'value')} missing, NaN or infinite (first in row"
            f" {rows[bad[0]]}); remove or fill these rows"
        )


def _check_repeats(numbers: np.ndarray, names: Sequence[str], source: str) -> None:
    """No column may repeat another one at any scale."""
    found = repeated_columns(numbers)
    if found:
        first, second = found
        raise UserError(
            f"{source}: column '{names[second]}' is a multiple of column '{names[first]}': the"
            " likelihood would be unbounded; leave one out"
        )
