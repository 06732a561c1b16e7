"""The conditional distribution function of a number that has bounds."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import CDF, TAIL, steep
from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core import bounds
from flow_models.core.errors import UserError

REACH = 5.0  # of the spline, in spreads of w
EDGE = 0.02  # share of the rows at a bound among which w is about linear
SMALLEST = 1e-7  # difference of two values of the curve that is told from 0
FURTHEST = 60.0  # largest w of a sampled number


@dataclasses.dataclass(frozen=True)
class NumberCDF(CDF):
    """A smooth distribution on the line, truncated to the bounds:

        F(x) = (S(g(x)) - S(g(lowest))) / (S(g(highest)) - S(g(lowest))),   S logistic
        g(x) = spline(affine(w)),   w = log (x - lowest + e) - log (highest - x + e')

    so that the density is positive at a bound, or as small there as the data want it. It integrates
    to one for every condition, as the mass between the bounds is known exactly. w is linear within
    e of a bound and logarithmic further away: it resolves numbers of several magnitudes. Without
    an upper bound tails may be heavy, as S is exponential in w.

    Attributes:
      lowest, highest: the bounds; one may be None.
      bins: of the spline.

    Raises:
      UserError: there is no bound, or the lower one is not below the upper one.
    """

    lowest: float | None = None
    highest: float | None = None
    bins: int = 16

    measures = 4  # a centre c, e, e' and the spread of w

    def __post_init__(self):
        super().__post_init__()
        if self.lowest is None and self.highest is None:
            raise UserError("a number with bounds needs a lower or an upper one")
        if None not in (self.lowest, self.highest) and not self.lowest < self.highest:
            raise UserError(
                f"the lower bound {self.lowest} is not below the upper bound {self.highest}"
            )

    @property
    def _curve(self):
        return Composed(Affine(6.0), RationalQuadratic(self.bins, REACH))

    @property
    def parameters(self):
        return self._curve.parameters

    @property
    def features(self):
        return 1

    def start(self):
        return steep(self.parameters)

    @property
    def _sides(self):
        """The bounds, and where what is inside lies of each."""
        return [pair for pair in ((self.lowest, 1), (self.highest, -1)) if pair[0] is not None]

    def measure(self, x=None):
        """The median c of numbers x [N], the distances e and e' of the rows next to the bounds, and
        the spread of w, half the distance of its quantiles 0.16 and 0.84."""
        x = self._supposed() if x is None else x
        c, edges = np.median(x), np.zeros(2)
        for bound, sign in self._sides:
            edge = np.quantile(sign * x, EDGE) - sign * bound
            edges[(1 - sign) // 2] = max(edge, 1e-5 * abs(c - bound))
        w = _warped(self, x, c, *edges, 1.0)[0].numpy()
        low, high = np.quantile(w, (0.16, 0.84))
        return np.array([c, *edges, max(0.5 * (high - low), 1e-6 * w.std(), 1e-30)])

    def _supposed(self):
        """Numbers between the bounds, before there are data."""
        share = np.linspace(0.0, 1.0, 101)[1:-1]
        if len(self._sides) == 2:
            return self.lowest + (self.highest - self.lowest) * share
        (bound, sign), *_ = self._sides
        return bound - sign * np.log(share)

    def tails(self, o, x):
        t, log_slope, a, b = self._curved(o, self._clip(x))
        log_mass = _log_between(a, b)
        log_p = log_slope + tf.math.log_sigmoid(t) + tf.math.log_sigmoid(-t) - log_mass
        lower, upper = (tf.exp(_log_between(*ends) - log_mass) for ends in ((a, t), (t, b)))
        return lower, upper, tf.where(self._is_inside(x), log_p, -np.inf)

    def quantile(self, o, lower, upper):
        _, _, a, b = self._curved(o, tf.zeros_like(lower) + o[:, -4])
        log_mass = _log_between(a, b)
        below, above = (log_mass + tf.math.log(tf.maximum(p, TAIL)) for p in (lower, upper))
        below = below if a is None else _log_add(tf.math.log_sigmoid(a), below)
        above = above if b is None else _log_add(tf.math.log_sigmoid(-b), above)
        w = self._curve.inverse_and_log_det(o[:, None, :-4], (below - above)[:, None])[0][:, 0]
        c, *edges, spread = tf.unstack(o[:, -4:], axis=1)
        w = tf.clip_by_value(w * spread, -FURTHEST, FURTHEST)
        # (exp w - 1) / (1 / (c - lowest + e) + exp w / (highest - c + e'))
        parts = [
            tf.exp(0.5 * (1 - sign) * w) / (sign * (c - bound) + edges[(1 - sign) // 2])
            for bound, sign in self._sides
        ]
        return self._clip(c + tf.math.expm1(w) / sum(parts))

    def seen(self, x, measured=None):
        return _warped(self, self._clip(x), *tf.unstack(measured))[0][:, None]

    def _curved(self, o, x):
        """The curve at x, the logarithm of its slope, and the curve at both bounds (None: there is
        none)."""
        ends = [bound for bound in (self.lowest, self.highest) if bound is not None]
        all_of_them = [x, *(tf.zeros_like(x) + tf.constant(end, x.dtype) for end in ends)]
        measured = tf.unstack(o[:, None, -4:], axis=2)
        w, slope = _warped(self, tf.stack(all_of_them, 1), *measured)
        y, log_slope = self._curve.forward_and_log_det(o[:, None, :-4], w)
        a = None if self.lowest is None else y[:, 1]
        b = None if self.highest is None else y[:, -1]
        return y[:, 0], log_slope[:, 0] + tf.math.log(slope[:, 0]), a, b

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


def _warped(one, x, c, e_lower, e_upper, spread):
    """w over its spread, with w = 0 at c, and its slope; precise where the bounds are far away."""
    w, slope = 0.0, 0.0
    for bound, sign in one._sides:
        edge = e_lower if sign > 0 else e_upper
        reach = sign * (c - bound) + edge
        d, p = sign * (x - c) / reach, (sign * (x - bound) + edge) / reach  # p = 1 + d
        w += sign * tf.where(tf.abs(d) < 0.5, tf.math.log1p(tf.maximum(d, -0.9)), tf.math.log(p))
        slope += 1 / (reach * p)
    return w / spread, slope / spread


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
