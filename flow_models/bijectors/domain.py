"""From the user's units to numbers that suit a network: bounded columns become unbounded, then get
mean 0 and variance 1."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Frozen, Layer
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Standardise(Layer):
    """y = (x - mean) / sd. Mean and standard deviation come from the training data; they are saved
    and not trained."""

    size: int

    def init(self, rng):
        return {
            "mean": Frozen(np.zeros(self.size, np.float32)),
            "sd": Frozen(np.ones(self.size, np.float32)),
        }

    def forward_and_log_det(self, weights, x, condition=None):
        log_det = -tf.reduce_sum(tf.math.log(weights["sd"]))
        return (x - weights["mean"]) / weights["sd"], tf.zeros_like(x[:, 0]) + log_det

    def inverse_and_log_det(self, weights, y, condition=None):
        log_det = tf.reduce_sum(tf.math.log(weights["sd"]))
        return y * weights["sd"] + weights["mean"], tf.zeros_like(y[:, 0]) + log_det

    def data_dependent_init(self, weights, x, condition=None):
        mean, variance = tf.nn.moments(tf.cast(x, tf.float64), 0)
        variance = tf.where(variance > 0, variance, 1.0)  # of a column that is constant here
        weights = {"mean": tf.cast(mean, x.dtype), "sd": tf.cast(tf.sqrt(variance), x.dtype)}
        return weights, self.forward_and_log_det(weights, x)[0]


@dataclasses.dataclass(frozen=True)
class Domain(Layer):
    """Maps bounded columns to the whole line: log (x - lower), -log (upper - x), or the logit of
    (x - lower) / (upper - lower).

    Attributes:
      lower, upper: for each column a number in the user's units, or None where it has no bound.
        Outside the bounds the density is zero and `log_prob` is minus infinity.

    Raises:
      UserError: the two differ in length, or a lower bound is not below its upper bound.
    """

    lower: Sequence[float | None]
    upper: Sequence[float | None]

    def __post_init__(self):
        super().__post_init__()
        if len(self.lower) != len(self.upper):
            raise UserError(
                f"bounds for {len(self.lower)} columns below and {len(self.upper)} above: give one"
                " each"
            )
        for i, (low, high) in enumerate(zip(self.lower, self.upper)):
            if low is not None and high is not None and not low < high:
                raise UserError(
                    f"column {i}: the lower bound {low} is not below the upper bound {high}"
                )

    def forward_and_log_det(self, weights, x, condition=None):
        columns, total = [], tf.zeros_like(x[:, 0])
        for i, (low, high) in enumerate(zip(self.lower, self.upper)):
            y, log_slope = unbound(x[:, i], low, high)
            columns.append(y)
            total += log_slope
        return tf.stack(columns, 1), total

    def inverse_and_log_det(self, weights, y, condition=None):
        columns, total = [], tf.zeros_like(y[:, 0])
        for i, (low, high) in enumerate(zip(self.lower, self.upper)):
            x, log_slope = bound(y[:, i], low, high)
            columns.append(x)
            total += log_slope
        return tf.stack(columns, 1), total

    def check(self, x):
        for i, (low, high) in enumerate(zip(self.lower, self.upper)):
            outside = ~(
                (x[:, i] > (-np.inf if low is None else low))
                & (x[:, i] < (np.inf if high is None else high))
            )
            if outside.any():
                row = int(np.argmax(outside))
                raise UserError(
                    f"column {i}: {outside.sum()} rows are not inside the bounds ({low}, {high}),"
                    f" the first is row {row} with {x[row, i]:g}; widen the bounds or leave the"
                    " rows out"
                )


def unbound(x, low, high):
    """A column x [B] on the whole line, and log |dy/dx| [B]."""
    if low is None and high is None:
        return x, tf.zeros_like(x)
    below = tf.ones_like(x) if low is None else x - low
    above = tf.ones_like(x) if high is None else high - x
    inside = (below > 0) & (above > 0)
    log_below, log_above = (tf.math.log(tf.where(inside, v, 1.0)) for v in (below, above))
    if high is None:
        log_slope = -log_below
    elif low is None:
        log_slope = -log_above
    else:
        log_slope = np.log(high - low) - log_below - log_above
    return log_below - log_above, tf.where(inside, log_slope, -np.inf)


def bound(y, low, high):
    """The inverse of `unbound`."""
    if low is None and high is None:
        return y, tf.zeros_like(y)
    if high is None:
        x, log_slope = low + tf.exp(y), y
    elif low is None:
        x, log_slope = high - tf.exp(-y), -y
    else:
        width = high - low
        x, log_slope = (
            low + width * tf.sigmoid(y),
            np.log(width) + tf.math.log_sigmoid(y) + tf.math.log_sigmoid(-y),
        )
    return _inside(x, low, high), log_slope


def _inside(x, low, high):
    """x, moved inside where rounding put it on a bound."""
    number = x.dtype.as_numpy_dtype
    if low is not None:
        x = tf.maximum(x, np.nextafter(number(low), number(np.inf)))
    if high is not None:
        x = tf.minimum(x, np.nextafter(number(high), number(-np.inf)))
    return x
