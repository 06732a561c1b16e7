"""In which order training takes the rows of shards: shuffled by a seed, the same for any number of
workers, found at once for any step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flow_models.core.errors import UserError

LANES = 16  # places at which a pass is read side by side


class ShardPasses:
    """Numbers of the rows in each batch: shuffled passes over all rows of some shards.

    A pass puts the shards into random order and cuts their rows, one after the other, into equal
    lanes. Each lane gives an equal share of each batch, from rows that are shuffled within windows.
    So whoever reads some rows of all batches, as one of several workers does, reads the shards of
    their lanes alone, and a batch mixes as many random places as there are lanes. The last rows of
    a pass that fill no batch are not used in it.

    Args:
      counts: rows of each shard [k].
      window: rows of all lanes together among which a row is shuffled; at most those of a shard
        in each lane, so that few shards are open at once.
      ahead: called with the numbers of shards that are needed soon.

    Raises:
      UserError: fewer rows than one batch.
    """

    def __init__(
        self,
        counts: np.ndarray,
        batch_size: int,
        seed: int,
        window: int,
        ahead: Callable[[np.ndarray], None] | None = None,
    ):
        self._counts, self._seed, self._ahead = np.asarray(counts, np.int64), seed, ahead
        total = int(self._counts.sum())
        if total < batch_size:
            raise too_few(total, batch_size)
        fitting = [n for n in range(1, LANES + 1) if batch_size % n == 0]
        self._lanes = fitting[-1]
        self._height = batch_size // self._lanes  # rows of a batch out of one lane
        self._per_pass = total // batch_size
        self._length = self._per_pass * self._height  # rows of a lane
        window = min(window, self._lanes * -(-total // len(self._counts)))
        self._window = max(1, window // batch_size) * self._height
        self._starts = np.cumsum(self._counts) - self._counts
        self._pass = -1
        self._open: dict[int, tuple[int, np.ndarray]] = {}
        self._table: tuple = ((), 0, np.zeros((0, 0), np.int64))

    def numbers(self, step: int, rows: slice = slice(None)) -> np.ndarray:
        """int64 numbers of these rows of the batch `step`."""
        number, position = divmod(int(step), self._per_pass)
        if number != self._pass:
            self._begin(number)
        first, last, _ = rows.indices(self._lanes * self._height)
        lanes = range(first // self._height, -(-last // self._height))
        skipped = first - lanes.start * self._height
        return self._batch(lanes, position)[skipped : skipped + last - first]

    def _batch(self, lanes: range, position: int) -> np.ndarray:
        """Numbers of the rows of a batch in some lanes; those of the batches up to the next window
        of one of them are found at once."""
        known, start, table = self._table
        if known != (self._pass, lanes) or not start <= position < start + len(table):
            rest = [self._of_lane(lane, position * self._height) for lane in lanes]
            count = min(map(len, rest)) // self._height
            parts = [rows[: count * self._height].reshape(count, -1) for rows in rest]
            start, table = position, np.concatenate(parts, 1)
            self._table = (self._pass, lanes), start, table
        return table[position - start]

    def _begin(self, number: int) -> None:
        self._pass, self._open = number, {}
        self._shards = np.random.default_rng((self._seed, number)).permutation(len(self._counts))
        self._ends = np.cumsum(self._counts[self._shards])

    def _of_lane(self, lane: int, place: int) -> np.ndarray:
        """Numbers of the rows of a lane from `place` to the end of its window."""
        first = self._first_window(lane)
        window = 0 if place < first else 1 + (place - first) // self._window
        if self._open.get(lane, (-1,))[0] != window:
            self._open[lane] = window, self._shuffled(lane, window)
            self._tell(lane, window + 1)
        inside = place - self._bounds(lane, window)[0]
        return self._open[lane][1][inside:]

    def _first_window(self, lane: int) -> int:
        """Rows of the first window, so that not all lanes come to their next one at once."""
        batches = self._window // self._height
        return max(1, (lane + 1) * batches // self._lanes) * self._height

    def _bounds(self, lane: int, window: int) -> tuple[int, int]:
        first = self._first_window(lane)
        start = first + (window - 1) * self._window if window else 0
        return start, min(start + self._window if window else first, self._length)

    def _shuffled(self, lane: int, window: int) -> np.ndarray:
        start, end = self._bounds(lane, window)
        rng = np.random.default_rng((self._seed, self._pass, lane, window))
        places = lane * self._length + rng.permutation(np.arange(start, end))
        which = np.searchsorted(self._ends, places, side="right")
        shards = self._shards[which]
        begins = self._ends[which] - self._counts[shards]
        return self._starts[shards] + places - begins

    def _tell(self, lane: int, window: int) -> None:
        """Says which shards the window of a lane needs."""
        start, end = self._bounds(lane, window)
        if self._ahead is not None and start < end:
            ends = lane * self._length + np.array([start, end - 1])
            first, last = np.searchsorted(self._ends, ends, side="right")
            self._ahead(self._shards[first : last + 1])


def too_few(rows: int, batch_size: int) -> UserError:
    """The error where rows do not fill a batch."""
    return UserError(
        f"{rows} training rows are fewer than one batch of {batch_size}: "
        f"set batch_size to at most {rows}, or give more data"
    )
