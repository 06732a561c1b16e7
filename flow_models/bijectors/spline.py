"""Monotone rational-quadratic splines (Neural Spline Flows, Durkan, Bekasov, Murray and
Papamakarios 2019)."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.bijectors.elementwise import Elementwise
from flow_models.core.errors import UserError

MIN_BIN = 1e-3  # smallest share of the interval a bin can shrink to
MIN_SLOPE = 1e-3  # smallest derivative at a knot
# softplus(UNIT_SLOPE) + MIN_SLOPE = 1: zero parameters give the identity
UNIT_SLOPE = math.log(math.expm1(1 - MIN_SLOPE))


@dataclasses.dataclass(frozen=True)
class RationalQuadratic(Elementwise):
    """Spline with `bins` bins on [-bound, bound], the identity outside; zero parameters give y = x.

    In the bin with left knot (x_k, y_k), width w, height h, slope s = h / w and knot derivatives
    d0, d1, with t = (x - x_k) / w:

        y = y_k + h (s t^2 + d0 t (1 - t)) / (s + (d0 + d1 - 2 s) t (1 - t))

    (Neural Spline Flows, Durkan, Bekasov, Murray and Papamakarios 2019, equation 4). Parameters per
    dimension: `bins` widths, `bins` heights, `bins - 1`
    inner derivatives.
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self):
        super().__post_init__()
        if not 2 <= self.bins < 1 / MIN_BIN:
            raise UserError(f"bins is {self.bins}; a spline has from 2 to {int(1 / MIN_BIN) - 1}")
        if not self.bound > 0:
            raise UserError(
                f"bound is {self.bound}; the interval of a spline needs a bound above 0"
            )

    @property
    def parameters(self) -> int:
        return 3 * self.bins - 1

    def forward_and_log_det(self, o, x):
        w, h, slopes, knots_x, knots_y = self._knots(o)
        inside, clipped = self._clip(x)
        w, h, x0, y0, d0, d1 = _select(
            clipped, knots_x, (w, h, knots_x, knots_y, slopes[..., :-1], slopes[..., 1:])
        )
        s = h / w
        t = (clipped - x0) / w
        mix = t * (1 - t)
        denominator = s + (d0 + d1 - 2 * s) * mix
        y = y0 + h * (s * t * t + d0 * mix) / denominator
        return tf.where(inside, y, x), tf.where(inside, _log_slope(s, d0, d1, t, denominator), 0.0)

    def inverse_and_log_det(self, o, y):
        w, h, slopes, knots_x, knots_y = self._knots(o)
        inside, clipped = self._clip(y)
        w, h, x0, y0, d0, d1 = _select(
            clipped, knots_y, (w, h, knots_x, knots_y, slopes[..., :-1], slopes[..., 1:])
        )
        s = h / w
        rise = (clipped - y0) * (d0 + d1 - 2 * s)
        a = h * (s - d0) + rise
        b = h * d0 - rise
        c = -s * (clipped - y0)
        # the root that is stable when a is near 0; float32 can round it out of a steep bin
        t = 2 * c / (-b - tf.sqrt(tf.maximum(b * b - 4 * a * c, 0.0)))
        t = tf.clip_by_value(t, 0.0, 1.0)
        denominator = s + (d0 + d1 - 2 * s) * t * (1 - t)
        x = x0 + w * t
        return tf.where(inside, x, y), tf.where(inside, -_log_slope(s, d0, d1, t, denominator), 0.0)

    def _clip(self, x):
        return tf.abs(x) < self.bound, tf.clip_by_value(x, -self.bound, self.bound)

    def _knots(self, o):
        """Widths, heights [B, n, K], derivatives [B, n, K + 1] (1 at both ends), left knots in x
        and y [B, n, K]."""
        k = self.bins
        w, h = self._lengths(o[..., :k]), self._lengths(o[..., k : 2 * k])
        inner = tf.nn.softplus(o[..., 2 * k :] + UNIT_SLOPE) + MIN_SLOPE
        ends = tf.ones_like(inner[..., :1])
        before = tf.constant(np.triu(np.ones((k, k)), 1), o.dtype)  # for exclusive cumulative sums
        shape = tf.shape(w)
        knots_x, knots_y = (
            tf.reshape(tf.reshape(v, [-1, k]) @ before, shape) - self.bound for v in (w, h)
        )
        return w, h, tf.concat([ends, inner, ends], -1), knots_x, knots_y

    def _lengths(self, o):
        return 2 * self.bound * (MIN_BIN + (1 - self.bins * MIN_BIN) * tf.nn.softmax(o))


def _select(x, knots, values):
    """Each of `values` [B, n, K] at the bin that holds x [B, n], by comparisons and sums, which XLA
    fuses, instead of a gather."""
    reached = tf.cast(x[..., None] >= knots[..., 1:], x.dtype)
    one = tf.ones_like(reached[..., :1])
    bin_of_x = tf.concat([one, reached], -1) - tf.concat([reached, 0 * one], -1)
    return [tf.reduce_sum(v * bin_of_x, -1) for v in values]


def _log_slope(s, d0, d1, t, denominator):
    """log dy/dx (equation 5 of the paper)."""
    top = d1 * t * t + 2 * s * t * (1 - t) + d0 * (1 - t) * (1 - t)
    return 2 * tf.math.log(s) + tf.math.log(top) - 2 * tf.math.log(denominator)
