"""Batches without end as a `tf.data.Dataset`, prepared ahead of the training.

Batch s is a function of s and the seed alone. `repeat` changes nothing, and `skip(s)` starts at
batch s at once, so a resumed run costs nothing and sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.data.shards.order import ShardPasses
from flow_models.data.shards.reading import Reader

_AHEAD = 4  # batches that are ready before they are asked for
WINDOW_BYTES = 64 * 2**20  # of rows among which a pass out of shards is shuffled


class Passes(Protocol):
    """Which rows make each batch."""

    def numbers(self, step: int, rows: slice = slice(None)) -> np.ndarray:
        """int64 numbers of these rows of the batch `step`."""


class EndlessBatches(tf.data.Dataset):
    """The dataset make(s, rows) of batches s, s + 1, ..., which `skip` and `repeat` know to be
    endless; `rows` of each batch are read."""

    def __init__(
        self,
        make: Callable[[int, slice], tf.data.Dataset],
        failures: list[UserError],
        start: int = 0,
        rows: slice = slice(None),
    ):
        self._make, self._failures, self._start, self._rows = make, failures, start, rows
        self._made = make(start, rows)
        super().__init__(self._made._variant_tensor)

    def __iter__(self):
        """Batches; a failure to read them is raised as it was, not as an error of TensorFlow."""
        try:
            yield from super().__iter__()
        except tf.errors.OpError as error:
            raise (self._failures[0] if self._failures else error) from None

    @property
    def element_spec(self):
        return self._made.element_spec

    def _inputs(self):
        return [self._made]

    def each(self, change: Callable) -> EndlessBatches:
        """The dataset of change(batch), which still skips at once."""
        return self._with(lambda made: made.map(change))

    def prefetch(self, buffer_size, name=None) -> EndlessBatches:
        """The dataset whose next batches are read before they are asked for."""
        return self._with(lambda made: made.prefetch(buffer_size))

    def _with(self, change: Callable) -> EndlessBatches:
        def make(start, rows):
            return change(self._make(start, rows))

        return EndlessBatches(make, self._failures, self._start, self._rows)

    def repeat(self, count=None, name=None) -> EndlessBatches:
        """Itself: it has no end."""
        return self

    def skip(self, count, name=None) -> EndlessBatches:
        """The batches from `count` on; those before are not made."""
        return EndlessBatches(self._make, self._failures, self._start + int(count), self._rows)

    def share(self, worker: int, workers: int) -> EndlessBatches:
        """The same batches, of which only the rows of one worker are read; the others are 0."""
        height = tf.nest.flatten(self.element_spec)[0].shape[0] // workers
        rows = slice(worker * height, (worker + 1) * height)
        return EndlessBatches(self._make, self._failures, self._start, rows)


def endless(
    passes_of: Callable[[], Passes],
    gather: Callable[[np.ndarray], Sequence[np.ndarray]],
    specs: Sequence[tf.TensorSpec],
    finish: Callable,
) -> EndlessBatches:
    """Batches finish(arrays, step) of the arrays that gather(numbers) gives.

    Args:
      passes_of: a new start of the passes; it may refuse too few rows.
      gather: arrays [n, ...] of the rows with these numbers.
      specs: of the arrays of a batch [batch_size, ...].
    """
    passes_of()  # too few rows are told now, not while training
    failures: list[UserError] = []
    types = [spec.dtype for spec in specs]

    def make(start: int, rows: slice) -> tf.data.Dataset:
        passes = passes_of()

        def read(step):
            try:
                arrays = gather(passes.numbers(step, rows))
                return [_padded(each, spec.shape[0], rows) for each, spec in zip(arrays, specs)]
            except UserError as error:
                failures.append(error)
                raise

        def batch(step):
            arrays = tf.numpy_function(read, [step], types)
            return tuple(map(tf.ensure_shape, arrays, [spec.shape for spec in specs])), step

        steps = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        return steps.map(batch).map(finish, tf.data.AUTOTUNE, deterministic=True).prefetch(_AHEAD)

    return EndlessBatches(make, failures)


def of_shards(
    reader: Reader, widths: dict[str, int], rows: int, batch_size: int, seed: int
) -> EndlessBatches:
    """Batches {name: float32 [batch_size, width]} of the first `rows` rows of some shards.

    Args:
      reader: of arrays float32 [n, width] in the order of `widths`.

    Raises:
      UserError: fewer rows than one batch.
    """
    counts = first_rows(reader.split.counts, rows)
    window = WINDOW_BYTES // (4 * sum(widths.values()))
    specs = [tf.TensorSpec([batch_size, width], tf.float32) for width in widths.values()]
    return endless(
        lambda: ShardPasses(counts, batch_size, seed, window, reader.ahead),
        reader.gather,
        specs,
        lambda arrays, _: dict(zip(widths, arrays)),
    )


def first_rows(counts: np.ndarray, rows: int) -> np.ndarray:
    """How many of the first `rows` rows are in each shard, without the shards behind them."""
    kept = np.diff(np.minimum(np.cumsum(counts), rows), prepend=0)
    return kept[: int(np.flatnonzero(kept)[-1]) + 1] if kept.any() else kept[:0]


def _padded(read: np.ndarray, height: int, rows: slice) -> np.ndarray:
    """An array [height, ...] of which these rows are read and the others 0, so that augmentation
    changes the rows as it would in the whole batch."""
    if len(read) == height:
        return read
    whole = np.zeros((height, *read.shape[1:]), read.dtype)
    whole[rows] = read
    return whole
