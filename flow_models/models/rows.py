"""Rows as users have them: data frames, records and structured arrays by name, arrays by position.

`by_name` is the one door; `rows_of` makes numbers of what came through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from flow_models.core.arrays import filled
from flow_models.core.errors import UserError


class _Named(NamedTuple):
    """The names of named values, and how to get the column of one."""

    labels: list
    column: Callable[[Any], Any]


def by_name(values, names: Sequence[str], what: str = "x") -> np.ndarray:
    """Values [..., D] of the columns `names`, in this order: float64, or object where a column
    holds no numbers.

    Data frames, series with names in their index, dictionaries (a record, or columns), lists of
    records and structured arrays are taken by name; names that are not among `names` are ignored.
    Arrays, lists of numbers, and frames whose columns are merely numbered 0, 1, ... are taken by
    position, as they are.

    Raises:
      UserError: a name is missing or there twice, or columns differ in length.
    """
    found = _named(values, what)
    if found is None or _numbered(found.labels, names):
        return _array(values, names, what)
    labels = [str(label) for label in found.labels]
    _check_names(labels, names, what)
    of = dict(zip(labels, found.labels, strict=True))
    columns = [_plain(found.column(of[name])) for name in names]
    if len({column.shape for column in columns}) > 1:
        sizes = ", ".join(
            f"{name} {list(column.shape)}" for name, column in zip(names, columns, strict=True)
        )
        raise UserError(f"columns of {what} differ in shape: {sizes}")
    kind = np.float64 if all(column.dtype.kind in "fiub" for column in columns) else object
    return np.stack([_as(column, kind) for column in columns], -1)


def as_named(frame, names: Sequence[str], what: str = "x"):
    """A DataFrame whose labels are text, as `names` are: ("a", "b") of two levels and dates as
    Python writes them. Frames with such labels stay as they are.

    Raises:
      UserError: a name is missing or there twice.
    """
    labels = [str(label) for label in frame.columns]
    _check_names(labels, names, what)
    return frame if labels == list(frame.columns) else frame.set_axis(labels, axis=1)


def is_named(values, names: Sequence[str]) -> bool:
    """Whether `by_name` takes the values by their names."""
    found = _named(values, "values")
    return found is not None and not _numbered(found.labels, names)


def names_of(values) -> list[str] | None:
    """The names of named values; None for arrays and for columns that are merely numbered."""
    found = _named(values, "values")
    if found is None or _numbered(found.labels):
        return None
    return [str(label) for label in found.labels]


def rows_of(values, names: Sequence[str], what: str, dtype) -> tuple[np.ndarray, tuple[int, ...]]:
    """Numbers [..., len(names)] as rows [B, len(names)] of a NumPy type, and their leading shape.

    Data frames, records and structured arrays are taken by name, see `by_name`.

    Raises:
      UserError: something else, or a name is missing.
    """
    values = by_name(values, names, what)
    if values.dtype.kind not in "fiubO":
        raise UserError(f"{what} must be numbers [..., {len(names)}], not {_kind(values)}")
    if values.ndim == 0 or values.shape[-1] != len(names):
        few = ", ".join(names if len(names) < 9 else [*names[:3], "...", names[-1]])
        raise UserError(
            f"{what} must have shape [..., {len(names)}] ({few}), got {list(values.shape)}"
        )
    found = numbers(values, names, what, dtype)
    return found.reshape(-1, len(names)), values.shape[:-1]


def finite_rows(
    values, names: Sequence[str], what: str, dtype
) -> tuple[np.ndarray, tuple[int, ...]]:
    """`rows_of`; refuses what is not finite."""
    found, lead = rows_of(values, names, what, dtype)
    if not np.isfinite(found).all():
        raise UserError(f"{what} has values that are not finite")
    return found, lead


def numbers(values: np.ndarray, names: Sequence[str], what: str, dtype) -> np.ndarray:
    """Numbers of `dtype`, [..., D], of numbers or objects; NaN where a cell is missing (None, NA).

    Raises:
      UserError: text, dates or other things that are no numbers; the line names column and row.
    """
    if values.dtype.kind in "fiub":
        return values.astype(dtype)
    values = np.where(is_missing(values), np.nan, values)
    bad = ~np.vectorize(_is_number, otypes=[bool])(values)
    if not bad.any():
        return values.astype(np.float64).astype(dtype)
    first = tuple(int(each[0]) for each in np.nonzero(bad))
    row = f" row {first[0]}" if len(first) > 1 else ""
    raise UserError(
        f"{what} must be numbers [..., {len(names)}]: column {names[first[-1]]!r}{row} is"
        f" {str(values[first])[:40]!r}"
    )


def _kind(values: np.ndarray) -> str:
    return {"U": "text", "S": "text", "M": "dates", "c": "complex numbers"}.get(
        values.dtype.kind, values.dtype.name
    )


def _named(values, what) -> _Named | None:
    """Names and columns of named values; None for arrays and lists of numbers."""
    if hasattr(values, "to_numpy") and hasattr(values, "columns"):  # frames of pandas and polars
        return _Named(list(values.columns), lambda label: values[label])
    if hasattr(values, "to_numpy") and hasattr(values, "index"):
        return _of_series(values)
    if hasattr(values, "column_names") and hasattr(values, "to_pydict"):  # tables of Arrow
        return _Named(list(values.column_names), lambda label: values[label].to_pandas())
    values = _record(values)
    if isinstance(values, Mapping):
        return _Named(list(values), lambda label: values[label])
    names = getattr(getattr(values, "dtype", None), "names", None)
    if names:
        return _Named(list(names), lambda label: values[label])
    if isinstance(values, (list, tuple)) and any(isinstance(_record(v), Mapping) for v in values):
        return _of_records([_record(value) for value in values], what)
    return None


def _of_series(values) -> _Named:
    """One row whose index holds the names, or else one column with its own name."""
    labels = list(values.index)
    if isinstance(values.name, str) and not any(isinstance(label, str) for label in labels):
        return _Named([values.name], lambda label: values)
    return _Named(labels, lambda label: values.loc[label])


def _record(value):
    """A named tuple as a dictionary; other values as they are."""
    return value._asdict() if isinstance(value, tuple) and hasattr(value, "_asdict") else value


def _of_records(records: list, what: str) -> _Named:
    """The columns of a list of dictionaries; a name counts where every record has it."""
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise UserError(f"{what} is a list of records, but number {number} is none")
    shared = [name for name in records[0] if all(name in record for record in records)]
    return _Named(shared, lambda label: [record[label] for record in records])


def _numbered(labels: list, names: Sequence[str] = ()) -> bool:
    """Whether labels are merely numbers 0, 1, ...: columns that nobody named."""
    return bool(labels) and labels == list(range(len(labels))) and "0" not in names


def _check_names(labels: list[str], names: Sequence[str], what: str) -> None:
    absent = [name for name in names if name not in labels]
    if absent:
        there = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
        raise UserError(
            f"{what} has no {'columns' if len(absent) > 1 else 'column'}"
            f" {', '.join(map(repr, absent))}, only {there or 'columns without names'}: name all of"
            f" {', '.join(names)}, or give an array in this order"
        )
    twice = [name for name in names if labels.count(name) > 1]
    if twice:
        raise UserError(f"{what} has two columns {twice[0]!r}: rename one")


def _plain(column) -> np.ndarray:
    """A column as an array; nullable numbers of pandas become numbers with NaN."""
    try:
        if (
            hasattr(column, "to_numpy")
            and getattr(getattr(column, "dtype", None), "kind", "O") in "fiub"
        ):
            of_pandas = {"na_value": np.nan} if hasattr(column, "isna") else {}
            return column.to_numpy(np.float64, **of_pandas)
        # NumPy would make text of a list with some text in it
        column = np.asarray(column, object) if isinstance(column, list) else filled(column)
    except (TypeError, ValueError):
        column = np.asarray(column, object)
    return _unmixed(column)


def _as(column: np.ndarray, kind) -> np.ndarray:
    """The column as floats or objects; dates as objects stay dates."""
    if column.dtype.kind in "mM":
        return np.fromiter(column.flat, object, column.size).reshape(column.shape)
    return column.astype(kind)


def _unmixed(column: np.ndarray) -> np.ndarray:
    """An object column of numbers and missing cells as float64; other columns as they are."""
    if column.dtype.kind != "O":
        return column
    empty = is_missing(column)
    if not np.vectorize(_is_number, otypes=[bool])(column[~empty]).all():
        return column
    return np.where(empty, np.nan, column).astype(np.float64)


def is_missing(cells: np.ndarray) -> np.ndarray:
    """Which cells are NaN, None or NA."""
    if cells.dtype.kind != "O":
        return np.isnan(cells) if cells.dtype.kind in "fmM" else np.zeros(cells.shape, bool)
    kinds = ("NAType", "NaTType", "NoneType")
    absent = lambda cell: type(cell).__name__ in kinds or bool(cell != cell)
    return np.vectorize(absent, otypes=[bool])(cells)


def _is_number(cell) -> bool:
    return isinstance(cell, (int, float, np.number, np.bool_)) and not isinstance(
        cell, np.complexfloating
    )


def _array(values, names, what) -> np.ndarray:
    """Values by position.

    Raises:
      UserError: rows of unequal length.
    """
    try:
        return filled(values)
    except (TypeError, ValueError):
        raise UserError(f"{what} must be numbers [..., {len(names)}]") from None
