"""Convolutions on a torus, inverted by the Fourier transform."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.bijectors.jacobian import log_abs_det
from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.bijectors.networks import of_channels
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class PeriodicConv(Layer):
    """y = x * w: a K x K convolution of images [B, H, W, C] from all channels to all, which goes on
    at the opposite edge.

    Emerging convolutions for generative normalizing flows (Hoogeboom, van den Berg and Welling
    2019, section 3.2). A Fourier transform in two dimensions makes it a matrix [C, C] at each
    frequency f: y^ = x^ W(f), log |det| = sum_f log |det W(f)|. Complex matrices are written as
    real ones of twice the size. Starts near a random rotation of the channels.

    Attributes:
      size: channels.
      kernel: K.
    """

    size: int
    kernel: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.kernel < 1:
            raise UserError(f"kernel is {self.kernel}, must be at least 1")

    def init(self, rng):
        taps = 0.01 * rng.normal(size=(self.kernel**2, self.size, self.size))
        taps[self.kernel**2 // 2] += np.linalg.qr(rng.normal(size=(self.size, self.size)))[0]
        return {"taps": taps.astype(np.float32)}

    def forward_and_log_det(self, weights, x, condition=None):
        y = tf.add_n(
            [
                of_channels(tf.roll(x, (-i, -j), (1, 2)), tap)
                for (i, j), tap in zip(self._shifts(), tf.unstack(weights["taps"]), strict=True)
            ]
        )
        return y, no_log_det(x) + self._log_det(weights, x)

    def inverse_and_log_det(self, weights, y, condition=None):
        """x^ = y^ W(f)^-1."""
        inverse = tf.reshape(
            _inverse(self._matrices(weights, y)), [*y.shape[1:3], 2 * self.size, 2 * self.size]
        )
        seen = tf.signal.fft2d(tf.transpose(tf.complex(y, tf.zeros_like(y)), [0, 3, 1, 2]))
        parts = tf.concat([tf.math.real(seen), tf.math.imag(seen)], 1)
        parts = tf.einsum("bchw,hwcd->bdhw", parts, inverse)
        x = tf.signal.ifft2d(tf.complex(*tf.split(parts, 2, 1)))
        x = tf.transpose(tf.math.real(x), [0, 2, 3, 1])
        return x, no_log_det(y) - self._log_det(weights, y)

    def _shifts(self) -> list[tuple[int, int]]:
        """Where each tap looks, from where it stands."""
        side = range(-(self.kernel // 2), self.kernel - self.kernel // 2)
        return [(i, j) for i in side for j in side]

    def _log_det(self, weights, x):
        return 0.5 * tf.reduce_sum(log_abs_det(self._matrices(weights, x)))

    def _matrices(self, weights, x):
        """W(f) at all frequencies, [[A, B], [-B, A]] for A + i B, [H W, 2 C, 2 C]."""
        height, width = x.shape[1:3]
        rows, columns = np.arange(height) / height, np.arange(width) / width
        turns = [(rows[:, None] * i + columns * j).ravel() for i, j in self._shifts()]
        angles = 2 * math.pi * np.stack(turns, 1)
        taps = tf.reshape(weights["taps"], [len(turns), -1])
        a, b = (
            tf.reshape(tf.constant(wave(angles), x.dtype) @ taps, [-1, self.size, self.size])
            for wave in (np.cos, np.sin)
        )
        return tf.concat([tf.concat([a, b], 2), tf.concat([-b, a], 2)], 1)


@tf.custom_gradient
def _inverse(matrices):
    """A^-1, [N, D, D], by QR, as XLA has no LU."""
    q, r = tf.linalg.qr(matrices)
    inverse = tf.linalg.triangular_solve(r, tf.linalg.matrix_transpose(q), lower=False)

    def gradient(d):
        return -tf.matmul(tf.matmul(inverse, d, transpose_a=True), inverse, transpose_b=True)

    return inverse, gradient
