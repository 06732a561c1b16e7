"""The conditional distribution function of a number that has bounds, or heavy tails."""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flow_models.bijectors.cdf import CDF, LOG_TWO_PI, TAIL
from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core import bounds
from flow_models.core.errors import UserError

REACH = 5.0  # of the spline, in standard deviations
SMALLEST = 1e-7  # difference of two log-probabilities that is told from 0
FURTHEST = 40.0  # largest asinh of a sampled number


@dataclasses.dataclass(frozen=True)
class NumberCDF(CDF):
    """A smooth distribution on the line, truncated to the bounds:

        F(x) = (G(x) - G(lowest)) / (G(highest) - G(lowest)),
        G(x) = Phi(spline(affine(w))),   v = (x - centre) / scale

    with w = v between two bounds, else w = asinh(v), so that tails may be heavy. The density is
    positive at a bound, or as small there as the data want it. It integrates to one for every
    condition, as the mass between the bounds is known exactly.

    Attributes:
      lowest, highest: the bounds; None: there is none.
      bins: of the spline.

    Raises:
      UserError: the lower bound is not below the upper one.
    """

    lowest: float | None = None
    highest: float | None = None
    bins: int = 16

    measures = 2  # centre and scale, from the training data

    def __post_init__(self):
        super().__post_init__()
        if None not in (self.lowest, self.highest) and not self.lowest < self.highest:
            raise UserError(
                f"the lower bound {self.lowest} is not below the upper bound {self.highest}"
            )

    @property
    def _curve(self):
        return Composed(Affine(6.0), RationalQuadratic(self.bins, REACH))

    @property
    def _is_linear(self) -> bool:
        return None not in (self.lowest, self.highest)

    @property
    def parameters(self):
        return self._curve.parameters

    @property
    def features(self):
        return 1

    def measure(self, x):
        """Median and half the distance of the quantiles 0.16 and 0.84 of numbers x [N]."""
        low, centre, high = np.quantile(x, (0.16, 0.5, 0.84))
        return np.array([centre, max(0.5 * (high - low), 1e-6 * x.std(), 1e-30)])

    def tails(self, o, x):
        inside = self._is_inside(x)
        t, log_slope, a, b = self._curved(o, self._clip(x))
        mass = _log_mass(a, b)
        log_p = log_slope - 0.5 * (t * t + LOG_TWO_PI) - mass
        lower, upper = tf.exp(_log_mass(a, t) - mass), tf.exp(_log_mass(t, b) - mass)
        return lower, upper, tf.where(inside, log_p, -np.inf)

    def quantile(self, o, lower, upper):
        _, _, a, b = self._curved(o, tf.zeros_like(lower))
        mass = _log_mass(a, b)
        below = mass + tf.math.log(tf.maximum(lower, TAIL))
        above = mass + tf.math.log(tf.maximum(upper, TAIL))
        below = below if a is None else _log_add(_log_phi(a), below)
        above = above if b is None else _log_add(_log_phi(-b), above)
        t = tf.where(below < above, _quantile(below), -_quantile(above))
        w = self._curve.inverse_and_log_det(o[:, None, :-2], t[:, None])[0][:, 0]
        v = w if self._is_linear else tf.sinh(tf.clip_by_value(w, -FURTHEST, FURTHEST))
        return self._clip(o[:, -2] + o[:, -1] * v)

    def seen(self, x, measured=None):
        v = (self._clip(x) - measured[0]) / measured[1]
        return (v if self._is_linear else tf.asinh(v))[:, None]

    def _curved(self, o, x):
        """The curve at x, the logarithm of its slope, and the curve at both bounds (None: there is
        none)."""
        ends = [bound for bound in (self.lowest, self.highest) if bound is not None]
        all_of_them = [x, *(tf.zeros_like(x) + tf.constant(end, x.dtype) for end in ends)]
        v = (tf.stack(all_of_them, 1) - o[:, None, -2]) / o[:, None, -1]
        w = v if self._is_linear else tf.asinh(v)
        y, log_slope = self._curve.forward_and_log_det(o[:, None, :-2], w)
        log_slope = log_slope[:, 0] - tf.math.log(o[:, -1])
        if not self._is_linear:
            log_slope -= 0.5 * tf.math.log1p(v[:, 0] ** 2)
        a = None if self.lowest is None else y[:, 1]
        return y[:, 0], log_slope, a, None if self.highest is None else y[:, -1]

    def _is_inside(self, x):
        inside = tf.ones_like(x, tf.bool)
        if self.lowest is not None:
            inside &= x > tf.constant(self.lowest, x.dtype)
        return inside if self.highest is None else inside & (x < tf.constant(self.highest, x.dtype))

    def _clip(self, x):
        number = x.dtype.as_numpy_dtype
        x = x if self.lowest is None else tf.maximum(x, bounds.beside(self.lowest, 1, number))
        if self.highest is None:
            return x
        return tf.minimum(x, bounds.beside(self.highest, -1, number))

    def check(self, x, what):
        bounds.check_column(x, self.lowest, self.highest, what)


def _log_phi(x):
    """log Phi(x), precise in both tails."""
    return tfp.distributions.Normal(tf.zeros([], x.dtype), 1.0).log_cdf(x)


def _log_mass(a, b):
    """log (Phi(b) - Phi(a)), without a or b that of the whole side."""
    if a is None:
        return 0.0 if b is None else _log_phi(b)
    if b is None:
        return _log_phi(-a)
    mirrored = a + b > 0  # the smaller tails
    low, high = tf.where(mirrored, -b, a), tf.where(mirrored, -a, b)
    log_high = _log_phi(high)
    return log_high + tf.math.log(-tf.math.expm1(tf.minimum(_log_phi(low) - log_high, -SMALLEST)))


def _log_add(a, b):
    """log (exp a + exp b)."""
    return tf.maximum(a, b) + tf.math.softplus(-tf.abs(a - b))


def _quantile(log_p):
    """x with log Phi(x) = log p, p up to 1/2, however small.

    Abramowitz and Stegun 26.2.23, to 5e-4, and two steps of Newton.
    """
    t = tf.sqrt(-2 * tf.minimum(log_p, -math.log(2)))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    x = top / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for _ in range(2):
        found = _log_phi(x)
        slope = tf.exp(tf.minimum(found + 0.5 * (x * x + LOG_TWO_PI), 1.0))
        x -= tf.stop_gradient((found - log_p) * slope)
    return x
