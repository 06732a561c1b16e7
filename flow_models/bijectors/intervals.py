"""A choice among K branches as part of an invertible map: a normal number that carries the choice.

A map of K branches to one has no inverse until the branch is known. Where e ~ N(0, 1) stands beside
it, Phi(e) is uniform on (0, 1), which K intervals share by their probabilities: branch k moves the
whole of (0, 1) to interval k, and back. So a surjection, or a mixture, is a bijection of (x, e)
whose log-density does not depend on e: exact, with nothing to average (Real and discrete, Dinh et
al. 2019; SurVAE flows, Nielsen et al. 2020).
"""

import math
from typing import NamedTuple

import tensorflow as tf

LOG_TWO_PI = math.log(2 * math.pi)
TAIL = 1e-30  # smallest tail probability that a normal number tells, |e| = 11.5
LEAST = 1e-12  # share of an interval at least


class Interval(NamedTuple):
    """A part of (0, 1): what lies below it, its share, and what lies above, [B] each."""

    below: tf.Tensor
    share: tf.Tensor
    above: tf.Tensor


def interval_of(shares: tf.Tensor, k: tf.Tensor) -> Interval:
    """Interval k [B] of the shares [B, K], which add up to 1."""
    below = tf.cumsum(shares, -1, exclusive=True)
    above = tf.cumsum(shares, -1, exclusive=True, reverse=True)
    chosen = tf.one_hot(k, shares.shape[-1], dtype=shares.dtype)
    return Interval(*(tf.reduce_sum(each * chosen, -1) for each in (below, shares, above)))


def whole(like: tf.Tensor) -> Interval:
    """All of (0, 1), for as many rows."""
    return Interval(tf.zeros_like(like), tf.ones_like(like), tf.zeros_like(like))


def branch_of(e: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """The number [B] of the interval, of shares [B, K], that Phi(e) lies in."""
    above = tf.cumsum(shares, -1, exclusive=True, reverse=True)[:, :-1]
    return tf.reduce_sum(tf.cast(tails(e)[1][:, None] <= above, tf.int32), -1)


def moved(e: tf.Tensor, source: Interval, target: Interval) -> tf.Tensor:
    """e' [B] at the place in one interval that e [B] has in another."""
    lower, upper = tails(e)
    ratio = target.share / tf.maximum(source.share, LEAST)
    low = tf.clip_by_value(target.below + (lower - source.below) * ratio, TAIL, 1.0)
    high = tf.clip_by_value(target.above + (upper - source.above) * ratio, TAIL, 1.0)
    return normal_of(low, high)


def log_slope(e: tf.Tensor, moved_to: tf.Tensor, source: Interval, target: Interval) -> tf.Tensor:
    """log |de'/de| [B] of `moved`."""
    log_shares = tf.math.log(tf.maximum(target.share, LEAST)) - tf.math.log(
        tf.maximum(source.share, LEAST)
    )
    return log_shares + log_normal(e) - log_normal(moved_to)


def log_normal(e: tf.Tensor) -> tf.Tensor:
    """log N(e; 0, 1), of every number."""
    return -0.5 * (e * e + LOG_TWO_PI)


def tails(e: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Phi(e) and 1 - Phi(e), both precise where they are small."""
    lower, upper = (0.5 * tf.math.erfc(side * e) for side in (-math.sqrt(0.5), math.sqrt(0.5)))
    return lower, upper


@tf.custom_gradient
def normal_of(lower: tf.Tensor, upper: tf.Tensor) -> tf.Tensor:
    """e with Phi(e) = lower and 1 - Phi(e) = upper; far in the tails too, where XLA's own is
    infinite."""
    z = tf.where(lower < 0.5, _quantile(lower), -_quantile(upper))

    def gradient(dz):
        d = dz * tf.exp(-log_normal(z))
        return tf.where(lower < 0.5, d, 0.0), tf.where(lower < 0.5, 0.0, -d)

    return z, gradient


def _quantile(p):
    """Phi^-1(p) of p up to 1/2: Abramowitz and Stegun 26.2.23, and three Newton steps on
    log Phi."""
    log_p = tf.math.log(tf.clip_by_value(p, TAIL, 0.5))
    t = tf.sqrt(-2 * log_p)
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    z = top / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for _ in range(3):
        found = 0.5 * tf.math.erfc(-math.sqrt(0.5) * z)
        z -= (tf.math.log(found) - log_p) * found * tf.exp(-log_normal(z))
    return z
