"""Networks with their directional derivatives, and random signs that are functions of each row."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import floating
from flow_models.bijectors.networks import ACTIVATIONS, MLP, dense, of_channels

GOLDEN, FIRST, SECOND = 0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35  # of the finaliser of MurmurHash3


@dataclasses.dataclass(frozen=True)
class TangentMLP(MLP):
    """A multilayer perceptron that also gives directional derivatives. Attributes as in `MLP`."""

    def _activate(self, weights, i, x):
        """Activation of hidden layer i."""
        return ACTIVATIONS[self.activation](x)

    def __call__(self, weights, x):
        for i in range(len(self.hidden)):
            inputs = dense(x, self._kernel(weights, i), weights[f"b{i}"])
            x = self._activate(weights, i, inputs)
        last = len(self.hidden)
        return dense(x, self._kernel(weights, last), weights[f"b{last}"])

    def with_tangents(self, weights, x, seen, directions=None):
        """g(x, seen) and J v of several directions v, J = dg/dx: one forward pass.

        Args:
          seen: further inputs [B, ...] behind x [B, D], in a list.
          directions: [B, K, D]; by default the D unit vectors, whose J v are the columns of J.

        Returns:
          g [B, D'] and J v [B, K, D'].
        """
        size, last = x.shape[1], len(self.hidden)
        y = tf.concat([x, *seen], 1)
        for i in range(last + 1):
            w = self._kernel(weights, i)
            y = dense(y, w, weights[f"b{i}"])
            if i == 0:
                along = w[None, :size] if directions is None else of_channels(directions, w[:size])
            else:
                along = of_channels(along, w)
            if i < last:
                y, slope = value_and_slope(lambda v, i=i: self._activate(weights, i, v), y)
                along = slope[:, None] * along
        return y, along


def value_and_slope(function, x):
    """A function of each number, and its derivative there."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        y = function(x)
    return y, tape.gradient(y, x)


def hash_of_rows(x, weights):
    """A whole number [B] of each row x [B, D] and of the weights: noise made of it is a function of
    the row, and fresh after every step of training."""
    salt = tf.add_n([tf.reduce_sum(tf.cast(each, tf.float32)) for each in floating(weights)])
    bits = tf.bitcast(tf.cast(tf.stop_gradient(x), tf.float32), tf.uint32)
    mixed = _mixed(bits + _places(x.shape[1]))
    total = tf.reduce_sum(tf.bitcast(mixed, tf.int32), 1)
    return _mixed(tf.bitcast(total, tf.uint32) ^ tf.bitcast(tf.stop_gradient(salt), tf.uint32))


def signs(hashes, size: int, dtype, stream: int = 0):
    """Independent +1 and -1 [B, size] of the whole numbers `hashes` [B]."""
    bits = _mixed(hashes[:, None] + _places(size, stream)) & tf.constant(1, tf.uint32)
    return 1 - 2 * tf.cast(bits, dtype)


def uniform(hashes, dtype, stream: int = 1):
    """A number in [0, 1) of each of the whole numbers `hashes` [B]."""
    bits = _mixed(hashes + _places(1, stream)[0])
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), dtype) / 2**24


def _places(count, stream=0):
    steps = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(stream << 20)
    return tf.constant((steps * np.uint64(GOLDEN)).astype(np.uint32))


def _mixed(bits):
    """Every bit of the result depends on every bit of the number."""
    for shift, factor in ((16, FIRST), (13, SECOND)):
        bits = (bits ^ tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32))) * tf.constant(
            factor, tf.uint32
        )
    return bits ^ tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32))
