"""Roots of increasing functions, all numbers of a tensor at once, in a compiled loop."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

MOST_STEPS = 80  # bisection alone narrows 2^20 to a rounding error of float64 in 73


def increasing_root(function: Callable, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """x in [low, high] where an increasing function is 0, to a few rounding errors.

    Steps of Newton, and bisection where one leaves the bracket or does not halve the step before
    (Numerical Recipes, Press et al. 2007, section 9.4). Gradients pass through a last step alone:
    they are those of the implicit function, and the search stores nothing.

    Args:
      function: function(x) -> value and slope, like x; each number depends on its own x alone.
      low, high: a bracket, function(low) <= 0 <= function(high).
    """
    tolerance = 4 * float(np.finfo(low.dtype.as_numpy_dtype).eps)

    def narrow(x, low, high, step):
        value, slope = function(x)
        low, high = tf.where(value <= 0, x, low), tf.where(value >= 0, x, high)
        newton = x - value / slope
        good = (newton > low) & (newton < high) & (2 * tf.abs(newton - x) < tf.abs(step))
        found = tf.where(good, newton, 0.5 * (low + high))
        return found, low, high, found - x

    def goes_on(x, low, high, step):
        return tf.reduce_any(tf.abs(step) > tolerance * (1 + tf.abs(x)))

    low, high = tf.stop_gradient(low), tf.stop_gradient(high)
    state = (0.5 * (low + high), low, high, 2 * (high - low) + 1)
    x = tf.while_loop(goes_on, narrow, state, maximum_iterations=MOST_STEPS)[0]
    x = tf.stop_gradient(x)
    value, slope = function(x)
    return x - value / tf.stop_gradient(slope)
