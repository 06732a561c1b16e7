"""A problem whose posterior is known: y = A theta + noise."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.simulators.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class LinearGaussian(Simulator):
    """y = A theta + sigma e with theta, e ~ N(0, I); x = theta.

    Attributes:
      matrix: A, as M rows of P numbers.
      sigma_y: standard deviation of the noise.
    """

    matrix: tuple[tuple[float, ...], ...]
    sigma_y: float = 0.5

    @property
    def parameter_names(self):
        return tuple(f"x{i + 1}" for i in range(len(self.matrix[0])))

    @property
    def data_names(self):
        return tuple(f"y{i + 1}" for i in range(len(self.matrix)))

    def physical(self, theta):
        return tf.convert_to_tensor(theta)

    def whiten(self, x):
        return x, tf.zeros(tf.shape(x)[:1], x.dtype)

    def forward(self, theta):
        return tf.matmul(theta, tf.constant(self.matrix, theta.dtype), transpose_b=True)

    def observe(self, clean, seed):
        return clean + self.sigma_y * tf.random.stateless_normal(
            tf.shape(clean), seed, dtype=clean.dtype
        )

    def residual_and_jacobian(self, theta, y):
        jacobian = tf.constant(self.matrix, theta.dtype) / self.sigma_y
        jacobian = tf.broadcast_to(jacobian, [tf.shape(theta)[0], *jacobian.shape])
        return (self.forward(theta) - y) / self.sigma_y, jacobian

    def exact_posterior(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [B, P] and covariance [P, P] of p(theta | y) for y [B, M]."""
        matrix = np.array(self.matrix)
        covariance = np.linalg.inv(np.eye(self.size) + matrix.T @ matrix / self.sigma_y**2)
        return y @ matrix @ covariance / self.sigma_y**2, covariance
