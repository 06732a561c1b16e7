"""Bits with uniform noise, as an elementwise map to normal numbers."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.cdf import from_normal, to_normal
from flow_models.bijectors.elementwise import Elementwise


@dataclasses.dataclass(frozen=True)
class Bernoulli(Elementwise):
    """z = Phi^-1(F(x)) of a bit k with uniform noise, x = k + u in [0, 2), P(k = 1) = sigmoid(o).

    log N(z) + log |dz/dx| = log P(k) exactly, whatever u is.
    """

    @property
    def parameters(self) -> int:
        return 1

    def forward_and_log_det(self, o, x):
        one, zero = tf.sigmoid(o[..., 0]), tf.sigmoid(-o[..., 0])
        is_one, u = x >= 1, x - tf.floor(x)
        lower = tf.where(is_one, zero + u * one, u * zero)
        upper = tf.where(is_one, (1 - u) * one, one + (1 - u) * zero)
        log_p = tf.math.log_sigmoid(tf.where(is_one, o[..., 0], -o[..., 0]))
        return to_normal(lower, upper, log_p)

    def inverse_and_log_det(self, o, y):
        one, zero = tf.sigmoid(o[..., 0]), tf.sigmoid(-o[..., 0])
        lower, upper = from_normal(y)
        u = tf.where(lower < zero, lower / zero, 1 - upper / one)
        x = tf.cast(lower >= zero, y.dtype) + tf.clip_by_value(u, 0.0, 1 - 1e-6)
        return x, -self.forward_and_log_det(o, x)[1]
