"""Invertible linear maps of the channels of images (1x1 convolutions) or the dimensions of
vectors."""

import dataclasses

import numpy as np
import scipy.linalg
import tensorflow as tf

from flow_models.bijectors.layer import Frozen, Layer, no_log_det, positions
from flow_models.bijectors.networks import of_channels


@dataclasses.dataclass(frozen=True)
class LULinear(Layer):
    """y = x W, W^T = P L (U + diag(sign exp(log_scale))), log |det| = sum log_scale.

    The LU-parametrised 1x1 convolution of Glow (Kingma and Dhariwal 2018, section 3.2). Starts at a
    random rotation; the permutation P and the signs are saved and not trained.
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
        """L with ones on its diagonal, and U with sign exp(log_scale) on its."""
        strict = tf.constant(np.tril(np.ones((self.size, self.size)), -1), weights["lower"].dtype)
        lower = weights["lower"] * strict + tf.eye(self.size, dtype=strict.dtype)
        diagonal = tf.linalg.diag(weights["sign"] * tf.exp(weights["log_scale"]))
        return lower, weights["upper"] * tf.transpose(strict) + diagonal

    def forward_and_log_det(self, weights, x, condition=None):
        lower, upper = self._factors(weights)
        matrix = tf.gather(lower @ upper, weights["permutation"])
        return of_channels(x, tf.transpose(matrix)), no_log_det(x) + positions(x) * tf.reduce_sum(
            weights["log_scale"]
        )

    def inverse_and_log_det(self, weights, y, condition=None):
        """Two triangular solves of channel size give (P L U)^-1; one product applies it."""
        lower, upper = self._factors(weights)
        inverse = tf.linalg.triangular_solve(lower, tf.eye(self.size, dtype=y.dtype))
        inverse = tf.linalg.triangular_solve(upper, inverse, lower=False)
        inverse = tf.gather(inverse, weights["permutation"], axis=1)
        return of_channels(y, tf.transpose(inverse)), no_log_det(y) - positions(y) * tf.reduce_sum(
            weights["log_scale"]
        )


@dataclasses.dataclass(frozen=True)
class Householder(Layer):
    """y = x Q, where Q is a product of reflections I - 2 v v^T / |v|^2, one per channel.

    Q^-1 = Q^T and log |det| = 0. Improving variational auto-encoders using Householder flow
    (Tomczak and Welling 2016). One triangular solve gives the product (Joffrain et al. 2006):
    Q = I - V T^-1 V^T, where T is the upper triangle of V^T V with half its diagonal.
    """

    size: int

    def init(self, rng):
        return {"vectors": rng.normal(size=(self.size, self.size)).astype(np.float32)}

    def matrix(self, weights):
        """Q, orthogonal [size, size]."""
        vectors = weights["vectors"] / tf.norm(weights["vectors"], axis=0, keepdims=True)
        gram = tf.matmul(vectors, vectors, transpose_a=True)
        strict = tf.constant(np.triu(np.ones((self.size, self.size)), 1), gram.dtype)
        triangle = gram * strict + 0.5 * tf.eye(self.size, dtype=gram.dtype)
        solved = tf.linalg.triangular_solve(triangle, tf.transpose(vectors), lower=False)
        return tf.eye(self.size, dtype=gram.dtype) - vectors @ solved

    def forward_and_log_det(self, weights, x, condition=None):
        return of_channels(x, self.matrix(weights)), no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        return of_channels(y, tf.transpose(self.matrix(weights))), no_log_det(y)
