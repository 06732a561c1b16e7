"""Gaussian processes on a line in whitened coordinates: g = U sqrt(lambda) theta, theta ~ N(0, I)
(Karhunen-Loeve)."""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class KarhunenLoeve:
    """The factor of a covariance C = U lambda U^T, float64, computed in NumPy.

    `matrix` [P, P] is U sqrt(lambda), in order of decreasing lambda; `inverse` is its inverse,
    `log_det` is log |det matrix|.
    """

    matrix: np.ndarray
    inverse: np.ndarray
    log_det: float

    def colour(self, theta: tf.Tensor) -> tf.Tensor:
        """g [..., P] of theta [..., P]."""
        return tf.linalg.matmul(theta, tf.constant(self.matrix.T, theta.dtype))

    def whiten(self, g: tf.Tensor) -> tf.Tensor:
        """theta [..., P] of g [..., P]."""
        return tf.linalg.matmul(g, tf.constant(self.inverse.T, g.dtype))


def karhunen_loeve(covariance: np.ndarray) -> KarhunenLoeve:
    """The factor of a positive definite covariance [P, P]; the largest entry of each column is
    positive."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(values))])
    scale = np.sqrt(values)
    return KarhunenLoeve(vectors * scale, (vectors / scale).T, float(np.log(scale).sum()))


def matern_five_halves(points: np.ndarray, length: float) -> np.ndarray:
    """Covariance (1 + s + s^2 / 3) exp(-s), s = sqrt(5) |x - x'| / length, of points [P]."""
    s = np.sqrt(5) * np.abs(points[:, None] - points) / length
    return (1 + s + s**2 / 3) * np.exp(-s)


def exponential(points: np.ndarray, length: float) -> np.ndarray:
    """Covariance exp(-|x - x'| / length) of points [P]."""
    return np.exp(-np.abs(points[:, None] - points) / length)
