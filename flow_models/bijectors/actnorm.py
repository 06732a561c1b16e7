"""Activation normalisation."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer


@dataclasses.dataclass(frozen=True)
class ActNorm(Layer):
    """y = (x - shift) exp(-log_scale), started so that the first batch comes out with mean 0 and variance 1.

    Glow (Kingma and Dhariwal 2018). Unlike batch normalisation it is its own inverse's inverse in training too.
    """

    size: int

    def init(self, rng):
        return {"shift": np.zeros(self.size, np.float32), "log_scale": np.zeros(self.size, np.float32)}

    def forward_and_log_det(self, weights, x, condition=None):
        y = (x - weights["shift"]) * tf.exp(-weights["log_scale"])
        return y, tf.zeros_like(x[:, 0]) - tf.reduce_sum(weights["log_scale"])

    def inverse_and_log_det(self, weights, y, condition=None):
        x = y * tf.exp(weights["log_scale"]) + weights["shift"]
        return x, tf.zeros_like(y[:, 0]) + tf.reduce_sum(weights["log_scale"])

    def start(self, weights, x, condition=None):
        shift, variance = tf.nn.moments(x, 0)
        weights = {"shift": shift, "log_scale": 0.5 * tf.math.log(variance + 1e-6)}
        return weights, self.forward_and_log_det(weights, x)[0]
