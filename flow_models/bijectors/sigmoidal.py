"""Sums of sigmoids as an elementwise map: the neural autoregressive flow."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.elementwise import Elementwise
from flow_models.bijectors.roots import increasing_root
from flow_models.bijectors.spline import MIN_SLOPE, UNIT_SLOPE
from flow_models.core.errors import UserError

SPREAD = 2.0  # new units have centres in [-SPREAD, SPREAD]: equal ones would stay equal


@dataclasses.dataclass(frozen=True)
class DeepSigmoid(Elementwise):
    """y = logit(sum_k w_k sigmoid(a_k (x - c_k))), a_k > 0, w on the simplex: from the whole line
    onto the whole line, so the density has mass one.

    Neural autoregressive flows (Huang, Krueger, Lacoste and Courville 2018, section 3.1); inside
    `Autoregressive` it is that flow. All sums are of logarithms: tails do not saturate. A search in
    one dimension inverts it, to rounding.

    Attributes:
      units: sigmoids of a number; each has three parameters.
    """

    units: int = 16

    def __post_init__(self):
        super().__post_init__()
        if self.units < 1:
            raise UserError(f"units is {self.units}, must be at least 1")

    @property
    def parameters(self) -> int:
        return 3 * self.units

    def _sigmoids(self, o):
        """log w, a and c, [B, n, K]."""
        share, steepness, centre = tf.split(o, 3, -1)
        spread = SPREAD * np.linspace(-1, 1, self.units) if self.units > 1 else [0.0]
        slopes = tf.nn.softplus(steepness + UNIT_SLOPE) + MIN_SLOPE
        return tf.nn.log_softmax(share), slopes, centre + tf.constant(spread, o.dtype)

    def forward_and_log_det(self, o, x):
        return self._run(*self._sigmoids(o), x)

    def _run(self, log_w, a, c, x):
        rise = a * (x[..., None] - c)
        below, above = tf.math.log_sigmoid(rise), tf.math.log_sigmoid(-rise)
        log_p = tf.reduce_logsumexp(log_w + below, -1)
        log_rest = tf.reduce_logsumexp(log_w + above, -1)
        log_slope = tf.reduce_logsumexp(log_w + below + above + tf.math.log(a), -1)
        return log_p - log_rest, log_slope - log_p - log_rest

    def inverse_and_log_det(self, o, y):
        """One sigmoid alone would be y at y / a_k + c_k: all of them are between the least and the
        largest of these."""
        sigmoids = self._sigmoids(o)
        alone = y[..., None] / sigmoids[1] + sigmoids[2]

        def function(x):
            found, log_slope = self._run(*sigmoids, x)
            return found - y, tf.exp(log_slope)

        x = increasing_root(function, tf.reduce_min(alone, -1), tf.reduce_max(alone, -1))
        return x, -self._run(*sigmoids, x)[1]
