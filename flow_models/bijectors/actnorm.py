"""Activation normalisation."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer, no_log_det, positions


@dataclasses.dataclass(frozen=True)
class ActNorm(Layer):
    """y = (x - shift) exp(-log_scale) for each dimension of vectors, each channel of images.

    Starts with mean 0 and variance 1 of the first batch. Glow: Generative flow with invertible 1x1
    convolutions (Kingma and Dhariwal 2018). Unlike batch normalisation, forward and inverse agree
    during training too.
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

    def data_dependent_init(self, weights, x, condition=None):
        shift, variance = tf.nn.moments(tf.cast(x, tf.float64), list(range(x.shape.rank - 1)))
        weights = {"shift": shift, "log_scale": 0.5 * tf.math.log(variance + 1e-6)}
        weights = {name: tf.cast(value, x.dtype) for name, value in weights.items()}
        return weights, self.forward_and_log_det(weights, x)[0]
