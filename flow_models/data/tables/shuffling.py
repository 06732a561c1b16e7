"""Rows in random order in little memory: they go by their hashes into files of a temporary folder,
of which one at a time is sorted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

BUCKETS = 64
_HASH, _SPLIT = "(hash)", "(split)"


class Spool:
    """Rows by their hashes.

    Args:
      folder: an empty one.
      shard_bytes: about so many of a shard.
    """

    def __init__(self, folder: str, shard_bytes: int):
        self._folder, self._shard_bytes = folder, shard_bytes
        self._rows = self._bytes = 0
        self._files = contextlib.ExitStack()
        self._writers: dict[int, pa.RecordBatchFileWriter] = {}

    def add(self, table: pa.Table, split: np.ndarray, key: np.ndarray) -> None:
        """Rows with the number of the split of each [n], and a hash uint64 [n]."""
        import pyarrow as pa

        self._rows, self._bytes = self._rows + len(table), self._bytes + table.nbytes
        table = table.append_column(_HASH, pa.array(key)).append_column(_SPLIT, pa.array(split))
        bucket = (key >> np.uint64(58)).astype(int)
        for number in np.unique(bucket):
            self._writer(int(number), table.schema).write(table.filter(bucket == number))

    def _writer(self, number: int, schema: pa.Schema):
        import pyarrow as pa

        if number not in self._writers:
            file = self._files.enter_context(pa.OSFile(self._path(number), "wb"))
            self._writers[number] = self._files.enter_context(pa.ipc.new_file(file, schema))
        return self._writers[number]

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, f"{number:03d}.arrow")

    def shards(self, split: int) -> Iterator[pa.Table]:
        """The rows of a split in the order of their hashes, cut into shards; nothing is added any
        more."""
        import pyarrow as pa

        self._files.close()
        most = max(1, int(self._shard_bytes * self._rows / max(self._bytes, 1)))
        rest: list[pa.Table] = []
        for number in sorted(self._writers):
            rows = pa.concat_tables([*rest, self._sorted(number, split)])
            while len(rows) >= 2 * most:
                yield rows.slice(0, most)
                rows = rows.slice(most)
            rest = [rows]
        for rows in rest:
            cuts = np.linspace(0, len(rows), 1 + -(-len(rows) // most)).astype(int)
            for start, end in zip(cuts, cuts[1:]):
                yield rows.slice(start, end - start)

    def _sorted(self, number: int, split: int) -> pa.Table:
        import pyarrow as pa

        with pa.memory_map(self._path(number)) as file:
            table = pa.ipc.open_file(file).read_all()
            table = table.filter(table[_SPLIT].to_numpy() == split)
            order = np.argsort(table[_HASH].to_numpy(), kind="stable")
            return table.take(pa.array(order)).drop_columns([_HASH, _SPLIT])
