"""Invertible linear maps of the channels (of a vector: of its dimensions)."""

import dataclasses

import numpy as np
import scipy.linalg
import tensorflow as tf

from flow_models.bijectors.layer import Frozen, Layer


@dataclasses.dataclass(frozen=True)
class LULinear(Layer):
    """y = x W, W^T = P L (U + diag(sign exp(log_scale))), log |det| = sum log_scale.

    The LU-parametrised 1x1 convolution of Glow (Kingma and Dhariwal 2018, section 3.2), started at a random rotation;
    the permutation P and the signs stay as drawn and are saved.
    """

    size: int

    def init(self, rng):
        rotation = np.linalg.qr(rng.normal(size=(self.size, self.size)))[0]
        p, lower, upper = scipy.linalg.lu(rotation)
        diagonal = np.diag(upper)
        return {
            "permutation": Frozen(np.argmax(p, 1)),
            "sign": Frozen(np.sign(diagonal).astype(np.float32)),
            "lower": np.tril(lower, -1).astype(np.float32),
            "upper": np.triu(upper, 1).astype(np.float32),
            "log_scale": np.log(np.abs(diagonal)).astype(np.float32),
        }

    def _factors(self, weights):
        """L with ones and U with sign exp(log_scale) on their diagonals."""
        strict = tf.constant(np.tril(np.ones((self.size, self.size)), -1), weights["lower"].dtype)
        lower = weights["lower"] * strict + tf.eye(self.size, dtype=strict.dtype)
        diagonal = tf.linalg.diag(weights["sign"] * tf.exp(weights["log_scale"]))
        return lower, weights["upper"] * tf.transpose(strict) + diagonal

    def forward_and_log_det(self, weights, x, condition=None):
        lower, upper = self._factors(weights)
        matrix = tf.gather(lower @ upper, weights["permutation"])
        y = tf.matmul(x, matrix, transpose_b=True)
        return y, tf.zeros_like(x[:, 0]) + tf.reduce_sum(weights["log_scale"])

    def inverse_and_log_det(self, weights, y, condition=None):
        lower, upper = self._factors(weights)
        order = tf.argsort(weights["permutation"])
        rhs = tf.transpose(tf.gather(y, order, axis=1))
        x = tf.linalg.triangular_solve(upper, tf.linalg.triangular_solve(lower, rhs), lower=False)
        return tf.transpose(x), tf.zeros_like(y[:, 0]) - tf.reduce_sum(weights["log_scale"])
