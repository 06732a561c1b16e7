"""A category as the place of the largest of several numbers."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors import intervals
from flow_models.bijectors.conditioned import Conditioned
from flow_models.bijectors.networks import MLP
from flow_models.bijectors.order import others, put
from flow_models.core.errors import UserError

BELOW_ONE = 1 - 2.0**-16  # largest noise of a category


@dataclasses.dataclass(frozen=True)
class Argmax(Conditioned):
    """(k + u, e_2 .. e_K) -> z [K]: a category k with uniform noise u, and e ~ N(0, I) beside it,
    to numbers whose largest is at place k (argmax flows, Hoogeboom et al. 2021, with Gumbel
    thresholding).

    With shares w of the categories, -log of Gumbel numbers v_j of locations log w_j are waiting
    times of rates w_j, so that argmax v = k is the first that comes:

        t = transform((Phi^-1(u), e); network(k)),   s_k = -log Phi(t_1),
        s_j = s_k - log Phi(t_j) / w_j,              z_j = Phi^-1(exp(-w_j s_j))

    For z ~ N(0, I) and t as it starts, P(k) = w_k exactly: a flow of several such columns has only
    what they tell of one another to learn. There t given k is the posterior of z. The mean of
    p(k + u, e) / N(e) over u and e is P(k); its logarithm for one draw is a bound.

    Attributes:
      size: K, at least 2.
      shares: w; empty: equal ones.

    Others as in `Conditioned`.
    """

    shares: Sequence[float] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.size < 2 or len(self.shares) not in (0, self.size):
            raise UserError(
                f"{len(self.shares)} shares of {self.size} categories: give at least 2, and a"
                " share each"
            )

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.size
        return MLP(self.size + self.condition_size, outputs, self.hidden, self.activation)

    def forward_and_log_det(self, weights, x, condition=None):
        k = tf.floor(x[:, 0])
        u, number = x[:, :1] - k[:, None], tf.cast(k, tf.int32)
        noise = tf.concat([intervals.normal_of(u, 1 - u), x[:, 1:]], 1)
        o, (w, w_first) = self._parameters(weights, number, x, condition), self._shares(number, x)
        t, log_slopes = self.transform.forward_and_log_det(o, noise)
        s = _minus_log_cdf(t)
        first, later = s[:, :1], s[:, :1] + s[:, 1:] / others(w, number)
        z = _at(w * put(first, later, number))
        log_det = tf.reduce_sum(log_slopes, 1) - intervals.log_normal(noise[:, 0])
        log_det += self._change(w_first, t, z)
        known = (k >= 0) & (k < self.size)
        return z, tf.where(known, log_det, -float("inf"))

    def inverse_and_log_det(self, weights, y, condition=None):
        every = tf.zeros_like(y) + self._normalised(y.dtype)
        s = _minus_log_cdf(y) / every
        number, first = tf.argmin(s, -1, tf.int32), tf.reduce_min(s, -1, keepdims=True)
        w, w_first = self._shares(number, y)
        t = _at(tf.concat([first, others(w, number) * (others(s, number) - first)], 1))
        o = self._parameters(weights, number, y, condition)
        noise, log_slopes = self.transform.inverse_and_log_det(o, t)
        u = tf.minimum(intervals.tails(noise[:, 0])[0], BELOW_ONE)
        x = tf.concat([(tf.cast(number, y.dtype) + u)[:, None], noise[:, 1:]], 1)
        log_det = tf.reduce_sum(log_slopes, 1) + intervals.log_normal(noise[:, 0])
        return x, log_det - self._change(w_first, t, y)

    def _change(self, w, t, z):
        """log |det dz/dt| [B], in which all but the share of the category cancels out."""
        normal = intervals.log_normal(t) - intervals.log_normal(z)
        return tf.math.log(w) + tf.reduce_sum(normal, 1)

    def _normalised(self, dtype):
        shares = np.maximum(self.shares or np.ones(self.size), 1e-6)
        return tf.constant(shares / shares.sum(), dtype)

    def _shares(self, number, like):
        """The shares in every row [B, K], and that of its category [B]."""
        w = self._normalised(like.dtype)
        return tf.zeros_like(like) + w, tf.gather(w, tf.clip_by_value(number, 0, self.size - 1))

    def _parameters(self, weights, number, like, condition):
        one_hot = tf.one_hot(number, self.size, dtype=like.dtype)
        return self.parameters(weights, one_hot, condition)


def _minus_log_cdf(z):
    """-log Phi(z), precise on both sides."""
    lower, upper = intervals.tails(z)
    low, high = tf.maximum(lower, intervals.TAIL), tf.minimum(upper, 0.5)
    return -tf.where(lower < 0.5, tf.math.log(low), tf.math.log1p(-high))


def _at(s):
    """z of s = -log Phi(z)."""
    return intervals.normal_of(tf.exp(-s), -tf.math.expm1(-s))
