"""Ordinary differential equations, solved by a Runge-Kutta method under XLA.

TFP's solvers take one step size for the whole batch, and their gradient does not compile under XLA.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Cash and Karp 1990, orders 5 and 4: six stages, one loop of which one body is compiled
STAGES = (
    (0, 0, 0, 0, 0, 0),
    (1 / 5, 0, 0, 0, 0, 0),
    (3 / 40, 9 / 40, 0, 0, 0, 0),
    (3 / 10, -9 / 10, 6 / 5, 0, 0, 0),
    (-11 / 54, 5 / 2, -70 / 27, 35 / 27, 0, 0),
    (1631 / 55296, 175 / 512, 575 / 13824, 44275 / 110592, 253 / 4096, 0),
)
TIMES = (0, 1 / 5, 3 / 10, 3 / 5, 1, 7 / 8)
FIFTH = (37 / 378, 0, 250 / 621, 125 / 594, 0, 512 / 1771)
FOURTH = (2825 / 27648, 0, 18575 / 48384, 13525 / 55296, 277 / 14336, 1 / 4)
FIRST, LEAST = 0.2, 1e-5  # steps; where shorter ones are needed, a row ends as NaN


def solve(field: Callable, y, tolerance: float, sums=(), together: bool = False):
    """y(1) of dy/dt = field(t, y), y(0) = y [B, N], row by row with steps of its own.

    The estimated error of a step is at most tolerance (1 + |y|), root mean square over a row.

    Args:
      field: field(t, y) -> dy [B, N], and a list of integrands like `sums`; t [B].
      sums: tensors of any shape to which the integrals of the integrands over t are added, without
        control of their error.
      together: all rows take the same steps, as `sums` over rows need.

    Returns:
      y(1) [B, N], NaN in rows without a solution; the list of sums; the evaluations of `field` that
      each row took [B].
    """
    if tf.executing_eagerly():  # traced, as steps of eager tensors are slow
        run = lambda y, *sums: solve(field, y, tolerance, sums, together)
        return tf.function(run, autograph=False)(y, *sums)
    rows = tf.shape(y)[:1]

    def body(time, step, y, sums, evaluations):
        running = _is_running(time, step)
        length = tf.minimum(step, 1 - time)
        new, error, gained = _step(field, time, length, y, sums)
        size = tolerance * (1 + tf.maximum(tf.abs(y), tf.abs(new)))
        ratio = tf.sqrt(tf.reduce_mean(tf.square(error / size), 1))
        if together:
            ratio = tf.fill(rows, tf.reduce_max(ratio))
        good = running & (ratio <= 1)  # not where it is NaN
        factor = tf.clip_by_value(0.9 * tf.maximum(ratio, 1e-8) ** -0.2, 0.2, 5.0)
        factor = tf.where(tf.math.is_finite(ratio), factor, 0.2)
        arrived = tf.where(length >= 1 - time, tf.ones_like(time), time + length)
        return (
            tf.where(good, arrived, time),
            tf.where(running, length * factor, step),
            tf.where(good[:, None], new, y),
            [tf.where(good[0], a + b, a) for a, b in zip(sums, gained, strict=True)],
            evaluations + len(STAGES) * tf.cast(running, tf.int32),
        )

    time = tf.zeros(rows, y.dtype)
    start = (time, time + FIRST, y, list(sums), tf.zeros(rows, tf.int32))
    time, _, y, sums, evaluations = tf.while_loop(
        lambda time, step, *_: tf.reduce_any(_is_running(time, step)), body, start
    )
    return tf.where((time < 1)[:, None], tf.constant(np.nan, y.dtype), y), sums, evaluations


def _is_running(time, step):
    return (time < 1) & (step > LEAST)


def _step(field, time, length, y, sums):
    """y after a step of each row's length, the estimate of its error, and the gains of `sums`."""
    stages, times, fifth = (tf.constant(each, y.dtype) for each in (STAGES, TIMES, FIFTH))
    differences = tf.constant(np.subtract(FIFTH, FOURTH), y.dtype)

    def combined(weights, slopes):
        return length[:, None] * tf.tensordot(weights, slopes, 1)

    def stage(i, slopes, gained):
        there = time + times[i] * length
        slope, integrands = field(there, y + combined(stages[i], slopes))
        gained = [a + fifth[i] * length[0] * b for a, b in zip(gained, integrands, strict=True)]
        place = tf.one_hot(i, len(STAGES), dtype=y.dtype)[:, None, None]
        return i + 1, slopes + place * slope, gained

    slopes = tf.zeros_like(tf.stack([y] * len(STAGES)))
    start = (0, slopes, [tf.zeros_like(each) for each in sums])
    _, slopes, gained = tf.while_loop(
        lambda i, *_: i < len(STAGES), stage, start, maximum_iterations=len(STAGES)
    )
    return y + combined(fifth, slopes), combined(differences, slopes), gained
