"""Vectors with noise beside the data: layers on some of the columns, which may see others."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.layer import Layer


@dataclasses.dataclass(frozen=True)
class OnColumns(Layer):
    """Applies a layer to `columns` of a vector; the others stay.

    Attributes:
      layer: of as many dimensions as there are columns.
      size: dimensions of the vector.
      columns: numbers of the columns that the layer transforms, in its order.
      given: numbers of further columns that it is given, in front of a condition.
    """

    layer: Layer
    size: int
    columns: Sequence[int]
    given: Sequence[int] = ()

    def init(self, rng):
        return self.layer.init(rng)

    def _seen(self, x, condition):
        """What the layer is given: the columns of x, then the condition."""
        if not self.given:
            return condition
        columns = tf.gather(x, self.given, axis=-1)
        return columns if condition is None else tf.concat([columns, condition], -1)

    def _joined(self, x, changed):
        """x with `changed` in its columns."""
        rest = np.setdiff1d(np.arange(self.size, dtype=np.int32), self.columns)
        places = np.argsort([*self.columns, *rest])
        return tf.gather(tf.concat([changed, tf.gather(x, rest, axis=-1)], -1), places, axis=-1)

    def _run(self, direction, weights, x, condition):
        own = tf.gather(x, self.columns, axis=-1)
        seen = self.layer.prepare(weights, self._seen(x, condition))
        changed, log_det = direction(weights, own, seen)
        return self._joined(x, changed), log_det

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(self.layer.forward_and_log_det, weights, x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, weights, y, condition)

    def data_dependent_init(self, weights, x, condition=None):
        own, seen = tf.gather(x, self.columns, axis=-1), self._seen(x, condition)
        weights, changed = self.layer.data_dependent_init(weights, own, seen)
        return weights, self._joined(x, changed)

    def check(self, x):
        self.layer.check(x[:, list(self.columns)])


@dataclasses.dataclass(frozen=True)
class Widened(Chain):
    """Layers of (x, e), data with noise e ~ N(0, I) behind them: what is no bijection of x is one
    of both.

    Attributes:
      size: dimensions of both.
      noise: of e.
      exact: whether the density of x is the same for every e. Elsewhere p(x) is an average over e.
    """

    size: int = 0
    noise: int = 0
    exact: bool = False
