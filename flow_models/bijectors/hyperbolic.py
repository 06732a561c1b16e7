"""Leapfrog steps of a nonlinear wave equation."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.conditioned import everywhere
from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.bijectors.networks import ACTIVATIONS, conv3x3, of_channels
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Hyperbolic(Layer):
    """(a, b) -> (b, 2 b - a - step^2 K^T act(K b + bias)), log |det| = 0.

    a and b are the halves of the channels, the states before and now of a second-order equation in
    time. Fully hyperbolic convolutional neural networks (Lensink, Peters and Haber 2022). K is a
    matrix for vectors, a 3x3 convolution for images. The inverse is the same step back in time, so
    training needs no stored states (`Reversible`). Volumes stay: put layers that scale between.

    Attributes:
      size: dimensions or channels, an even number.
      width: rows of K.
      activation: relu, silu, tanh or gelu.
      condition_size: width of a condition that moves the bias; 0 for none.
      step: in time.
      images: whether K is a convolution.
    """

    size: int
    width: int = 128
    activation: str = "tanh"
    condition_size: int = 0
    step: float = 1.0
    images: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.size < 2 or self.size % 2:
            raise UserError(f"a hyperbolic layer has two equal halves, but the size is {self.size}")
        if self.activation not in ACTIVATIONS or self.width < 1:
            raise UserError(
                f"width is {self.width} and activation {self.activation!r}; at least 1, and one of"
                f" {', '.join(ACTIVATIONS)}"
            )

    def init(self, rng):
        taps = 9 if self.images else 1
        k = rng.normal(size=(taps * self.size // 2, self.width)) / np.sqrt(taps * self.width)
        weights = {"k": k, "bias": rng.normal(size=self.width)}
        weights = {name: value.astype(np.float32) for name, value in weights.items()}
        if self.condition_size:
            weights["across"] = np.zeros((self.condition_size, self.width), np.float32)
        return weights

    def _force(self, weights, b, condition):
        """step^2 K^T act(K b + bias), like b."""
        product, k, bias = (conv3x3 if self.images else _matrix), weights["k"], weights["bias"]
        if condition is not None:
            bias = bias + everywhere(condition @ weights["across"], b)
        h = ACTIVATIONS[self.activation](product(b, k, bias))
        return self.step**2 * product(h, self._transposed(k), 0.0)

    def _transposed(self, k):
        """K^T: of a convolution, the kernel turned about, with its channels exchanged."""
        if not self.images:
            return tf.transpose(k)
        shifts = tf.reshape(k, [9, self.size // 2, self.width])[::-1]
        return tf.reshape(tf.transpose(shifts, [0, 2, 1]), [9 * self.width, self.size // 2])

    def forward_and_log_det(self, weights, x, condition=None):
        a, b = tf.split(x, 2, -1)
        return tf.concat([b, 2 * b - a - self._force(weights, b, condition)], -1), no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        b, c = tf.split(y, 2, -1)
        return tf.concat([2 * b - c - self._force(weights, b, condition), b], -1), no_log_det(y)


def _matrix(x, w, b):
    return of_channels(x, w) + b
