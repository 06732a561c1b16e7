"""Batch normalisation."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.layer import Layer, no_log_det, positions


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """y = (x - mean) exp(log_scale - log_sd) + shift for each dimension of vectors, each channel of
    images; mean and log_sd are running statistics.

    Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio 2017, section 3.7 and
    appendix E), which normalises by running statistics during training too. So forward and inverse
    agree at every moment, and each row is mapped by itself.

    Here the statistics are weights, and their gradient is their distance from the moments of the
    batch whatever the objective: the optimizer lets them follow at its rate, saves, averages and
    resumes them, and several devices follow the moments of the whole batch. Unlike the paper,
    nothing else is differentiated through the moments of the batch. Evaluation has no gradient, and
    leaves them alone.
    """

    size: int

    def init(self, rng):
        names = ("mean", "log_sd", "shift", "log_scale")
        return {name: np.zeros(self.size, np.float32) for name in names}

    def forward_and_log_det(self, weights, x, condition=None):
        mean, log_sd = _following(weights["mean"], weights["log_sd"], x)
        log_slope = weights["log_scale"] - log_sd
        y = (x - mean) * tf.exp(log_slope) + weights["shift"]
        return y, no_log_det(x) + positions(x) * tf.reduce_sum(log_slope)

    def inverse_and_log_det(self, weights, y, condition=None):
        statistics = weights["mean"], weights["log_sd"]
        mean, log_sd = _following(*statistics, self._inverse(weights, *statistics, y))
        log_slope = weights["log_scale"] - log_sd
        x = self._inverse(weights, mean, log_sd, y)
        return x, no_log_det(y) - positions(y) * tf.reduce_sum(log_slope)

    def _inverse(self, weights, mean, log_sd, y):
        return (y - weights["shift"]) * tf.exp(log_sd - weights["log_scale"]) + mean

    def data_dependent_init(self, weights, x, condition=None):
        measured = ActNorm(self.size).data_dependent_init({}, x)[0]
        found = {"mean": measured["shift"], "log_sd": measured["log_scale"]}
        weights = {**weights, **found}
        return weights, self.forward_and_log_det(weights, x)[0]


@tf.custom_gradient
def _following(mean, log_sd, x):
    """The statistics; their gradients lead to the moments of x [B, ..., size]."""
    now, variance = tf.nn.moments(tf.stop_gradient(x), list(range(x.shape.rank - 1)))

    def gradient(*_):
        off = (mean - now) * tf.exp(-log_sd)
        return off, log_sd - 0.5 * tf.math.log(variance + 1e-6), tf.zeros_like(x)

    return (tf.identity(mean), tf.identity(log_sd)), gradient
