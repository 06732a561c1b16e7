"""Rows of shards by their number, of which a bounded number of shards is in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flow_models.data.shards.files import read
from flow_models.data.shards.folder import Split
from flow_models.data.shards.order import LANES

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = 4 * LANES  # shards in memory: in each lane those of a window and of the next one
_READERS = 8  # shards that are read at once
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class ByNumber:
    """One array of the rows of shards."""

    reader: Reader
    place: int

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self.reader.gather(rows, [self.place])[0]

    __getitem__ = __call__


class Reader:
    """Rows of the shards of a split, by number: shards are read when they are needed, or ahead in
    threads, and at most `kept` of them stay in memory.

    Args:
      decode: arrays [n, ...] of the table of a shard.
      columns: of the table that it needs.
    """

    def __init__(
        self,
        split: Split,
        decode: Callable[[pa.Table], Arrays],
        columns: list[str] | None = None,
        kept: int = KEPT,
    ):
        self.split, self._decode, self._columns, self._kept = split, decode, columns, kept
        self._ends = np.cumsum(split.counts)
        self._starts = self._ends - split.counts
        self._lock, self._shards = threading.Lock(), OrderedDict[int, Future]()
        self._pool = ThreadPoolExecutor(_READERS)

    def shard(self, number: int) -> Arrays:
        """The arrays of one shard."""
        return self._asked(number).result()

    def ahead(self, numbers: np.ndarray) -> None:
        """Begins to read shards."""
        for number in numbers:
            self._asked(int(number))

    def gather(self, rows: np.ndarray, places: Sequence[int] | None = None) -> list[np.ndarray]:
        """The arrays [n, ...], or those at some places, of some rows."""
        shards = np.searchsorted(self._ends, rows, side="right")
        asked = {number: self._asked(number) for number in set(shards.tolist())}
        arrays = {number: each.result() for number, each in asked.items()}
        inside = (rows - self._starts[shards]).tolist()
        chosen = list(zip(shards.tolist(), inside))
        every = range(len(next(iter(arrays.values())))) if places is None else places
        by_place = [{number: each[place] for number, each in arrays.items()} for place in every]
        return [np.array([each[number][row] for number, row in chosen]) for each in by_place]

    def column(self, place: int) -> ByNumber:
        """One of the arrays, a function and an index of numbers of rows."""
        return ByNumber(self, place)

    def first(self, rows: int) -> Arrays:
        """Arrays of the first rows, as good as random ones; all of them where there are fewer."""
        return self.between(0, min(rows, len(self.split)))

    def between(self, first: int, last: int) -> Arrays:
        """Arrays of the rows `first` to `last` - 1; none of the shards of others is read."""
        wanted = np.flatnonzero(
            (self._ends > first) & (self._starts < last) & (self.split.counts > 0)
        )
        with ThreadPoolExecutor(_READERS) as pool:
            parts = list(pool.map(self._read, wanted))
        start = first - int(self._starts[wanted[0]]) if len(wanted) else 0
        rows = slice(start, start + last - first)
        return tuple(np.concatenate(each)[rows] for each in zip(*parts))

    def _asked(self, number: int) -> Future:
        with self._lock:
            found = self._shards.get(number)
            if found is None or (found.done() and found.exception() is not None):
                found = self._shards[number] = self._pool.submit(self._read, number)
            self._shards.move_to_end(number)
            while len(self._shards) > self._kept:
                self._shards.popitem(last=False)  # whoever waits for it still gets it
            return found

    def _read(self, number: int) -> Arrays:
        rows = int(self.split.counts[number])
        return self._decode(read(self.split.uri(number), rows, self._columns))
