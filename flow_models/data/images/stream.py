"""Training batches of images without end: shuffled passes, augmented; see `shards.stream`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.data.images.augmentation import Augmentation
from flow_models.data.shards.order import ShardPasses, too_few
from flow_models.data.shards.stream import WINDOW_BYTES, EndlessBatches, Passes, endless


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
    window = WINDOW_BYTES // int(np.prod(shape))

    def passes_of() -> Passes:
        if groups:
            return _PassesOfGroups(groups, batch_size, seed)
        if len(counts) == 1:
            return _Passes(int(counts[0]), batch_size, seed)
        return ShardPasses(counts, batch_size, seed, window, ahead)

    def read(numbers):
        chosen = np.zeros(len(numbers), np.int32) if labels is None else labels[numbers]
        return gather(numbers), chosen

    def finish(arrays, step):
        x, y = arrays
        if augment is not None and augment.changes:
            x = augment.apply(x, tf.stack([tf.constant(seed, tf.int64), step]))
        return x if labels is None else {"x": x, "y": tf.one_hot(y, classes)}

    pixels = tf.TensorSpec([batch_size, *shape], tf.uint8)
    return endless(passes_of, read, [pixels, tf.TensorSpec([batch_size], tf.int32)], finish)
