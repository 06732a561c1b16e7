"""Conditional distribution functions of one column, as maps of a number to a normal one.

Each has `parameters` numbers o [B, parameters] a row, which a network gives, and carries a row x to

    z = Phi^-1(F(x | o)),   log |dz/dx| = log p(x | o) - log N(z; 0, 1)

(the transformation of Rosenblatt 1952), so that log N(z) + log |dz/dx| is log p(x | o) exactly.
A whole number k comes with uniform noise, x = k + u, and x has density P(k | o) whatever u is: no
bound, and nothing to average. z is then the randomised quantile residual of Dunn and Smyth (1996).
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import tensorflow as tf

from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.serializable import Serializable

LOG_TWO_PI = math.log(2 * math.pi)
TAIL = 1e-30  # smallest tail probability that z tells, |z| = 11
STEEP = -0.75  # log-scale of a logistic as wide as a standardised column
BEND = 5.0  # scales from the centre where the tails of a count become heavy
FAR = 100.0  # scales from the centre where a step of a count is taken as a differential
FURTHEST = 12.0  # largest asinh of a sampled count


@dataclasses.dataclass(frozen=True)
class CDF(Serializable):
    """The interface: rows x [B], parameters o [B, parameters], all in float.

    Attributes of a class:
      measures: so many numbers of the training data, from `measure`, stand behind the parameters.
    """

    measures: ClassVar[int] = 0

    @property
    def parameters(self) -> int:
        raise TypeError(f"{type(self).__name__} must define the property parameters")

    @property
    def features(self) -> int:
        """Width of `seen`."""
        raise TypeError(f"{type(self).__name__} must define the property features")

    def start(self) -> np.ndarray:
        """Parameters [parameters] of a new network: the distribution without its conditions."""
        return np.zeros(self.parameters, np.float32)

    def tails(self, o, x):
        """F(x), 1 - F(x), both precise where they are small, and log p(x), [B] each."""
        raise TypeError(f"{type(self).__name__} must define the method tails")

    def quantile(self, o, lower, upper):
        """x [B] with F(x) = lower and 1 - F(x) = upper."""
        raise TypeError(f"{type(self).__name__} must define the method quantile")

    def seen(self, x, measured=None):
        """What networks of other columns are given of x, [B, features]."""
        raise TypeError(f"{type(self).__name__} must define the method seen")

    def measure(self, x: np.ndarray | None = None) -> np.ndarray:
        """Numbers [measures] of training data x [N], or where none are known yet; they are saved
        and not trained."""
        return np.zeros(0)

    def check(self, x: np.ndarray, what: str) -> None:
        """Raises UserError, about `what`, if one of the numbers x [N] has no density."""

    def forward_and_log_det(self, o, x):
        return to_normal(*self.tails(o, x))

    def inverse(self, o, z):
        return self.quantile(o, *from_normal(z))


def to_normal(lower, upper, log_p):
    """z of both tails, and the log-determinant of x to z, of any shape."""
    is_below = lower < 0.5
    z = tail_quantile(tf.where(is_below, lower, upper))
    z = tf.where(is_below, z, -z)
    return z, log_p + 0.5 * (z * z + LOG_TWO_PI)


def from_normal(z):
    """Phi(z) and 1 - Phi(z), of any shape."""
    half = math.sqrt(0.5)
    return 0.5 * tf.math.erfc(-half * z), 0.5 * tf.math.erfc(half * z)


def tail_quantile(p, least=TAIL, rounds=1):
    """Phi^-1(p) of p up to 1/2, also far in the tail, where XLA's own is infinite.

    Abramowitz and Stegun 26.2.23, to 5e-4, and steps of Newton on log Phi.
    """
    log_p = tf.math.log(tf.clip_by_value(p, least, 0.5))
    t = tf.sqrt(-2 * log_p)
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    z = top / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for _ in range(rounds):
        z = tf.stop_gradient(z)  # the gradient is that of the last step: 1 / N(z)
        found = 0.5 * tf.math.erfc(-math.sqrt(0.5) * z)
        step = (tf.math.log(found) - log_p) * found * tf.exp(0.5 * (z * z + LOG_TWO_PI))
        z -= step
    return z


@dataclasses.dataclass(frozen=True)
class CategoryCDF(CDF):
    """A category k of K, x = k + u: P(k) by a softmax.

    Attributes:
      shares: of the categories in the training data, where training starts.
    """

    shares: tuple[float, ...]

    @property
    def parameters(self):
        return len(self.shares)

    features = parameters

    def start(self):
        return np.log(np.maximum(self.shares, 1e-6)).astype(np.float32)

    def tails(self, o, x):
        k, u = _whole(x)
        chosen, p = self._one_hot(k, o.dtype), tf.nn.softmax(o)
        mass = tf.reduce_sum(chosen * p, -1)
        below = tf.reduce_sum(p * _triangle(chosen, above=False), -1)
        above = tf.reduce_sum(p * _triangle(chosen, above=True), -1)
        log_p = tf.reduce_sum(chosen * tf.nn.log_softmax(o), -1)
        known = (k >= 0) & (k < len(self.shares))
        return below + u * mass, above + (1 - u) * mass, tf.where(known, log_p, -np.inf)

    def quantile(self, o, lower, upper):
        p = tf.nn.softmax(o)
        below, above = _triangle(p, above=True), _triangle(p, above=False)  # before and after k
        reached = tf.where(
            lower[:, None] < 0.5, lower[:, None] >= below, upper[:, None] <= above + p
        )
        k = tf.reduce_sum(tf.cast(reached[:, 1:], p.dtype), -1)
        chosen = self._one_hot(k, p.dtype)
        below, above, mass = (tf.reduce_sum(chosen * each, -1) for each in (below, above, p))
        return _placed(k, lower, upper, below, above, mass)

    def seen(self, x, measured=None):
        return self._one_hot(tf.floor(x), x.dtype)

    def _one_hot(self, k, dtype):
        return tf.cast(k[:, None] == tf.range(len(self.shares), dtype=k.dtype), dtype)


@dataclasses.dataclass(frozen=True)
class CountCDF(CDF):
    """A whole number k, x = k + u: P(k) = F(k + 1/2) - F(k - 1/2) of a smooth distribution,

        F(y) = logistic(spline(affine(c asinh((y - centre) / (c scale)))))

    with c = BEND: tails fall exponentially up to some scales from the centre, as a power beyond.

    Attributes:
      centre, scale: of the training data, robust: a median and a spread.
      lowest, highest: the smallest and the largest number there is, which have all that F has
        beyond them; None: none.
      bins: of the spline.
    """

    centre: float
    scale: float
    lowest: float | None = 0.0
    bins: int = 16
    highest: float | None = dataclasses.field(default=None, kw_only=True)

    @property
    def _curve(self):
        return Composed(Affine(), RationalQuadratic(self.bins, 10.0))

    @property
    def parameters(self):
        return self._curve.parameters

    @property
    def features(self):
        return 2

    def start(self):
        return steep(self.parameters)

    def tails(self, o, x):
        k, u = _whole(x)
        a, b, log_step = self._edges(o, k)
        below, above = tf.sigmoid(b), tf.sigmoid(-a)
        log_a, log_b = tf.math.log_sigmoid(a), tf.math.log_sigmoid(-b)
        if self.lowest is not None:
            first = k <= self.lowest
            below, log_b, log_step = (
                tf.where(first, 0.0, each) for each in (below, log_b, log_step)
            )
        if self.highest is not None:
            last = k >= self.highest
            above, log_a, log_step = (
                tf.where(last, 0.0, each) for each in (above, log_a, log_step)
            )
        log_p = self._inside(k, log_a + log_b + log_step)
        mass = tf.exp(log_p)
        return below + u * mass, above + (1 - u) * mass, log_p

    def _inside(self, k, log_p):
        """log p, -inf of numbers that there are not."""
        if self.lowest is not None:
            log_p = tf.where(k < self.lowest, -np.inf, log_p)
        return log_p if self.highest is None else tf.where(k > self.highest, -np.inf, log_p)

    def _clipped(self, k):
        """The nearest number that there is."""
        k = k if self.lowest is None else tf.maximum(k, self.lowest)
        return k if self.highest is None else tf.minimum(k, self.highest)

    def _edges(self, o, k):
        """The curve at k + 1/2 and at k - 1/2, and log(1 - exp of their negative difference)."""
        v = (tf.stack([k + 0.5, k - 0.5, k], 1) - self.centre) / self.scale
        y, log_slope = self._curve.forward_and_log_det(o[:, None], BEND * tf.asinh(v / BEND))
        # far out the edges are equal numbers in float32
        bend = 0.5 * tf.math.log1p((v[:, 2] / BEND) ** 2)
        log_step = log_slope[:, 2] - math.log(self.scale) - bend
        far = tf.abs(v[:, 2]) > FAR
        difference = tf.where(far, tf.exp(log_step), tf.maximum(y[:, 0] - y[:, 1], 1e-30))
        return y[:, 0], y[:, 1], tf.math.log(-tf.math.expm1(-difference))

    def quantile(self, o, lower, upper):
        logit = tf.math.log(tf.maximum(lower, TAIL)) - tf.math.log(tf.maximum(upper, TAIL))
        v = self._curve.inverse_and_log_det(o[:, None], logit[:, None])[0][:, 0]
        v = BEND * tf.sinh(tf.clip_by_value(v / BEND, -FURTHEST, FURTHEST))
        k = self._clipped(tf.math.ceil(self.centre + self.scale * v - 0.5))
        below, above, log_p = self.tails(o, k)  # at u = 0: F(k - 1/2), and 1 - that
        mass = tf.exp(log_p)
        return _placed(k, lower, upper, below, above - mass, mass)

    def seen(self, x, measured=None):
        k = tf.floor(x)
        first = tf.cast(k <= (-np.inf if self.lowest is None else self.lowest), x.dtype)
        return tf.stack([tf.asinh((k - self.centre) / self.scale), first], 1)


class CircularQuadratic(RationalQuadratic):
    """A rational-quadratic spline of [-1, 1] onto itself whose slopes at both ends are equal
    (Normalizing flows on tori and spheres, Rezende et al. 2020)."""

    @property
    def parameters(self):
        return 3 * self.bins

    def _knots(self, o):
        w, h, slopes, x, y = super()._knots(o[..., :-1])
        end = tf.nn.softplus(o[..., -1:] + UNIT) + 1e-3
        return w, h, tf.concat([end, slopes[..., 1:-1], end], -1), x, y

    def _clip(self, x):
        return tf.ones_like(x, tf.bool), tf.clip_by_value(x, -1.0, 1.0)


UNIT = math.log(math.expm1(1 - 1e-3))  # a slope of 1


@dataclasses.dataclass(frozen=True)
class AngleCDF(CDF):
    """An angle x in turns, [0, 1): F by a rotation and a circular spline, so that the density is
    periodic and continuous.

    Attributes:
      bins: of the spline.
    """

    bins: int = 12

    @property
    def _curve(self):
        return CircularQuadratic(self.bins, 1.0)

    @property
    def parameters(self):
        return 2 + self._curve.parameters

    @property
    def features(self):
        return 4

    def start(self):
        return np.eye(1, self.parameters, dtype=np.float32)[0]  # a rotation by 0

    def tails(self, o, x):
        turned = _fraction(x - self._rotation(o))
        y, log_slope = self._curve.forward_and_log_det(o[:, None, 2:], 2 * turned[:, None] - 1)
        return 0.5 * (1 + y[:, 0]), 0.5 * (1 - y[:, 0]), log_slope[:, 0]

    def quantile(self, o, lower, upper):
        y = self._curve.inverse_and_log_det(o[:, None, 2:], (lower - upper)[:, None])[0][:, 0]
        return _fraction(0.5 * (1 + y) + self._rotation(o))

    def _rotation(self, o):
        return tf.math.atan2(o[:, 1], o[:, 0]) / (2 * math.pi)

    def seen(self, x, measured=None):
        turns = 2 * math.pi * x
        return tf.stack([wave(n * turns) for n in (1, 2) for wave in (tf.cos, tf.sin)], 1)


@dataclasses.dataclass(frozen=True)
class AtomCDF(CDF):
    """A number with an atom: P(atom) and a density of the other values v, in units of their spread.

    One-sided, values are v > 0 and the atom is u - 1, u uniform in [0, 1). Two-sided, the atom is
    u - 1/2 and values are half a unit further from it.

    Attributes:
      share: of the atom in the training data.
      two_sided: whether values lie on both sides of the atom.
      centre, scale: of the other values, or of their logarithm where they are on one side.
      bins: of the spline.
    """

    share: float
    two_sided: bool = False
    centre: float = 0.0
    scale: float = 1.0
    bins: int = 12

    @property
    def _curve(self):
        return Composed(Affine(), RationalQuadratic(self.bins, 6.0))

    @property
    def parameters(self):
        return 1 + self._curve.parameters

    @property
    def features(self):
        return 2

    @property
    def edge(self) -> float:
        """Where values above the atom begin."""
        return 0.5 if self.two_sided else 0.0

    def start(self):
        share = min(max(self.share, 1e-3), 1 - 1e-3)
        return np.concatenate([[math.log(share / (1 - share))], steep(self.parameters - 1)])

    def tails(self, o, x):
        is_atom, u, v = self._parts(x)
        atom, rest = tf.sigmoid(o[:, 0]), tf.sigmoid(-o[:, 0])
        y, log_slope = self._curved(o, v)
        below, above = rest * tf.sigmoid(y), rest * tf.sigmoid(-y)
        log_density = tf.math.log_sigmoid(y) + tf.math.log_sigmoid(-y) + log_slope
        left, right = self._around(o, rest)
        lower = tf.where(is_atom, left + u * atom, below + tf.where(v > 0, atom, 0.0))
        upper = tf.where(is_atom, right + (1 - u) * atom, above + tf.where(v > 0, 0.0, atom))
        log_p = tf.math.log_sigmoid(-o[:, 0]) + log_density
        if not self.two_sided:
            log_p = tf.where(v < 0, -np.inf, log_p)
        return lower, upper, tf.where(is_atom, tf.math.log_sigmoid(o[:, 0]), log_p)

    def quantile(self, o, lower, upper):
        atom, rest = tf.sigmoid(o[:, 0]), tf.sigmoid(-o[:, 0])
        left, right = self._around(o, rest)
        is_below, is_above = lower < left, upper < right
        logit = tf.where(is_above, tf.math.log(rest - upper), tf.math.log(lower))
        other = tf.where(is_above, tf.math.log(upper), tf.math.log(rest - lower))
        safe = tf.where(is_below | is_above, logit - other, 0.0)
        w = self._curve.inverse_and_log_det(o[:, None, 1:], safe[:, None])[0][:, 0]
        w = self.centre + self.scale * w
        v = w if self.two_sided else tf.exp(w)
        u = tf.clip_by_value((lower - left) / tf.maximum(atom, TAIL), 0.0, 1 - 2**-16)
        at_atom = u + self.edge - 1
        below, above = tf.minimum(v, -TAIL) - self.edge, tf.maximum(v, TAIL) + self.edge
        return tf.where(is_below, below, tf.where(is_above, above, at_atom))

    def _parts(self, x):
        """Whether x is the atom, its noise, and the value (1 where it is the atom)."""
        is_atom = (x < self.edge) & (x >= self.edge - 1)
        v = tf.where(x < 0, x + self.edge, x - self.edge)
        return is_atom, x - self.edge + 1, tf.where(is_atom, tf.ones_like(v), v)

    def _curved(self, o, v):
        """The curve at values v [B], and the logarithm of its slope."""
        positive = tf.maximum(v, 1e-30)
        w = v if self.two_sided else tf.math.log(positive)
        w = (w - self.centre) / self.scale
        y, log_slope = self._curve.forward_and_log_det(o[:, None, 1:], w[:, None])
        log_slope = log_slope[:, 0] - math.log(self.scale)
        return y[:, 0], log_slope if self.two_sided else log_slope - tf.math.log(positive)

    def _around(self, o, rest):
        """Probabilities of values below and above the atom."""
        if not self.two_sided:
            return tf.zeros_like(rest), rest
        y = self._curved(o, tf.zeros_like(rest))[0]
        return rest * tf.sigmoid(y), rest * tf.sigmoid(-y)

    def seen(self, x, measured=None):
        is_atom, _, v = self._parts(x)
        w = v if self.two_sided else tf.math.log(tf.maximum(v, 1e-30))
        w = tf.where(is_atom, tf.zeros_like(w), (w - self.centre) / self.scale)
        return tf.stack([w, tf.cast(is_atom, x.dtype)], 1)


def _whole(x):
    """k and u of x = k + u."""
    k = tf.floor(x)
    return k, x - k


def _fraction(x):
    return x - tf.floor(x)


def _placed(k, lower, upper, below, above, mass):
    """k + u, with u where [lower, upper] lies in the step of k."""
    mass = tf.maximum(mass, TAIL)
    u = tf.where(lower < 0.5, (lower - below) / mass, 1 - (upper - above) / mass)
    return k + tf.clip_by_value(u, 0.0, 1 - 2**-16)


def _triangle(values, above: bool):
    """Sums of the values [B, K] before each place (`above`: an exclusive cumulative sum), or after
    it."""
    size = values.shape[-1]
    ones = np.triu(np.ones((size, size)), 1)
    return values @ tf.constant(ones if above else ones.T, values.dtype)


def steep(parameters):
    return (STEEP * np.eye(1, parameters, 1, dtype=np.float32))[0]
