"""Activation normalisation."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer, no_log_det, positions


@dataclasses.dataclass(frozen=True)
class ActNorm(Layer):
    """y = (x - shift) exp(-log_scale), started so that the first batch comes out with mean 0 and
    variance 1.

    Of each dimension of a vector, of each channel of images. Glow (Kingma and Dhariwal 2018).
    Unlike batch normalisation it is its own inverse's inverse in training too.
    """

    size: int

    def init(self, rng):
        return {
            "shift": np.zeros(self.size, np.float32),
            "log_scale": np.zeros(self.size, np.float32),
        }

    def forward_and_log_det(self, weights, x, condition=None):
        y = (x - weights["shift"]) * tf.exp(-weights["log_scale"])
        return y, no_log_det(x) - positions(x) * tf.reduce_sum(weights["log_scale"])

    def inverse_and_log_det(self, weights, y, condition=None):
        x = y * tf.exp(weights["log_scale"]) + weights["shift"]
        return x, no_log_det(y) + positions(y) * tf.reduce_sum(weights["log_scale"])

    def start(self, weights, x, condition=None):
        shift, variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
        weights = {"shift": shift, "log_scale": 0.5 * tf.math.log(variance + 1e-6)}
        return weights, self.forward_and_log_det(weights, x)[0]
