"""A learned Gaussian a class as the last layer of a flow: the class-mixture base, trained, saved
and resumed like any weight."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.class_moments import class_moments
from flow_models.bijectors.layer import Layer
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class ClassGaussian(Layer):
    """z = L_k^-1 (g(x) - mean_k) for class k, so that z ~ N(0, I) says g(x) ~ N(mean_k, L_k L_k^T).

    Semi-Supervised Learning with Normalizing Flows (FlowGMM, Izmailov, Kirichenko, Finzi and Wilson
    2020), with learned means and covariances. The trunk g sees no class, so the densities of all
    classes take one pass of it. The start is a regularised quadratic discriminant analysis of the
    rows, which training can only improve on.

    Attributes:
      layer: the trunk g; gives vectors [B, size], or anything else of `size` numbers a row.
      size: dimensions N.
      classes: M; the condition is one-hot [B, M] (mixtures of classes interpolate).
      covariance: full, or diagonal for many dimensions.
    """

    layer: Layer
    size: int
    classes: int
    covariance: str = "full"

    def __post_init__(self):
        super().__post_init__()
        if self.covariance not in ("full", "diagonal"):
            raise UserError(f"covariance is {self.covariance!r}, must be full or diagonal")

    def init(self, rng):
        wide = {
            "mean": np.zeros((self.classes, self.size), np.float32),
            "log_scale": np.zeros((self.classes, self.size), np.float32),
        }
        if self.covariance == "full":
            wide["lower"] = np.zeros((self.classes, self.size, self.size), np.float32)
        return {"trunk": self.layer.init(rng), **wide}

    def _whitening(self, weights):
        """L_k^-1 [M, N, N], lower triangular with a positive diagonal; None where it is
        diagonal."""
        if self.covariance == "diagonal":
            return None
        below = tf.linalg.band_part(weights["lower"], -1, 0) - tf.linalg.band_part(
            weights["lower"], 0, 0
        )
        return below + tf.linalg.diag(tf.exp(-weights["log_scale"]))

    def forward_of_each(self, weights, x, conditions):
        """All conditions from one pass of the trunk."""
        v, log_det = self.layer.forward_and_log_det(weights["trunk"], x)
        v = tf.reshape(v, [-1, self.size])
        mean, log_scale, whitening = self._of(weights, conditions)
        if whitening is None:
            z = (v[:, None] - mean) * tf.exp(-log_scale)
            log_slope = -tf.reduce_sum(log_scale, 1)
        else:  # W v - W mean, as one matrix product
            flat = tf.reshape(whitening, [-1, self.size])
            z = tf.reshape(tf.matmul(v, flat, transpose_b=True), [-1, *mean.shape])
            z -= tf.linalg.matvec(whitening, mean)
            log_slope = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(whitening)), 1)
        return tf.reshape(z, [-1, self.size]), tf.reshape(log_det[:, None] + log_slope, [-1])

    def forward_and_log_det(self, weights, x, condition=None):
        v, log_det = self.layer.forward_and_log_det(weights["trunk"], x)
        mean, log_scale, whitening = self._of(weights, condition)
        centred = tf.reshape(v, [-1, self.size]) - mean
        if whitening is None:
            return tf.reshape(centred * tf.exp(-log_scale), tf.shape(v)), log_det - tf.reduce_sum(
                log_scale, 1
            )
        log_slope = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(whitening)), 1)
        return tf.reshape(tf.linalg.matvec(whitening, centred), tf.shape(v)), log_det + log_slope

    def inverse_and_log_det(self, weights, y, condition=None):
        mean, log_scale, whitening = self._of(weights, condition)
        z = tf.reshape(y, [-1, self.size])
        if whitening is None:
            v, log_slope = z * tf.exp(log_scale), tf.reduce_sum(log_scale, 1)
        else:
            v = tf.linalg.triangular_solve(whitening, z[..., None])[..., 0]
            log_slope = -tf.reduce_sum(tf.math.log(tf.linalg.diag_part(whitening)), 1)
        x, log_det = self.layer.inverse_and_log_det(
            weights["trunk"], tf.reshape(v + mean, tf.shape(y))
        )
        return x, log_det + log_slope

    def _of(self, weights, condition):
        """Mean, log-scale [B, N] and whitening [B, N, N] of each row's class."""
        whitening = self._whitening(weights)
        if whitening is not None:
            whitening = tf.tensordot(condition, whitening, 1)
        return condition @ weights["mean"], condition @ weights["log_scale"], whitening

    def data_dependent_init(self, weights, x, condition=None):
        trunk, v = self.layer.data_dependent_init(weights["trunk"], x)
        flat = np.asarray(tf.reshape(v, [-1, self.size]), np.float64)
        mean, covariance = class_moments(flat, np.asarray(condition), self.covariance == "full")
        started = {"trunk": trunk, "mean": mean}
        if self.covariance == "full":
            whitening = np.linalg.inv(np.linalg.cholesky(covariance))
            diagonal = np.diagonal(whitening, axis1=1, axis2=2)
            started |= {"log_scale": -np.log(diagonal), "lower": np.tril(whitening, -1)}
        else:
            started["log_scale"] = 0.5 * np.log(covariance)
        started = {k: started[k] if k == "trunk" else tf.cast(started[k], x.dtype) for k in weights}
        return started, self.forward_and_log_det(started, x, condition)[0]

    def check(self, x):
        self.layer.check(x)
