"""Training batches of images as an endless `tf.data.Dataset`: shuffled passes, augmented, prepared
ahead of the training.

Batch s is a function of s and the seed alone. `repeat` changes nothing, and `skip(s)` starts at
batch s at once, so a resumed run costs nothing and sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation

_AHEAD = 4  # batches that are ready before they are asked for
_WINDOW_BYTES = 128 * 2**20  # of pictures among which a pass out of shards is shuffled


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

        def make(start, rows):
            return self._make(start, rows).map(change)

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
    """Numbers of the pictures in each batch: shuffled passes over all of them; an incomplete last
    batch is not used.

    Pictures of shards (counts [k]) are shuffled among those of several shards at a time, at least
    `window` of them, the shards in random order, so that a pass reads each shard once.
    """

    def __init__(self, counts: np.ndarray, batch_size: int, seed: int, window: int):
        self._counts, self._seed, self._window = np.asarray(counts), seed, window
        self._batch_size, rows = batch_size, int(self._counts.sum())
        if rows < batch_size:
            raise UserError(
                f"{rows} training images are fewer than one batch of {batch_size}: "
                f"set batch_size to at most {rows}, or give more images"
            )
        self._per_pass, self._pass, self._order = rows // batch_size, -1, np.zeros(0, np.int64)

    def numbers(self, step: int) -> np.ndarray:
        """int64 [batch_size] of the batch `step`."""
        number, position = divmod(int(step), self._per_pass)
        if number != self._pass:
            self._pass, self._order = number, self._shuffled(number)
        return self._order[position * self._batch_size : (position + 1) * self._batch_size]

    def _shuffled(self, number: int) -> np.ndarray:
        rng = np.random.default_rng((self._seed, number))
        ends = np.cumsum(self._counts)
        shards = rng.permutation(len(ends))
        windows = np.cumsum(self._counts[shards]) // max(1, self._window)
        parts = []
        for window in np.unique(windows):
            inside = shards[windows == window]
            rows = [np.arange(ends[each] - self._counts[each], ends[each]) for each in inside]
            parts.append(rng.permutation(np.concatenate(rows)))
        return np.concatenate(parts)


class _PassesOfGroups:
    """Numbers of the pictures in each batch, of which every group has an equal part: labelled and
    unlabelled ones, say.

    Each group (numbers of pictures) is shuffled by itself; one smaller than its part is repeated.
    """

    def __init__(self, groups: Sequence[np.ndarray], batch_size: int, seed: int):
        self._groups = []
        for number, part in enumerate(np.array_split(np.arange(batch_size), len(groups))):
            group = np.tile(groups[number], -(-len(part) // len(groups[number])))
            passes = _Passes(np.array([len(group)]), len(part), seed + number, len(group))
            self._groups.append((group, passes))

    def numbers(self, step: int) -> np.ndarray:
        """int64 [batch_size] of the batch `step`."""
        return np.concatenate([group[passes.numbers(step)] for group, passes in self._groups])


def stream(
    gather: Callable[[np.ndarray], np.ndarray],
    counts: np.ndarray,
    shape: tuple[int, int, int],
    batch_size: int,
    seed: int = 0,
    augment: Augmentation | None = None,
    labels: np.ndarray | None = None,
    classes: int = 0,
    groups: Sequence[np.ndarray] = (),
) -> EndlessBatches:
    """Batches uint8 [batch_size, H, W, C]; with labels {"x": those, "y": one-hot float32
    [batch_size, classes]}.

    Args:
      gather: pixels [n, H, W, C] of the pictures with these numbers.
      counts: pictures in each shard; one number where shards do not matter.
      labels: int [n], -1 where a picture has none: a row of zeros.
      groups: numbers of pictures in groups that share each batch equally.

    Raises:
      UserError: fewer pictures than one batch.
    """
    window = _WINDOW_BYTES // int(np.prod(shape))
    _Passes(counts, batch_size, seed, window)  # too few pictures are told now, not while training
    failures: list[UserError] = []

    def make(start: int, rows: slice) -> tf.data.Dataset:
        passes = (
            _PassesOfGroups(groups, batch_size, seed)
            if groups
            else _Passes(counts, batch_size, seed, window)
        )

        def read(step):
            try:
                numbers = passes.numbers(step)
                chosen = np.zeros(0, np.int32) if labels is None else labels[numbers]
                return _gathered(gather, numbers, rows), chosen
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


def _gathered(gather: Callable, numbers: np.ndarray, rows: slice) -> np.ndarray:
    """Pixels [n, H, W, C] of which these rows are read and the others 0, so that augmentation
    changes the rows as it would in the whole batch."""
    read = gather(numbers[rows])
    if len(read) == len(numbers):
        return read
    pixels = np.zeros((len(numbers), *read.shape[1:]), read.dtype)
    pixels[rows] = read
    return pixels
