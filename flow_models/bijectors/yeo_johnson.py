"""A power transformation, chosen from the data, that makes columns less skewed."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Frozen, Layer

POWERS = np.linspace(0.02, 1.98, 99)  # in (0, 2) the map is onto the line: every latent has an x


@dataclasses.dataclass(frozen=True)
class YeoJohnson(Layer):
    """y = ((1 + x)^p - 1) / p for x >= 0, -((1 - x)^(2 - p) - 1) / (2 - p) for x < 0; one p per
    column.

    A new family of power transformations to improve normality or symmetry (Yeo and Johnson 2000).
    p = 1 is the identity; p < 1 shortens tails on the right. The training data give the p that
    makes each column most normal; it is saved and not trained. Meant for standardised columns.
    """

    size: int

    def init(self, rng):
        return {"power": Frozen(np.ones(self.size, np.float32))}

    def forward_and_log_det(self, weights, x, condition=None):
        y, log_slopes = bend(weights["power"], x)
        return y, tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        x, log_slopes = unbend(weights["power"], y)
        return x, tf.reduce_sum(log_slopes, 1)

    def data_dependent_init(self, weights, x, condition=None):
        rows = np.asarray(x, np.float64)
        fits = np.stack([self._normality(rows, p) for p in POWERS])
        started = {"power": tf.constant(POWERS[fits.argmax(0)], x.dtype)}
        return started, self.forward_and_log_det(started, x)[0]

    def _normality(self, rows, p):
        """Mean log-likelihood [D] of x if y has the best-fitting normal density."""
        size = np.log1p(np.abs(rows))
        q = np.where(rows >= 0, p, 2 - p)
        return ((p - 1) * np.sign(rows) * size).mean(0) - np.log(
            (np.sign(rows) * np.expm1(q * size) / q).std(0) + 1e-12
        )


def bend(p, x):
    """y of each number of x, and log dy/dx, for powers p."""
    size = tf.math.log1p(tf.abs(x))
    q = tf.where(x >= 0, p, 2 - p)
    return tf.sign(x) * tf.math.expm1(q * size) / q, (p - 1) * tf.sign(x) * size


def unbend(p, y):
    """The inverse of `bend`, and log dx/dy."""
    q = tf.where(y >= 0, p, 2 - p)
    size = tf.math.log1p(q * tf.abs(y)) / q  # log (1 + |x|)
    return tf.sign(y) * tf.math.expm1(size), (1 - p) * tf.sign(y) * size
