"""A base with heavy tails: Student-t numbers as normal ones."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Frozen, Layer
from flow_models.core.errors import UserError

LEAST, MOST, START = 0.3, 300.0, 8.0  # degrees of freedom, learnt ones from START
SMALL = 1e-5  # argument below which a quotient is taken by its series
LARGEST = 80.0  # exponent that float32 knows


@dataclasses.dataclass(frozen=True)
class StudentT(Layer):
    """z = Phi^-1(T(x)), each column by itself, with T the distribution function of Student's t with
    n degrees of freedom, in closed form:

        z = a sign(x) sqrt(n log (1 + x^2 / n)),   a = (8 n + 1) / (8 n + 3)

    (Bounds on normal approximations to Student's and the chi-square distributions, Wallace 1959; T
    is off by 0.008 at n = 1, by 0.002 at n = 2, by less above). The map and its density are exact.

    As the last layer of a flow it makes a base with Student-t marginals: a flow of Lipschitz layers
    has the tails of its base, so that data whose tails are power laws need such a base (Tails of
    Lipschitz triangular flows, Jaini et al. 2020). Latents stay N(0, I).

    Attributes:
      size: columns.
      df: n; 0: a number a column, learnt.

    Raises:
      UserError: n is below 0, or not finite.
    """

    size: int
    df: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.df < math.inf:
            raise UserError(f"the degrees of freedom are {self.df}; give a number above 0")

    def init(self, rng):
        log_df = np.full(self.size, math.log(self.df or START), np.float32)
        return {"log_df": Frozen(log_df) if self.df else log_df}

    def forward_and_log_det(self, weights, x, condition=None):
        n, a = self._scales(weights)
        u = x * x / n
        ratio = _ratio(tf.math.log1p(u), u, -0.5)
        log_slope = tf.math.log(a) - 0.5 * tf.math.log(ratio) - tf.math.log1p(u)
        return a * x * tf.sqrt(ratio), tf.reduce_sum(log_slope, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        n, a = self._scales(weights)
        v = tf.minimum((y / a) ** 2 / n, LARGEST)  # log (1 + x^2 / n)
        ratio = _ratio(tf.math.expm1(v), v, 0.5)
        log_slope = tf.math.log(a) + 0.5 * tf.math.log(ratio) - v
        return y / a * tf.sqrt(ratio), -tf.reduce_sum(log_slope, 1)

    def _scales(self, weights):
        """n and a, [size]."""
        n = weights["log_df"]
        if not self.df:
            n = tf.clip_by_value(n, math.log(LEAST), math.log(MOST))
        n = tf.exp(n)
        return n, (8 * n + 1) / (8 * n + 3)


def _ratio(f, u, second):
    """f / u of a function f = u + second u^2 + ..., precise and differentiable at u = 0."""
    is_small = u < SMALL
    safe = tf.where(is_small, tf.ones_like(u), u)
    return tf.where(is_small, 1 + second * u, f / safe)
