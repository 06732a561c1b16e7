"""A base of learned rejection: one of several normal proposals, with the others beside it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors import intervals
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Resampled(Layer):
    """(x, o_2 .. o_T, e) <-> (z_1 .. z_T, e'): x is the first of T normal proposals that is
    accepted, with probability a(z), a network; the last one is accepted anyway. As the last layer
    of a flow it is the base

        p(x) = N(x) (a(x) (1 - s) / Z + s),   Z = E_N[a],   s = (1 - Z)^(T - 1)

    (Resampling base distributions of normalizing flows, Stimper, Schoelkopf and Hernandez-Lobato
    2022, after Bauer and Mnih 2019). The proposals that are not taken are the noise o beside x;
    they come in all orders, over which the chance of each proposal is averaged in closed form. So
    no normalising constant is kept: p(x, o, e) / N(o, e) is the density above with Z estimated
    from the T - 1 others, unbiased, and log p is a bound that draws of the noise tighten.

    Attributes:
      size: D T + 1.
      proposals: T, at least 2.
      hidden, activation: of the network of a, which starts at 1/2.
      condition_size: width of a condition that it also reads.
    """

    size: int
    proposals: int = 16
    hidden: Sequence[int] = (64,)
    activation: str = "relu"
    condition_size: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.proposals < 2:
            raise UserError(f"proposals is {self.proposals}, must be at least 2")

    @property
    def width(self) -> int:
        return (self.size - 1) // self.proposals

    @property
    def network(self) -> MLP:
        return MLP(self.width + self.condition_size, 1, self.hidden, self.activation)

    def init(self, rng):
        return self.network.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        points, e = self._points(x), x[:, -1]
        equal = self._equal(e)
        place = intervals.branch_of(e, equal)
        points = tf.gather(points, _first_to(place, self.proposals), axis=1, batch_dims=1)
        source, target = self._intervals(equal, self._shares(weights, points, condition), place)
        return self._moved(points, e, source, target)

    def inverse_and_log_det(self, weights, y, condition=None):
        points, e = self._points(y), y[:, -1]
        shares = self._shares(weights, points, condition)
        place = intervals.branch_of(e, shares)
        points = tf.gather(points, _to_first(place, self.proposals), axis=1, batch_dims=1)
        source, target = self._intervals(shares, self._equal(e), place)
        return self._moved(points, e, source, target)

    def logits(self, weights, points, condition=None):
        """Those of a [B, T] of points [B, T, D]."""
        rows = tf.reshape(points, [-1, self.width])
        if condition is not None:
            rows = tf.concat([rows, tf.repeat(condition, self.proposals, 0)], -1)
        return tf.reshape(self.network(weights, rows), [-1, self.proposals])

    def _shares(self, weights, points, condition):
        """P(proposal i is taken) [B, T] among z [B, T, D], over all orders of the proposals.

        In a random order proposal i comes at a uniform time t, and each other one is before it with
        probability t: P_i = a_i int_0^1 prod_(j != i) (1 - t a_j) dt + prod_j (1 - a_j) / T. The
        integrand is a polynomial, which the nodes integrate exactly.
        """
        logits = self.logits(weights, points, condition)
        a, log_all_rejected = tf.sigmoid(logits), tf.reduce_sum(tf.math.log_sigmoid(-logits), 1)
        nodes, shares = np.polynomial.legendre.leggauss((self.proposals + 1) // 2)
        passed = 1 - a[..., None] * tf.constant(0.5 + 0.5 * nodes, a.dtype)  # [B, T, nodes]
        every = tf.exp(tf.reduce_sum(tf.math.log(passed), 1, keepdims=True))
        first = a * (every / passed @ tf.constant(0.5 * shares[:, None], a.dtype))[..., 0]
        return first + tf.exp(log_all_rejected)[:, None] / self.proposals

    def _points(self, x):
        return tf.reshape(x[:, :-1], [-1, self.proposals, self.width])

    def _equal(self, e):
        return tf.zeros([tf.shape(e)[0], self.proposals], e.dtype) + 1 / self.proposals

    def _intervals(self, source, target, place):
        return intervals.interval_of(source, place), intervals.interval_of(target, place)

    def _moved(self, points, e, source, target):
        to = intervals.moved(e, source, target)
        log_det = intervals.log_slope(e, to, source, target)
        return tf.concat([tf.reshape(points, [-1, self.size - 1]), to[:, None]], -1), log_det


def _others(count: int) -> np.ndarray:
    """[T, T - 1]: the numbers 0 .. T - 1 without that of the row."""
    return np.array([[j for j in range(count) if j != i] for i in range(count)], np.int32)


def _to_first(place, count):
    """Order [B, T] that takes number `place` [B] first, then the others."""
    order = np.concatenate([np.arange(count)[:, None], _others(count)], 1).astype(np.int32)
    return tf.gather(order, place)


def _first_to(place, count):
    """The inverse order of `_to_first`."""
    order = np.concatenate([np.arange(count)[:, None], _others(count)], 1)
    return tf.gather(np.argsort(order, 1).astype(np.int32), place)
