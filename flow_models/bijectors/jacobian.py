"""Log-determinants by automatic differentiation, for layers that do not give their own."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError

MOST_NUMBERS = 256  # of an event: a batch of B events takes B D^2 numbers and B D evaluations


def value_and_log_det(function: Callable, x: tf.Tensor, condition=None):
    """y = function(x, condition) and log |det dy/dx|, [B, ...] and [B].

    Every row is evaluated D times, once for each number of y, so that one backward pass gives all
    rows of the Jacobian. Gradients flow through both results, in eager mode and under XLA.

    Args:
      function: acts on each row of x [B, ...] alone; D numbers a row in, D numbers out.
      condition: [B, C] or None.

    Raises:
      UserError: D is above `MOST_NUMBERS`, or y has another number of numbers than x.
    """
    size = int(np.prod(x.shape[1:]))
    if size > MOST_NUMBERS:
        raise UserError(
            f"automatic log-determinants are for events of at most {MOST_NUMBERS} numbers, these"
            f" have {size}: write forward_and_log_det and inverse_and_log_det for this layer"
        )
    copies = _repeated(x, size)
    conditions = None if condition is None else _repeated(condition, size)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(copies)
        y = function(copies, conditions)
    if int(np.prod(y.shape[1:])) != size:
        raise UserError(f"a layer maps {size} numbers to {int(np.prod(y.shape[1:]))}, not as many")
    one_each = tf.tile(tf.eye(size, dtype=x.dtype), [tf.shape(x)[0], 1])
    dy = tf.reshape(one_each, [-1, *y.shape[1:]])
    rows = tape.gradient(y, copies, dy, unconnected_gradients="zero")
    return y[::size], log_abs_det(tf.reshape(rows, [-1, size, size]))


def _repeated(x, times):
    """Rows [B, ...] as [B times, ...]; the gradient of `tf.repeat` does not compile in a loop."""
    copies = x[:, None] + tf.zeros([times, *[1] * (x.shape.rank - 1)], x.dtype)
    return tf.reshape(copies, [-1, *x.shape[1:]])


@tf.custom_gradient
def log_abs_det(matrices):
    """log |det A|, [B, D, D] -> [B], with the gradient A^-T; by QR, as XLA has no LU."""
    q, r = tf.linalg.qr(matrices)

    def gradient(dy):
        inverse = tf.linalg.triangular_solve(r, tf.linalg.matrix_transpose(q), lower=False)
        return dy[:, None, None] * tf.linalg.matrix_transpose(inverse)

    return tf.reduce_sum(tf.math.log(tf.abs(tf.linalg.diag_part(r))), -1), gradient
