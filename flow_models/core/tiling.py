"""Row-wise functions for any number of rows, compiled for a few fixed shapes."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


class FixedShapeBatches:
    """Compiles function(weights, *rows) -> nest of [B, ...] once per shape in `shapes`, and runs it
    for any B.

    Args:
      function: pure; each row of its results depends only on the same row of its arguments.
      shapes: (tiles, rows per tile) of the compiled shapes, smallest first. Tiles that keep a
        network's activations in the cache are a fifth faster than one pass over all rows; small
        calls use small shapes.
      jit: compile with XLA.
    """

    def __init__(self, function: Callable, shapes, jit: bool = True):
        self._function, self._shapes, self._jit = function, shapes, jit
        self._compiled: dict[tuple, Callable] = {}

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
        if shapes not in self._compiled:
            compiled = tf.function(self._loop, jit_compile=self._jit, autograph=False)
            self._compiled[shapes] = compiled.get_concrete_function(weights, arrays, used)
        return self._compiled[shapes]

    def __call__(self, weights, *arrays):
        """Results for all rows as NumPy arrays [B, ...]; all arrays are [B, ...] with equal B."""
        arrays = [np.asarray(a) for a in arrays]
        n, largest = len(arrays[0]), self._shapes[-1][0] * self._shapes[-1][1]
        pieces = []
        for begin in range(0, max(n, 1), largest):
            piece = [a[begin : begin + largest] for a in arrays]
            rows = len(piece[0])
            tiles, height = next(shape for shape in self._shapes if rows <= shape[0] * shape[1])
            padded = [
                tf.constant(_pad(a, tiles * height).reshape(tiles, height, *a.shape[1:]))
                for a in piece
            ]
            used = tf.constant(-(-rows // height))
            result = self._for(weights, padded, used)(weights, padded, used)
            pieces.append(
                tf.nest.map_structure(
                    lambda v, rows=rows: v.numpy().reshape(-1, *v.shape[2:])[:rows], result
                )
            )
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *pieces)


def _pad(array, rows):
    """The array padded to `rows` rows by repeating its own, which are valid input in any domain;
    zeros if it is empty.

    It repeats from the first row on, so that no tile holds a row twice while there are other rows:
    terms that compare the rows of a tile with each other (`losses`) would take copies for a
    concentrated distribution.
    """
    missing = rows - len(array)
    return (
        np.concatenate([array, np.resize(array[:missing], (missing, *array.shape[1:]))])
        if missing
        else array
    )
