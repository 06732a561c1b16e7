"""Training batches of images as an endless `tf.data.Dataset`: shuffled passes, augmented, prepared
ahead of the training.

Batch s is a function of s and the seed alone. `repeat` changes nothing, and `skip(s)` starts at
batch s at once, so a resumed run costs nothing and sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.shards.order import ShardPasses, too_few

_AHEAD = 4  # batches that are ready before they are asked for
_WINDOW_BYTES = 64 * 2**20  # of pictures among which a pass out of shards is shuffled


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
        """The same batches, of which only the rows of one worker are read; the other pixels are
        0."""
        height = tf.nest.flatten(self.element_spec)[0].shape[0] // workers
        rows = slice(worker * height, (worker + 1) * height)
        return EndlessBatches(self._make, self._failures, self._start, rows)


class _Passes:
    """Numbers of the pictures in each batch: shuffled passes over `count` pictures in memory; an
    incomplete last batch is not used."""

    def __init__(self, count: int, batch_size: int, seed: int):
        if count < batch_size:
            raise too_few(count, batch_size)
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._per_pass, self._pass, self._order = count // batch_size, -1, np.zeros(0, np.int64)

    def numbers(self, step: int, rows: slice = slice(None)) -> np.ndarray:
        """int64 numbers of these rows of the batch `step`."""
        number, position = divmod(int(step), self._per_pass)
        if number != self._pass:
            rng = np.random.default_rng((self._seed, number))
            self._pass, self._order = number, rng.permutation(self._count)
        return self._order[position * self._batch_size : (position + 1) * self._batch_size][rows]


class _PassesOfGroups:
    """Numbers of the pictures in each batch, of which every group has an equal part: labelled and
    unlabelled ones, say.

    Each group (numbers of pictures) is shuffled by itself; one smaller than its part is repeated.
    """

    def __init__(self, groups: Sequence[np.ndarray], batch_size: int, seed: int):
        self._groups = []
        for number, part in enumerate(np.array_split(np.arange(batch_size), len(groups))):
            group = np.tile(groups[number], -(-len(part) // len(groups[number])))
            passes = _Passes(len(group), len(part), seed + number)
            self._groups.append((group, passes))

    def numbers(self, step: int, rows: slice = slice(None)) -> np.ndarray:
        """int64 numbers of these rows of the batch `step`."""
        return np.concatenate([group[passes.numbers(step)] for group, passes in self._groups])[rows]


def stream(
    gather: Callable[[np.ndarray], np.ndarray],
    counts: np.ndarray,
    shape: tuple[int, int, int],
    batch_size: int,
    seed: int = 0,
    augment: Augmentation | None = None,
    labels: Any = None,
    classes: int = 0,
    groups: Sequence[np.ndarray] = (),
    ahead: Callable[[np.ndarray], None] | None = None,
) -> EndlessBatches:
    """Batches uint8 [batch_size, H, W, C]; with labels {"x": those, "y": one-hot float32
    [batch_size, classes]}.

    Args:
      gather: pixels [n, H, W, C] of the pictures with these numbers.
      counts: pictures in each shard; one number where shards do not matter.
      labels: int [n], or what has a label at each number; -1 where a picture has none: a row of
        zeros.
      groups: numbers of pictures in groups that share each batch equally.
      ahead: told which shards are needed soon.

    Raises:
      UserError: fewer pictures than one batch.
    """
    window = _WINDOW_BYTES // int(np.prod(shape))

    def passes_of(ahead):
        if groups:
            return _PassesOfGroups(groups, batch_size, seed)
        if len(counts) == 1:
            return _Passes(int(counts[0]), batch_size, seed)
        return ShardPasses(counts, batch_size, seed, window, ahead)

    passes_of(None)  # too few pictures are told now, not while training
    failures: list[UserError] = []

    def make(start: int, rows: slice) -> tf.data.Dataset:
        passes = passes_of(ahead)

        def read(step):
            try:
                numbers = passes.numbers(step, rows)
                chosen = np.full(batch_size, -1, np.int32)
                if labels is not None:
                    chosen[rows] = labels[numbers]
                return _padded(gather(numbers), batch_size, rows), chosen
            except UserError as error:
                failures.append(error)
                raise

        def pixels(step):
            x, y = tf.numpy_function(read, [step], (tf.uint8, tf.int32))
            return tf.ensure_shape(x, (batch_size, *shape)), y, step

        def finish(x, y, step):
            if augment is not None and augment.changes:
                x = augment.apply(x, tf.stack([tf.constant(seed, tf.int64), step]))
            if labels is None:
                return x
            return {"x": x, "y": tf.one_hot(tf.ensure_shape(y, [batch_size]), classes)}

        steps = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
        return steps.map(pixels).map(finish, tf.data.AUTOTUNE, deterministic=True).prefetch(_AHEAD)

    return EndlessBatches(make, failures)


def _padded(read: np.ndarray, height: int, rows: slice) -> np.ndarray:
    """Pixels [height, H, W, C] of which these rows are read and the others 0, so that augmentation
    changes the rows as it would in the whole batch."""
    if len(read) == height:
        return read
    pixels = np.zeros((height, *read.shape[1:]), read.dtype)
    pixels[rows] = read
    return pixels
