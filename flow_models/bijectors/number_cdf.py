"""The conditional distribution function of a number that has bounds, or heavy tails."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import CDF, TAIL, _steep
from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core import bounds
from flow_models.core.errors import UserError

REACH = 5.0  # of the spline, in standard deviations
SMALLEST = 1e-7  # difference of two values of the curve that is told from 0
FURTHEST = 40.0  # largest asinh of a sampled number


@dataclasses.dataclass(frozen=True)
class NumberCDF(CDF):
    """A smooth distribution on the line, truncated to the bounds:

        F(x) = (G(x) - G(lowest)) / (G(highest) - G(lowest)),
        G(x) = S(spline(affine(w))),   S logistic,   v = (x - centre) / scale

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

    def start(self):
        return _steep(self.parameters)

    def tails(self, o, x):
        t, log_slope, a, b = self._curved(o, self._clip(x))
        log_mass = _log_between(a, b)
        log_p = log_slope + tf.math.log_sigmoid(t) + tf.math.log_sigmoid(-t) - log_mass
        lower, upper = (tf.exp(_log_between(*ends) - log_mass) for ends in ((a, t), (t, b)))
        return lower, upper, tf.where(self._is_inside(x), log_p, -np.inf)

    def quantile(self, o, lower, upper):
        _, _, a, b = self._curved(o, tf.zeros_like(lower))
        log_mass = _log_between(a, b)
        below, above = (log_mass + tf.math.log(tf.maximum(p, TAIL)) for p in (lower, upper))
        below = below if a is None else _log_add(tf.math.log_sigmoid(a), below)
        above = above if b is None else _log_add(tf.math.log_sigmoid(-b), above)
        t = (below - above)[:, None]
        w = self._curve.inverse_and_log_det(o[:, None, :-2], t)[0][:, 0]
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


def _log_between(a, b):
    """log (S(b) - S(a)) of the logistic S; None: minus or plus infinity.

    S(b) - S(a) = S(b) S(-a) (1 - exp(a - b))
    """
    if a is None:
        return 0.0 if b is None else tf.math.log_sigmoid(b)
    if b is None:
        return tf.math.log_sigmoid(-a)
    apart = tf.math.log(-tf.math.expm1(tf.minimum(a - b, -SMALLEST)))
    return tf.math.log_sigmoid(b) + tf.math.log_sigmoid(-a) + apart


def _log_add(a, b):
    """log (exp a + exp b)."""
    return tf.maximum(a, b) + tf.math.softplus(-tf.abs(a - b))
