"""Integrals of positive functions as an elementwise map: the unconstrained monotonic flow."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.elementwise import Elementwise
from flow_models.bijectors.roots import increasing_root
from flow_models.core.errors import UserError

NODES = 48  # of Gauss and Legendre, between 0 and x
STEEPEST = 24.0  # slope of a unit, with x in [-1, 1]
STEEPEST_SUM = 64.0  # of log g
LARGEST_SCALE = 3.0


@dataclasses.dataclass(frozen=True)
class MonotonicIntegral(Elementwise):
    """y = shift + integral_0^x g(t) dt, log g(t) = s + sum_k w_k tanh(a_k (t - c_k)): a positive
    function that is a network of one hidden layer.

    Unconstrained monotonic neural networks (Wehenkel and Louppe 2019). The parameters of g, and not
    a code that it sees, come from the conditioner. The integral is a Gauss-Legendre rule of `NODES`
    nodes. The log-determinant is that of the rule itself, not log g(x), so the density has mass one
    whatever the rule's error. Slopes of log g are limited so that the rule increases: its slope was
    within 15% of g in the worst of a million random cases, within 0.1% in most
    (`tests/test_families.py`).

    Beyond [-bound, bound] the map is a straight line with the slope of the end. A search in one
    dimension inverts it, to rounding.

    Attributes:
      units: hidden units of g; each has three parameters.
      bound: of the interval.
    """

    units: int = 8
    bound: float = 4.0

    def __post_init__(self):
        super().__post_init__()
        if self.units < 1 or not self.bound > 0:
            raise UserError(
                f"units is {self.units} and bound {self.bound}; they must be at least 1 and above 0"
            )

    @property
    def parameters(self) -> int:
        return 3 * self.units + 2

    def forward_and_log_det(self, o, x):
        y, slope = self._run(self._integrand(o), x)
        return y, tf.math.log(slope)

    def inverse_and_log_det(self, o, y):
        g = self._integrand(o)
        low, high = (self._run(g, 0 * y + end) for end in (-self.bound, self.bound))

        def function(x):
            found, slope = self._run(g, x)
            return found - y, slope

        low = tf.minimum((y - low[0]) / low[1], 0.0) - self.bound
        high = tf.maximum((y - high[0]) / high[1], 0.0) + self.bound
        x = increasing_root(function, low, high)
        return x, -tf.math.log(self._run(g, x)[1])

    def _integrand(self, o):
        """Shift and s [B, n], w, a and c [B, n, 1, K], with the slopes limited."""
        shift, s = o[..., 0], LARGEST_SCALE * tf.tanh(o[..., 1] * (1.0 / LARGEST_SCALE))
        w, a, c = tf.split(o[..., None, 2:], 3, -1)
        a = STEEPEST * tf.tanh(a + 0.25)
        w /= 1 + tf.reduce_sum(tf.abs(w * a), -1, keepdims=True) * (1.0 / STEEPEST_SUM)
        return shift, s, w, a, c + tf.constant(np.linspace(-0.8, 0.8, self.units), o.dtype)

    def _run(self, g, x):
        """y and dy/dx of the rule, whose nodes move with x: sum_q w_q d(x g(x t_q))/dx."""
        shift, s, w, a, c = g
        inside = tf.clip_by_value(x, -self.bound, self.bound)
        nodes, shares = (tf.constant(each, x.dtype) for each in _rule())
        t = (inside * (1.0 / self.bound))[..., None] * nodes
        h = tf.tanh(a * (t[..., None] - c))
        value = tf.exp(s[..., None] + tf.reduce_sum(w * h, -1))
        log_slope = tf.reduce_sum(w * a * (1 - h * h), -1)
        mean = tf.reduce_sum(shares * value, -1)
        slope = tf.reduce_sum(shares * value * (1 + t * log_slope), -1)
        return shift + inside * mean + (x - inside) * slope, slope


def _rule():
    """Nodes and weights on [0, 1]."""
    nodes, shares = np.polynomial.legendre.leggauss(NODES)
    return 0.5 * (nodes + 1), 0.5 * shares
