"""Passes of a network over any number of rows, compiled once; a frame runs once an observation."""

import copy

import numpy as np
import tensorflow as tf

from flow_models.bijectors.frames import Framed
from flow_models.core.tiling import FixedShapeBatches

OBSERVATIONS = ((1, 8), (1, 256), (16, 256))  # tiles of data whose frames are computed at once
ROWS = 2**12  # that go through a frame at once: the state of each may have a matrix
SAMPLES = 2**17  # of several observations that come back through it at once


class Passes:
    """Both directions of a flow, on NumPy arrays.

    Rows of x [R, ...] belong to observations `given` [B, C]: row i to observation number[i], or,
    without numbers, each observation to R / B rows of x that follow one another.

    Args:
      bijector: the flow.
      tiles: (tiles, rows a tile) of the compiled shapes.
      jit: compile with XLA. A frame runs outside XLA, where its linear algebra is faster.
    """

    def __init__(self, bijector, tiles, jit: bool):
        self._bijector, layer = bijector, bijector.layer
        self._frame = layer.frame if isinstance(layer, Framed) else None
        self._flow = layer.layer if isinstance(layer, Framed) else layer
        prepare = self._frame.prepare if self._frame else layer.prepare
        self._prepare = FixedShapeBatches(prepare, OBSERVATIONS, jit=False)
        self._forward = FixedShapeBatches(self._run_forward, tiles, jit)
        self._inverse = FixedShapeBatches(self._run_inverse, tiles, jit)

    def of(self, bijector) -> "Passes":
        """Those of a flow with the same layers and other weights, without compiling again."""
        other = copy.copy(self)
        other._bijector = bijector
        return other

    def _run_forward(self, weights, x, *given):
        return self._flow.forward_and_log_det(weights, x, *self._prepared(weights, given))

    def _run_inverse(self, weights, v, *given):
        return self._flow.inverse_and_log_det(weights, v, *self._prepared(weights, given))[0]

    def _prepared(self, weights, given):
        return [self._flow.prepare(weights, each) for each in given]

    @property
    def _weights(self):
        weights = self._bijector.weights
        return weights["layer"] if self._frame else weights

    def state(self, given: np.ndarray) -> dict[str, np.ndarray]:
        """What a frame makes of observations [B, C]; "context" is what the flow sees of them."""
        return self._prepare(self._bijector.weights["frame"], given)

    def forward(self, x: np.ndarray, given: np.ndarray | None = None, number=None):
        """v [R, N] and log |det| [R] of x [R, ...]."""
        if self._frame is None:
            return self._forward(self._weights, x, *_of_rows(given, number, x))
        parts = [self._forward_framed(*part) for part in self._in_parts(x, given, number)]
        return tuple(np.concatenate(each) for each in zip(*parts, strict=True))

    def log_prob(self, base, x: np.ndarray, given: np.ndarray | None = None, number=None):
        """base(v, rows) + log |det| [R] of x [R, ...]; v [b, N] are of some rows, a slice."""
        if self._frame is not None:
            v, log_det = self.forward(x, given, number)
            return base(v, slice(None)) + log_det
        then = lambda result, rows: base(result[0], rows) + result[1]
        return self._forward(self._weights, x, *_of_rows(given, number, x), then=then)

    def inverse(self, v: np.ndarray, given: np.ndarray | None = None, number=None) -> np.ndarray:
        """x [R, ...] of v [R, N]."""
        if self._frame is None:
            return self._inverse(self._weights, v, *_of_rows(given, number, v))
        if number is None and given is not None:
            return self._inverse_framed(v, self.state(given))
        parts = self._in_parts(v, given, number)
        return np.concatenate([self._inverse_framed(*part) for part in parts])

    def _in_parts(self, x: np.ndarray, given, number):
        """(rows, the state of each) in parts; every distinct observation is prepared once."""
        number = _numbers(given, x) if number is None else number
        distinct, of_given = np.unique(given, axis=0, return_inverse=True)
        state, number = self.state(distinct), of_given.reshape(-1)[number]
        for first in range(0, max(len(x), 1), ROWS):
            part = slice(first, first + ROWS)
            yield x[part], {name: value[number[part]] for name, value in state.items()}

    def _forward_framed(self, x, state):
        tensors = {name: tf.constant(value) for name, value in state.items()}
        weights = self._bijector.weights["frame"]
        z, in_frame = self._frame.forward_and_log_det(weights, tf.constant(x), tensors)
        v, log_det = self._forward(self._weights, z.numpy(), state["context"])
        return v, log_det + in_frame.numpy()

    def _inverse_framed(self, v, state):
        """Samples that follow one another share the state of their observation."""
        context = state["context"]
        z = self._inverse(self._weights, v, context[_numbers(context, v)])
        tensors = {name: tf.constant(value) for name, value in state.items()}
        weights = self._bijector.weights["frame"]
        return self._frame.inverse_and_log_det(weights, tf.constant(z), tensors)[0].numpy()


def _numbers(given, x):
    """The observation of each row of x, where they follow one another."""
    return np.repeat(np.arange(len(given)), len(x) // max(len(given), 1))


def _of_rows(given, number, x):
    """The condition of every row of x, in a list; an empty one where there is none."""
    if given is None:
        return []
    return [given[_numbers(given, x) if number is None else number]]
