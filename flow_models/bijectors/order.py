"""Surjections that forget an order, with noise numbers that keep it."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors import intervals
from flow_models.bijectors.layer import Layer


@dataclasses.dataclass(frozen=True)
class Maximum(Layer):
    """(x_1 .. x_D, e) -> (max, log(max - x_j) of the others in order, e'): max-pooling of a vector
    (SurVAE flows, Nielsen et al. 2020).

    Every column is the largest with probability 1/D; e' tells which. The density of x is exact.

    Attributes:
      size: D + 1.
    """

    size: int

    def forward_and_log_det(self, weights, x, condition=None):
        values, e = x[:, :-1], x[:, -1]
        largest, which = tf.reduce_max(values, -1), tf.argmax(values, -1, tf.int32)
        log_gaps = tf.math.log(largest[:, None] - others(values, which))
        source, target = intervals.whole(e), intervals.interval_of(_equal(e, self.size - 1), which)
        to = intervals.moved(e, source, target)
        log_det = intervals.log_slope(e, to, source, target) - tf.reduce_sum(log_gaps, -1)
        return tf.concat([largest[:, None], log_gaps, to[:, None]], -1), log_det

    def inverse_and_log_det(self, weights, y, condition=None):
        largest, log_gaps, e = y[:, :1], y[:, 1:-1], y[:, -1]
        which = intervals.branch_of(e, _equal(e, self.size - 1))
        source, target = intervals.interval_of(_equal(e, self.size - 1), which), intervals.whole(e)
        to = intervals.moved(e, source, target)
        log_det = intervals.log_slope(e, to, source, target) + tf.reduce_sum(log_gaps, -1)
        values = put(largest, largest - tf.exp(log_gaps), which)
        return tf.concat([values, to[:, None]], -1), log_det


@dataclasses.dataclass(frozen=True)
class Sort(Layer):
    """(x_1 .. x_D, e_1 .. e_(D-1)) -> (the smallest, log gaps to the next, e'): sorting (SurVAE
    flows, Nielsen et al. 2020).

    For columns that may change places: all orders are equally probable, and e' tells which it was.
    The density of x is exact.

    Attributes:
      size: 2 D - 1.
    """

    size: int

    @property
    def count(self) -> int:
        return (self.size + 1) // 2

    def forward_and_log_det(self, weights, x, condition=None):
        values, noise = x[:, : self.count], tf.unstack(x[:, self.count :], axis=-1)
        rest, ordered, kept, log_det = values, [], [], 0.0
        for e in noise:  # the largest of those that are left, one after another
            out, slope = Maximum(rest.shape[-1] + 1).forward_and_log_det(
                {}, tf.concat([rest, e[:, None]], -1)
            )
            gaps = tf.reduce_sum(out[:, 1:-1], -1)
            rest = out[:, :1] - tf.exp(out[:, 1:-1])
            ordered, kept, log_det = (
                [out[:, 0], *ordered],
                [*kept, out[:, -1]],
                log_det + slope + gaps,
            )
        ordered = tf.stack([rest[:, 0], *ordered], -1)
        log_gaps = tf.math.log(ordered[:, 1:] - ordered[:, :-1])
        y = tf.concat([ordered[:, :1], log_gaps, tf.stack(kept, -1)], -1)
        return y, log_det - tf.reduce_sum(log_gaps, -1)

    def inverse_and_log_det(self, weights, y, condition=None):
        log_gaps, noise = y[:, 1 : self.count], tf.unstack(y[:, self.count :], axis=-1)
        ordered = tf.concat([y[:, :1], y[:, :1] + tf.cumsum(tf.exp(log_gaps), -1)], -1)
        rest, kept, log_det = ordered[:, :1], [], tf.reduce_sum(log_gaps, -1)
        for i, e in enumerate(reversed(noise)):
            which = intervals.branch_of(e, _equal(e, i + 2))
            source = intervals.interval_of(_equal(e, i + 2), which)
            to = intervals.moved(e, source, intervals.whole(e))
            log_det += intervals.log_slope(e, to, source, intervals.whole(e))
            rest, kept = put(ordered[:, i + 1 : i + 2], rest, which), [to, *kept]
        return tf.concat([rest, tf.stack(kept, -1)], -1), log_det


def _equal(e, count):
    """Equal shares [B, count]."""
    return tf.fill([tf.shape(e)[0], count], tf.constant(1 / count, e.dtype))


def others(values, which):
    """The values [B, D - 1] of [B, D] but number `which` [B], in order."""
    places = tf.range(values.shape[-1] - 1)[None]
    places += tf.cast(places >= which[:, None], tf.int32)
    return tf.gather(values, places, axis=-1, batch_dims=1)


def put(value, others, which):
    """[B, D] with value [B, 1] at place `which` [B] among others [B, D - 1]."""
    places = tf.range(others.shape[-1] + 1)[None]
    before = tf.cast(places > which[:, None], tf.int32)
    joined = tf.concat([others, value], -1)
    last = others.shape[-1]
    chosen = tf.where(places == which[:, None], last, places - before)
    return tf.gather(joined, chosen, axis=-1, batch_dims=1)
