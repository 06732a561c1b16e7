"""Types of the columns of tables, agreed by their first rows, so that all shards are alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flow_models.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

PLACE = "(place)"  # of a row: its file below the source, and its number there from 1
WHOLE, REAL, TEXT, FLAG, TIME = "int64", "double", "string", "bool", "timestamp[us]"


@dataclasses.dataclass(frozen=True)
class Schema:
    """Names and types of columns.

    Attributes:
      columns: (name, type) of each.
    """

    columns: list[tuple[str, str]]

    @classmethod
    def of(cls, columns: Sequence[Sequence[str]]) -> Schema:
        """As an index has it."""
        return cls([(name, kind) for name, kind in columns])

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.columns]

    @property
    def text(self) -> list[str]:
        """Columns that stay text when they are read."""
        return [name for name, kind in self.columns if kind == TEXT]

    @property
    def varies(self) -> bool:
        """Whether there are numbers with fractions, or times, of which equal ones are copies."""
        return any(kind in (REAL, TIME) for _, kind in self.columns)

    def chosen(self, frame, source: str):
        """The columns of a DataFrame."""
        lost = [name for name in self.names if name not in frame.columns]
        if lost:
            there = ", ".join(map(str, frame.columns[:12]))
            raise UserError(f"{source}: no column {lost[0]!r}; there are {there}")
        return frame[self.names]

    def table(self, frame, source: str) -> pa.Table:
        """A DataFrame with numbers of rows as its index, as an Arrow table with their places.

        Raises:
          UserError: a cell that is not of the type of its column.
        """
        import pyarrow as pa

        arrays = {name: _array(frame[name], kind, source) for name, kind in self.columns}
        arrays[PLACE] = pa.array([f"{source}:{row}" for row in frame.index], pa.string())
        return pa.table(arrays)


def agreed(
    heads: Sequence, sources: Sequence[str], text: Sequence[str], real: Sequence[str]
) -> Schema:
    """The schema of DataFrames, the first rows of some files.

    Raises:
      UserError: files of different columns, or of types that do not fit together.
    """
    names = [str(name) for name in heads[0].columns]
    for head, source in zip(heads, sources):
        lost = [name for name in names if name not in head.columns]
        if lost:
            raise UserError(
                f"{source}: no column {lost[0]!r}, which {sources[0]} has: give --columns"
            )
    unknown = [name for name in (*text, *real) if name not in names]
    if unknown:
        raise UserError(f"no column {unknown[0]!r}; there are {', '.join(names[:12])}")
    if PLACE in names:
        raise UserError(f"rename the column {PLACE!r}: it is the name of a row's place")
    return Schema([(name, _agreed(name, heads, sources, text, real)) for name in names])


def _agreed(name: str, heads, sources, text: Sequence[str], real: Sequence[str]) -> str:
    if name in text:
        return TEXT
    found = {_type(head[name]): source for head, source in zip(heads, sources)}
    found.pop("", None)  # nothing but missing cells
    if name in real or found.keys() == {WHOLE, REAL}:
        found = {REAL: ""} if found.keys() <= {WHOLE, REAL} else found
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise UserError(
            f"column {name!r} is {one} in {first} and {other} in {second}: mend the files, or take"
            f" it as text (--text {name})"
        )
    return next(iter(found), REAL)


def _type(column) -> str:
    """Of a pandas column; empty where all cells are missing."""
    import pandas as pd

    types = pd.api.types
    if column.isna().all():
        return ""
    if types.is_bool_dtype(column.dtype):
        return FLAG
    if types.is_datetime64_any_dtype(column.dtype):
        return TIME
    if types.is_integer_dtype(column.dtype):
        return WHOLE
    if types.is_numeric_dtype(column.dtype):
        known = column.dropna()
        gaps = len(known) < len(column)
        return WHOLE if gaps and bool((known == known.round()).all()) else REAL
    return TEXT


def _array(column, kind: str, source: str) -> pa.Array:
    import pandas as pd
    import pyarrow as pa

    if kind == TEXT:
        column = column.astype(object).where(column.notna(), None)
        column = column.map(str, na_action="ignore")
    elif kind == TIME and getattr(column.dtype, "tz", None) is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    try:
        return pa.array(column, pa.type_for_alias(kind), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        pass
    for row, cell in column.items():
        try:
            pa.array(
                pd.Series([cell], dtype=column.dtype), pa.type_for_alias(kind), from_pandas=True
            )
        except (pa.ArrowException, TypeError, ValueError):
            hint = f"--real {column.name}" if kind == WHOLE and _is_number(cell) else ""
            hint = hint or f"mend the cell, or take the column as text (--text {column.name})"
            raise UserError(
                f"{source}: column {column.name!r}, row {row}: {str(cell)[:40]!r} is no {kind}, as"
                f" the first rows are: {hint}"
            ) from None
    raise UserError(f"{source}: column {column.name!r} is no {kind}")


def _is_number(cell) -> bool:
    return isinstance(cell, float)
