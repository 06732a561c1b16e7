"""Row-wise functions for any number of rows, compiled for a few fixed shapes, on all cores."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow as tf

FEW = 8  # tiles of one call that threads would not gain from: XLA shares their products by cores
LOOP_BYTES = 2**22  # of the rows of a compiled loop; a call costs nothing beside wider tiles


class FixedShapeBatches:
    """Compiles function(weights, *rows) -> nest of [B, ...] once per shape in `shapes`, and runs it
    for any B.

    Args:
      function: pure; each row of its results depends only on the same row of its arguments.
      shapes: (tiles, rows per tile) of the compiled shapes, smallest first. Tiles that keep a
        network's activations in the cache are a fifth faster than one pass over all rows; small
        calls use small shapes. A compiled loop over tiles saves the cost of a call for each.
      jit: compile with XLA.
    """

    def __init__(self, function: Callable, shapes, jit: bool = True):
        self._function, self._shapes, self._jit = function, shapes, jit
        self._compiled: dict[tuple, Callable] = {}
        self._tracing = threading.Lock()

    def _loop(self, weights, arrays, used):
        """Results [tiles, rows, ...] for arrays [tiles, rows, ...], of which the first `used` tiles
        are computed."""
        tiles = arrays[0].shape[0]
        if tiles == 1:
            return tf.nest.map_structure(
                lambda v: v[None], self._function(weights, *[a[0] for a in arrays])
            )
        outputs = self._outputs(weights, [a[0] for a in arrays])
        results = [
            tf.TensorArray(v.dtype, tiles, element_shape=v.shape) for v in tf.nest.flatten(outputs)
        ]

        def body(i, results):
            values = tf.nest.flatten(self._function(weights, *[tf.gather(a, i) for a in arrays]))
            return i + 1, [r.write(i, v) for r, v in zip(results, values)]

        results = tf.while_loop(lambda i, _: i < used, body, [0, results])[1]
        return tf.nest.pack_sequence_as(outputs, [r.stack() for r in results])

    def _outputs(self, weights, arrays):
        """Shapes and types of the function's results for one tile, from a trace that never runs."""
        traced = tf.function(lambda rows: self._function(weights, *rows), autograph=False)
        return traced.get_concrete_function(
            [tf.TensorSpec(a.shape, a.dtype) for a in arrays]
        ).structured_outputs

    def _for(self, weights, arrays, used):
        """The function traced for these shapes, once each."""
        shapes = tuple((*a.shape, a.dtype) for a in arrays)
        with self._tracing:
            if shapes not in self._compiled:
                compiled = tf.function(self._loop, jit_compile=self._jit, autograph=False)
                self._compiled[shapes] = compiled.get_concrete_function(weights, arrays, used)
            return self._compiled[shapes]

    def __call__(self, weights, *arrays, then: Callable | None = None):
        """Results for all rows as NumPy arrays [B, ...]; all arrays are [B, ...] with equal B.

        Args:
          then: then(results, rows) -> nest of [b, ...] takes the place of the results of a part of
            the rows, a slice. What it leaves out is never held for all rows.
        """
        rows_of = [np.asarray(a) for a in arrays]
        whole = _Whole(len(rows_of[0]))

        def run(part: _Part) -> None:
            given = [_tiled(a, part) for a in rows_of]
            used = tf.constant(part.used)
            result = self._for(weights, given, used)(weights, given, used)
            count = part.rows.stop - part.rows.start
            result = tf.nest.map_structure(
                lambda v: v.numpy().reshape(-1, *v.shape[2:])[:count], result
            )
            whole.put(part.rows, then(result, part.rows) if then else result)

        loop, height = self._shapes[-1]
        narrow = loop > 1 and loop * height * sum(a[:1].nbytes for a in rows_of) <= LOOP_BYTES
        parts = list(self._parts(len(rows_of[0]), narrow))
        if narrow:
            on_all_cores(run, parts)
        else:  # XLA shares their large products by itself, and needs much memory for each
            for part in parts:
                run(part)
        return whole.nest

    def _parts(self, n: int, narrow: bool) -> Iterator["_Part"]:
        """The rows in parts, each for one call: as many as a compiled loop holds, or less, so that
        there is work for all cores; wide ones a tile at a time."""
        largest = self._shapes[-1][0] * self._shapes[-1][1]
        begins = range(0, max(n, 1), largest)
        shares = cores() if len(begins) == 1 else -(-2 * cores() // len(begins))
        for begin in begins:
            rows = min(n - begin, largest)
            loop, height = next(each for each in self._shapes if rows <= each[0] * each[1])
            tiles, loop = max(-(-rows // height), 1), loop if narrow else 1
            parts = min(shares, tiles) if tiles > FEW else 1
            step = -(-tiles // parts) * height if narrow else height
            for first in range(begin, begin + max(rows, 1), step):
                last = min(first + step, begin + rows)
                used = -(-(last - first) // height)
                yield _Part(slice(first, last), (loop, height), used, begin)


class _Part(NamedTuple):
    """Rows of one call: they fill the first `used` tiles of a compiled shape. `begin` is the row
    that repetitions start from."""

    rows: slice
    shape: tuple[int, int]
    used: int
    begin: int


class _Whole:
    """Arrays of n rows, made as soon as a part of them is known, and written in place."""

    def __init__(self, n: int):
        self._n, self._lock, self.nest = n, threading.Lock(), None

    def put(self, rows: slice, part) -> None:
        with self._lock:
            if self.nest is None:
                self.nest = tf.nest.map_structure(
                    lambda v: np.empty((self._n, *v.shape[1:]), v.dtype), part
                )
        for place, values in zip(tf.nest.flatten(self.nest), tf.nest.flatten(part), strict=True):
            place[rows] = values


def _tiled(array, part: _Part) -> tf.Tensor:
    """Rows of a part as [tiles, rows a tile, ...].

    The last tile in use is filled up by repeated rows, which are valid input in any domain; by
    zeros if there are none. They repeat from `begin` on, so that no tile holds a row twice while
    there are other rows: terms that compare the rows of a tile with each other (`losses`) would
    take copies for a concentrated distribution.
    """
    tiles, height = part.shape
    event, count = array.shape[1:], part.rows.stop - part.rows.start
    if count == tiles * height:
        return tf.constant(array[part.rows].reshape(tiles, height, *event))
    filled = np.zeros((tiles * height, *event), array.dtype)
    filled[:count] = array[part.rows]
    missing = max(part.used, 1) * height - count
    filled[count : count + missing] = np.resize(
        array[part.begin : part.begin + missing], (missing, *event)
    )
    return tf.constant(filled.reshape(tiles, height, *event))


_thread = threading.local()


def cores() -> int:
    """Threads that rows are shared by: one a core that this process may use; one beside a GPU."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def on_all_cores(function: Callable, items: list) -> None:
    """Calls function(item) of each item, a thread a core; within such a call, one by one.

    XLA shares each product of a network by the cores and waits for the last of them, so that a core
    with other work holds up all; parts of the rows do not wait for each other.
    """
    threads = min(cores(), len(items))
    if threads < 2 or getattr(_thread, "is_one_of_many", False):
        for item in items:
            function(item)
        return
    mark = functools.partial(setattr, _thread, "is_one_of_many", True)
    with ThreadPoolExecutor(threads, initializer=mark) as pool:
        for _ in pool.map(function, items):
            pass
