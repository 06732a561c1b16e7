"""Whole numbers that crowd at multiples of a step, or at single values."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import BEND, FAR, CountCDF, _placed, _whole, steep

FINE = 0.01  # scales: a shorter step of a smooth distribution is taken as a differential
BITS = 24  # of whole numbers that float32 knows


@dataclasses.dataclass(frozen=True)
class HeapedCDF(CountCDF):
    """A whole number k, some of which were rounded: with F as in `CountCDF`,

        P(k) = sum_j w_j [k = r_j mod h_j] (F(k + h_j/2) - F(k - h_j/2)) + sum_a w_a [k = a]

    Term 0 has h = 1; a term with a step h is of numbers that were rounded to a multiple of it, plus
    r (Inference and missing data, Heitjan and Rubin 1990, on coarse data); a single value a has a
    weight of its own. The network gives the weights by a softmax, beside the parameters of F.

    Attributes:
      steps: pairs (h, r) with 0 <= r < h.
      atoms: the single values.
      shares: where the weights start: of term 0, of the steps and of the atoms.

    Others as in `CountCDF`.
    """

    steps: tuple[tuple[int, int], ...] = ()
    atoms: tuple[int, ...] = ()
    shares: tuple[float, ...] = (1.0,)

    @property
    def parameters(self):
        return len(self.shares) + super().parameters

    @property
    def features(self):
        return super().features + len(self.shares) - 1

    def start(self):
        shares = np.log(np.maximum(self.shares, 1e-4))
        return np.concatenate([shares, steep(super().parameters)]).astype(np.float32)

    def tails(self, o, x):
        k, u = _whole(x)
        log_w = tf.nn.log_softmax(o[:, : len(self.shares)])
        terms = zip(self._rounded(o[:, len(self.shares) :], k), self._single(k), strict=True)
        below, above, log_mass = (tf.concat(each, 1) for each in terms)
        log_p = tf.reduce_logsumexp(log_w + log_mass, 1)
        log_p = self._inside(k, log_p)
        w, mass = tf.exp(log_w), tf.exp(log_p)
        lower, upper = tf.reduce_sum(w * below, 1), tf.reduce_sum(w * above, 1)
        return lower + u * mass, upper + (1 - u) * mass, log_p

    def _rounded(self, o, k):
        """P(less than k), P(more than k) and log P(k) of each term with a step, [B, terms]."""
        h, down = self._downward(k)
        is_on = down == k[:, None]
        up = tf.where(is_on, down, down + h)
        a, b = self._curved(o, down + h / 2)[0], self._curved(o, up - h / 2)[0]
        below, above = tf.sigmoid(b), tf.sigmoid(-a)
        log_step = tf.math.log(-tf.math.expm1(-self._difference(o, k, h, a - b)))
        log_a, log_b = tf.math.log_sigmoid(a), tf.math.log_sigmoid(-b)
        if self.lowest is not None:
            first, none = up - h < self.lowest, down < self.lowest
            below, above = tf.where(first, 0.0, below), tf.where(none, 1.0, above)
            log_b, log_step = (tf.where(first, 0.0, each) for each in (log_b, log_step))
            is_on |= (h == 1) & none  # of numbers that `tails` leaves out
        if self.highest is not None:
            last, none = down + h > self.highest, up > self.highest
            below, above = tf.where(none, 1.0, below), tf.where(last, 0.0, above)
            log_a, log_step = (tf.where(last, 0.0, each) for each in (log_a, log_step))
        log_mass = log_a + log_b + log_step
        return below, above, tf.where(is_on, log_mass, -np.inf)

    def _difference(self, o, k, h, difference):
        """a - b of a step, by the slope where float32 does not know the difference."""
        v, log_slope = (k - self.centre) / self.scale, self._curved(o, k[:, None])[1]
        by_slope = (tf.abs(v) > FAR)[:, None] | (h / self.scale < FINE)
        return tf.where(by_slope, h * tf.exp(log_slope), tf.maximum(difference, 1e-30))

    def _curved(self, o, k):
        """The curve at k [B, n], and the logarithm of its slope."""
        v = (k - self.centre) / self.scale
        y, log_slope = self._curve.forward_and_log_det(o[:, None], BEND * tf.asinh(v / BEND))
        bend = 0.5 * tf.math.log1p((v / BEND) ** 2)
        return y, log_slope - math.log(self.scale) - bend

    def _single(self, k):
        """As `_rounded`, of the single values."""
        atoms = tf.constant(self.atoms, k.dtype, [1, len(self.atoms)])
        k = k[:, None]
        below, above = tf.cast(atoms < k, k.dtype), tf.cast(atoms > k, k.dtype)
        return below, above, tf.where(atoms == k, tf.zeros_like(below), -np.inf)

    def _downward(self, k):
        """Steps h [1, terms], and the nearest number of each term that is at most k, [B, terms]."""
        h, r = np.array([(1, 0), *self.steps], np.float32).T[:, None]
        # halves keep the quotient away from whole numbers
        return h, tf.floor((k[:, None] - r + 0.5) / h) * h + r

    def quantile(self, o, lower, upper):
        """The largest k with F(k - 1) <= lower, found bit by bit."""

        def raised(i, k):
            trial = k + tf.pow(2.0, tf.cast(BITS - i, k.dtype))
            below, above, _ = self.tails(o, trial)  # at u = 0: with the mass of the trial above
            reached = tf.where(lower < 0.5, lower >= below, upper <= above)
            return i + 1, tf.where(reached, trial, k)

        start = tf.fill(tf.shape(lower), tf.constant(-(2.0**BITS), lower.dtype))
        k = tf.while_loop(lambda i, k: i <= BITS, raised, [0, start])[1]
        k = self._clipped(k)
        below, above, log_p = self.tails(o, k)
        mass = tf.exp(log_p)
        return _placed(k, lower, upper, below, above - mass, mass)

    def seen(self, x, measured=None):
        k = tf.floor(x)
        on = self._downward(k)[1][:, 1:] == k[:, None]
        at = k[:, None] == tf.constant(self.atoms, k.dtype, [1, len(self.atoms)])
        return tf.concat([super().seen(x, measured), tf.cast(tf.concat([on, at], 1), k.dtype)], 1)
