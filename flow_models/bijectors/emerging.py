"""Convolutions that are triangular in the order of the pixels, inverted row by row."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.bijectors.networks import of_channels
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class EmergingConv(Layer):
    """y = x * w1 * w2: two K x K convolutions of images [B, H, W, C] from all channels to all, with
    zeros beyond the edges. The first sees the pixels before each, row by row, and the channels
    before each; the second those behind.

    Emerging convolutions for generative normalizing flows (Hoogeboom, van den Berg and Welling
    2019, section 3.1). Both are triangular matrices: log |det| = H W sum of the logarithms of their
    diagonals. The inverse solves them by a compiled loop over H rows, one triangular system of W C
    numbers each. Starts near the identity, and is put behind a 1x1 convolution.

    Attributes:
      size: channels.
      kernel: K, an odd number.
    """

    size: int
    kernel: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UserError(f"kernel is {self.kernel}, must be an odd number of at least 1")

    def init(self, rng):
        shape = (2, len(before(self.kernel)), self.size, self.size)
        return {
            "taps": (0.01 * rng.normal(size=shape)).astype(np.float32),
            "log_diagonal": np.zeros((2, self.size), np.float32),
        }

    def forward_and_log_det(self, weights, x, condition=None):
        first, second = self._kernels(weights)
        y = _flipped(_convolved(second, _flipped(_convolved(first, x))))
        return y, no_log_det(x) + self._log_det(weights, x)

    def inverse_and_log_det(self, weights, y, condition=None):
        first, second = self._kernels(weights)
        x = solved(first, _flipped(solved(second, _flipped(y))))
        return x, no_log_det(y) - self._log_det(weights, y)

    def _kernels(self, weights):
        """Both kernels [taps, C, C]; the last tap, a pixel's own, is upper triangular."""
        own = weights["taps"][:, -1:]
        diagonal = tf.linalg.diag(tf.exp(weights["log_diagonal"]))[:, None]
        own = tf.linalg.band_part(own, 0, -1) - tf.linalg.band_part(own, 0, 0) + diagonal
        return tf.unstack(tf.concat([weights["taps"][:, :-1], own], 1))

    def _log_det(self, weights, x):
        return x.shape[1] * x.shape[2] * tf.reduce_sum(weights["log_diagonal"])


def before(kernel: int) -> list[tuple[int, int]]:
    """Where taps look, from where they stand: pixels before, row by row, and the pixel itself."""
    side = range(-(kernel // 2), kernel // 2 + 1)
    return [(i, j) for i in side for j in side if (i, j) <= (0, 0)]


def _kernel(taps) -> int:
    """K of a kernel [taps, C, C], of (K^2 + 1) / 2 taps."""
    return round((2 * taps.shape[0] - 1) ** 0.5)


def _convolved(taps, x):
    """sum_d x[p + d] w_d of images [B, H, W, C]."""
    (height, width), reach = x.shape[1:3], _kernel(taps) // 2
    padded = tf.pad(x, [[0, 0], [reach, 0], [reach, reach], [0, 0]])
    return tf.add_n(
        [
            of_channels(padded[:, reach + i :, reach + j :][:, :height, :width], tap)
            for (i, j), tap in zip(before(_kernel(taps)), tf.unstack(taps), strict=True)
        ]
    )


def _flipped(x):
    """Images with rows, columns and channels in the opposite order."""
    return tf.reverse(x, [1, 2, 3])


@tf.custom_gradient
def solved(taps, y):
    """x of y = `_convolved(taps, x)`. The gradient is that of the implicit function: it solves the
    transposed system, which is such a convolution of flipped images."""
    x = _by_rows(taps, y)

    def gradient(dx):
        transposed = tf.reverse(tf.linalg.matrix_transpose(taps), [1, 2])
        dy = _flipped(_by_rows(transposed, _flipped(dx)))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(taps)
            again = _convolved(taps, x)
        return tape.gradient(again, taps, -dy), dy

    return x, gradient


def _by_rows(taps, y):
    """Row i is the solution of x_i M_0 = y_i - sum_r x_(i - r) M_r."""
    height, width, channels = y.shape[1:]
    own, *above = _matrices(taps, width)
    rows = tf.reshape(tf.transpose(y, [1, 0, 2, 3]), [height, -1, width * channels])

    def body(i, last, found):
        right = rows[i] - sum(x @ matrix for x, matrix in zip(last, above, strict=True))
        right = tf.linalg.matrix_transpose(right)
        x = tf.linalg.triangular_solve(own, right, lower=False, adjoint=True)
        x = tf.linalg.matrix_transpose(x)
        return i + 1, [x, *last][: len(above)], found.write(i, x)

    shape = [None, width * channels]
    found = tf.TensorArray(y.dtype, height, element_shape=shape)
    state = 0, [tf.zeros_like(rows[0]) for _ in above], found
    found = tf.while_loop(lambda i, *_: i < height, body, state, maximum_iterations=height)[2]
    x = tf.reshape(found.stack(), [height, -1, width, channels])
    return tf.transpose(x, [1, 0, 2, 3])


def _matrices(taps, width):
    """M_r [W C, W C], from a row to the row r below it, r = 0 .. K // 2."""
    kernel, size = _kernel(taps), width * taps.shape[-1]
    parts: dict[int, tf.Tensor] = {}
    for (i, j), tap in zip(before(kernel), tf.unstack(taps), strict=True):
        shift = tf.constant(np.eye(width, k=-j), tap.dtype)  # 1 from column c + j to column c
        part = tf.reshape(tf.einsum("ab,cd->acbd", shift, tap), [size, size])
        parts[-i] = parts[-i] + part if -i in parts else part
    return [parts[r] for r in range(kernel // 2 + 1)]
