"""Tables out of shards, see `preparing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core.errors import UserError
from flow_models.data.shards import files
from flow_models.data.shards.folder import Prepared, Split
from flow_models.data.shards.reading import Reader
from flow_models.data.tables.checks import ROW
from flow_models.data.tables.preparing import KIND, SPLITS, WITNESSES
from flow_models.data.tables.schema import PLACE, TEXT, Schema

if TYPE_CHECKING:
    import pyarrow as pa

    from flow_models.data.shards.stream import EndlessBatches

SAMPLE = 200_000  # training rows that the columns are measured on where they are streamed
_READERS, _SHARDS, _TEXT_BYTES = 8, 64, 64


class TableShards:
    """The shards of tables.

    Attributes:
      names: of the columns that are taken, all by default.

    Raises:
      UserError: not all parts are done, no such column, or a split without rows.
    """

    def __init__(self, folder: str, names: Sequence[str] | None = None):
        self._index = Prepared.read(folder, KIND)
        self._schema = Schema.of(self._index.about["columns"])
        there = self._schema.names
        lost = [name for name in names or () if name not in there]
        if lost:
            raise UserError(f"{folder}: no column {lost[0]!r}; there are {', '.join(there[:12])}")
        self.names = list(names or there)
        for split in SPLITS:
            if not len(self._index.split(split)):
                raise UserError(f"{folder} has no rows for {split}: too few rows were prepared")

    def __len__(self) -> int:
        """Training rows."""
        return len(self._index.split("train"))

    def fits(self, memory_mb: float) -> bool:
        """Whether all rows fit into so many MB."""
        rows = sum(len(self._index.split(split)) for split in SPLITS)
        return rows * self._row_bytes <= memory_mb * 2**20

    @property
    def _row_bytes(self) -> int:
        kinds = dict(self._schema.columns)
        return sum(_TEXT_BYTES if kinds[name] == TEXT else 8 for name in self.names)

    def frame(self, memory_mb: float):
        """A DataFrame of all rows, and the split of each [N]; of more than so many MB some: those
        for validation and test in a quarter of it each, and a sample for training."""
        import pandas as pd

        quarter = max(1, int(memory_mb * 2**20 / 4 / self._row_bytes))
        most = dict.fromkeys(SPLITS) if self.fits(memory_mb) else dict.fromkeys(SPLITS, quarter)
        if most["train"]:
            most["train"] = max(min(SAMPLE, quarter), 1)
        parts = [self._rows(self._index.split(split), rows) for split, rows in most.items()]
        labels = np.repeat(list(SPLITS), [len(part) for part in parts])
        return pd.concat(parts), labels

    def witnesses(self):
        """A DataFrame of rows with rare values, and with the least and largest ones."""
        return self._rows(self._index.split(WITNESSES), None, places=False)

    def batches(
        self, decode: Callable, widths: dict[str, int], batch_size: int, seed: int
    ) -> EndlessBatches:
        """Batches of the training rows, float32, by decode(frame) -> arrays [n, width]."""
        from flow_models.data.shards.stream import of_shards

        reader = Reader(
            self._index.split("train"), lambda t: decode(_frame(t)), [*self.names, PLACE]
        )
        return of_shards(reader, widths, len(self), batch_size, seed)

    def _rows(self, split: Split, rows: int | None, places: bool = True):
        """All rows of a split, or about so many, equally many of shards from all over."""
        import pyarrow as pa

        wanted, each = np.flatnonzero(split.counts), None
        if rows is not None and rows < len(split):
            chosen = np.linspace(0, len(wanted) - 1, min(_SHARDS, rows, len(wanted)))
            wanted = np.unique(wanted[chosen.astype(int)])
            each = -(-rows // len(wanted))
        columns = [*self.names, *([PLACE] if places else [])]
        read = lambda k: files.read(split.uri(k), int(split.counts[k]), columns).slice(0, each)
        with ThreadPoolExecutor(_READERS) as pool:
            return _frame(pa.concat_tables(pool.map(read, map(int, wanted))))


def _frame(table: pa.Table):
    """A DataFrame whose index holds the places of the rows, where they are known."""
    frame = table.to_pandas()
    return frame.set_index(PLACE).rename_axis(ROW) if PLACE in frame.columns else frame
