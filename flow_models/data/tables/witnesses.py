"""Rows that show what a random sample of a table may miss: rare values, least and largest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flow_models.data.tables.schema import FLAG, REAL, TEXT, TIME, WHOLE, Schema

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 500  # different values of a column, above which they are no categories


class Witnesses:
    """The first row with each value of a column that has few, and those with the least and largest
    numbers."""

    def __init__(self, schema: Schema):
        self._schema, self._kept = schema, None
        self._known: dict[str, set] = {
            name: set() for name, kind in schema.columns if kind in (WHOLE, TEXT, FLAG)
        }
        self._ends: dict[str, tuple] = {}

    def add(self, table: pa.Table) -> None:
        """Looks at rows."""
        import pandas as pd

        frame, chosen = table.to_pandas(), set()
        for name, kind in self._schema.columns:
            column = frame[name]
            if name in self._known:
                chosen |= self._new(name, column)
            if kind in (WHOLE, REAL, TIME) and column.notna().any():
                chosen |= self._beyond(name, column)
        rows = frame.iloc[sorted(chosen)]
        self._kept = rows if self._kept is None else pd.concat([self._kept, rows])

    def _new(self, name: str, column) -> set[int]:
        """Rows of values that were not seen before."""
        first = column.dropna().drop_duplicates()
        first = first[~first.isin(list(self._known[name]))]
        self._known[name] |= set(first)
        if len(self._known[name]) > MOST:
            del self._known[name]
            return set()
        return set(first.index)

    def _beyond(self, name: str, column) -> set[int]:
        """Rows of a new least or largest number."""
        least, largest = column.idxmin(), column.idxmax()
        low, high = self._ends.get(name, (column[least], column[largest]))
        new = name not in self._ends
        self._ends[name] = min(low, column[least]), max(high, column[largest])
        found = [(least, new or column[least] < low), (largest, new or column[largest] > high)]
        return {int(row) for row, is_new in found if is_new}

    def table(self) -> pa.Table:
        """The rows."""
        import pyarrow as pa

        types = [pa.field(name, pa.type_for_alias(kind)) for name, kind in self._schema.columns]
        if self._kept is None:
            return pa.schema(types).empty_table()
        kept = self._kept.drop_duplicates()
        arrays = [pa.array(kept[field.name], field.type, from_pandas=True) for field in types]
        return pa.table(arrays, schema=pa.schema(types))
