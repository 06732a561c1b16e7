"""Where training batches come from: arrays on the device, a `tf.data.Dataset`, or a simulator that
draws on the device.

A source gives, for a run of steps, the tensors that a compiled loop needs (`chunk`), and inside the
loop the batch of one step (`batch`). Everything follows from the seed and the number of the step,
so a resumed run sees the same batches. `refresh` is called with the weights after each row of the
history; it does nothing, but for simulators that draw by the model (`annealed.Buffer`).
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from flow_models.core.arrays import as_arrays
from flow_models.core.errors import UserError

CHUNK = 256  # most steps in one compiled call
CHUNK_BYTES = 16 * 2**20  # most data of a dataset that is stacked for one call, copies included
AHEAD = 32  # batches of a dataset that are read while steps run: more would be read for nothing


class Source:
    """What all sources share."""

    def refresh(self, weights) -> None:
        """Takes note of the weights that are trained."""


class ArraySource(Source):
    """Rows of arrays [n, ...] in shuffled passes; the incomplete last batch of a pass is left
    out."""

    chunk_steps = CHUNK

    def __init__(self, arrays, batch_size: int, seed: int):
        self.rows = len(tf.nest.flatten(arrays)[0])
        if self.rows < batch_size:
            raise UserError(
                f"{self.rows} training rows are fewer than one batch of {batch_size}: "
                f"set batch_size to at most {self.rows}, or give more data"
            )
        self.arrays = tf.nest.map_structure(tf.constant, arrays)
        self._batch_size, self._seed = batch_size, seed
        self.per_pass = self.rows // batch_size
        self._pass, self._order = -1, np.zeros(0, int)

    def chunk(self, step: int, n: int):
        """Row numbers [CHUNK, batch] of steps step .. step + n - 1."""
        index = np.zeros((CHUNK, self._batch_size), np.int32)
        for i in range(n):
            number, position = divmod(step + i, self.per_pass)
            if number != self._pass:
                rng = np.random.default_rng((self._seed, number))
                self._pass, self._order = number, rng.permutation(self.rows)
            index[i] = self._order[position * self._batch_size : (position + 1) * self._batch_size]
        return (self.arrays, tf.constant(index))

    def batch(self, chunk, i, step):
        arrays, index = chunk
        rows = tf.gather(
            index, i
        )  # not index[i], for which XLA would compile anew each time where i comes from outside
        return tf.nest.map_structure(lambda a: tf.gather(a, rows), arrays)

    def first_rows(self, n: int):
        """Up to n rows, drawn once, for data-dependent starts."""
        rows = np.random.default_rng((self._seed, 0)).permutation(self.rows)[:n]
        return tf.nest.map_structure(lambda a: tf.gather(a, rows), self.arrays)


class SimulatorSource(Source):
    """A pure function draw(n, seed) -> nest of tensors [n, ...], compiled into the training
    loop."""

    chunk_steps = CHUNK
    rows = arrays = None

    def __init__(self, draw, batch_size: int, seed: int):
        self._draw, self._batch_size, self._seed = draw, batch_size, seed

    def chunk(self, step: int, n: int):
        return (tf.constant(self._seed, tf.int32),)

    def batch(self, chunk, i, step):
        return self._drawn(self._batch_size, tf.stack([chunk[0], step]))

    def first_rows(self, n: int):
        return self._drawn(n, tf.constant([self._seed, -1], tf.int32))

    def refresh(self, weights):
        if hasattr(self._draw, "refresh"):
            self._draw.refresh(weights)

    def _drawn(self, n, seed):
        rows = self._draw(n, seed)
        if not all(tf.is_tensor(leaf) for leaf in tf.nest.flatten(rows)):
            raise UserError(
                "a simulator draw(n, seed) must be written with TensorFlow and return tensors: "
                "anything else would be drawn once and repeated in every step"
            )
        return rows


class DatasetSource(Source):
    """Batches of a `tf.data.Dataset`, repeated; single rows are batched. Deterministic if the
    dataset is. TensorFlow reads those of the next call while the steps of this one run.

    Of several workers each reads its own rows alone where the dataset has a method `share`, else
    all of them.
    """

    rows = arrays = None

    def __init__(
        self,
        dataset: tf.data.Dataset,
        batch_size: int,
        seed: int,
        worker: int = 0,
        workers: int = 1,
    ):
        shapes = [spec.shape for spec in tf.nest.flatten(dataset.element_spec)]
        if all(shape.rank in (1, 3) for shape in shapes):
            dataset = dataset.batch(batch_size, drop_remainder=True)
        specs = tf.nest.flatten(dataset.element_spec)
        if any(not spec.shape.is_fully_defined() for spec in specs):
            raise UserError(
                f"the dataset gives batches of unknown shape {[tuple(s.shape) for s in specs]}: "
                "batch it with drop_remainder=True"
            )
        size = sum(spec.shape.num_elements() * spec.dtype.size for spec in specs)
        self.chunk_steps = int(np.clip(CHUNK_BYTES // size, 1, CHUNK))
        self._dataset, self._next = dataset, -1
        self._batches: Iterator = iter(())
        self._mine = (
            dataset.share(worker, workers) if workers > 1 and hasattr(dataset, "share") else dataset
        )

    def chunk(self, step: int, n: int):
        """The batches [chunk_steps, batch, ...] of steps step .. step + n - 1; unused places are
        copies."""
        if self._next != step:
            ahead = self._mine.repeat().skip(step).prefetch(min(self.chunk_steps, AHEAD))
            self._batches, self._next = iter(ahead), step
        try:
            batches = [next(self._batches) for _ in range(n)]
        except StopIteration:
            raise UserError("the dataset is empty, or has fewer rows than one batch") from None
        self._next += n
        batches += [batches[-1]] * (self.chunk_steps - n)
        return (tf.nest.map_structure(lambda *b: tf.stack(b), *batches),)

    def batch(self, chunk, i, step):
        return tf.nest.map_structure(lambda a: tf.gather(a, i), chunk[0])

    def first_rows(self, n: int):
        first = list(
            self._dataset.take(max(1, n // tf.nest.flatten(self._dataset.element_spec)[0].shape[0]))
        )
        if not first:
            raise UserError("the dataset is empty, or has fewer rows than one batch")
        return tf.nest.map_structure(lambda *b: tf.concat(b, 0), *first)


def make_source(
    data,
    batch_size: int,
    seed: int,
    dtype=np.float32,
    worker: int = 0,
    workers: int = 1,
    missing: bool = False,
):
    """The source for arrays (one, or a dictionary), a `tf.data.Dataset`, or a simulator draw(n,
    seed).

    Raises:
      UserError: something else, arrays of unequal length, or rows that are not finite;
        NaN may stand for a `missing` cell.
    """
    if isinstance(data, tf.data.Dataset):
        return DatasetSource(data, batch_size, seed, worker, workers)
    if callable(data):
        return SimulatorSource(data, batch_size, seed)
    return ArraySource(as_arrays(data, dtype, missing=missing), batch_size, seed)


def fingerprint(arrays) -> str:
    """Sixteen characters that differ where arrays differ; empty for None."""
    digest = hashlib.sha256()
    for array in tf.nest.flatten(arrays):
        if array is not None:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16] if arrays is not None else ""
