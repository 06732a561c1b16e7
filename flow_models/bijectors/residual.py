"""Residual flows: x plus a contraction of x."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.jacobian import log_abs_det
from flow_models.bijectors.layer import Layer, floating, refill
from flow_models.bijectors.lipschitz import LipschitzAttention, LipschitzMLP
from flow_models.bijectors.tangents import hash_of_rows, signs, uniform
from flow_models.core.errors import UserError

EXACT = 16  # dimensions up to which the log-determinant is that of the Jacobian
ALWAYS = 4  # terms of the series that every row takes


@dataclasses.dataclass(frozen=True)
class Residual(Layer):
    """y = x + g(x, condition), |g(a) - g(b)| <= coefficient |a - b|.

    i-ResNet (Behrmann, Grathwohl, Chen, Duvenaud and Jacobsen 2019) and residual flow (Chen,
    Behrmann, Duvenaud and Jacobsen 2019). The bound on singular values is no estimate, so the layer
    is invertible for all weights. The inverse iterates x <- y - g(x) until it is within `tolerance`
    of the fixed point, which the contraction guarantees.

    The log-determinant is exact for few dimensions. For many it is unbiased: the series

        log det(I + J) = sum_k (-1)^(k+1) tr(J^k) / k

    with v^T J^k v for the trace, v random signs, ends at a random k with weights that make up for
    it (Russian roulette). Its chance to go on is the coefficient, so that the variance is finite.
    Signs and k are functions of the row and the weights. The gradient is unbiased too, and takes
    the memory of one term.

    Attributes:
      size: dimensions D.
      hidden, activation: of g; silu is LipSwish.
      condition_size: width of a condition; 0 for none.
      coefficient: the Lipschitz constant of g, below 1.
      log_det: exact, estimate, or auto: exact up to `EXACT` dimensions.
      tolerance: of the inverse, relative to 1 + |x|; 0: a hundred units of rounding.
      heads: of attention between the numbers of x, in front of the hidden layers of g; 0 for none.
    """

    size: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "silu"
    condition_size: int = 0
    coefficient: float = 0.9
    log_det: str = "auto"
    tolerance: float = 0.0
    heads: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.coefficient < 1:
            raise UserError(f"coefficient is {self.coefficient}, must be between 0 and 1")
        if self.log_det not in ("auto", "exact", "estimate"):
            raise UserError(f"log_det is {self.log_det!r}, must be auto, exact or estimate")
        if self.heads < 0:
            raise UserError(f"heads is {self.heads}, must be at least 0")

    @property
    def network(self) -> LipschitzMLP | LipschitzAttention:
        """The network g, a contraction."""
        inputs, size = self.size + self.condition_size, self.size
        shared = inputs, size, self.hidden, self.activation, size, self.coefficient
        return LipschitzAttention(*shared, self.heads) if self.heads else LipschitzMLP(*shared)

    def init(self, rng):
        return self.network.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        seen, bounded = [] if condition is None else [condition], self.network.bounded(weights)
        if self.log_det == "estimate" or self.log_det == "auto" and self.size > EXACT:
            hashes = hash_of_rows(x, weights)
            return self._estimated(bounded, x, seen, hashes)
        g, jacobian = self.network.with_tangents(bounded, x, seen)
        return x + g, _log_det(tf.eye(self.size, dtype=x.dtype) + jacobian)

    def _estimated(self, bounded, x, seen, hashes):
        """y and the unbiased log-determinant."""
        v = signs(hashes, self.size, x.dtype)
        chance = tf.constant(self.coefficient, x.dtype)
        terms = tf.floor(tf.math.log(1 - uniform(hashes, x.dtype)) / tf.math.log(chance)) + ALWAYS
        g, first = self.network.with_tangents(bounded, x, seen, v[:, None])
        constants = tf.nest.map_structure(tf.stop_gradient, (bounded, x, seen))

        def body(k, power, value, solved):
            """Adds the term of power = J^k v to the series of log det(I + J) and (I + J)^-1 v."""
            weight = tf.where(k <= terms, chance ** -tf.maximum(k - ALWAYS, 0), 0)
            weight *= 1 - 2 * tf.math.floormod(k, 2)
            value -= weight / k * tf.reduce_sum(v * power, 1)
            solved += weight[:, None] * power
            power = self.network.with_tangents(*constants, power[:, None])[1][:, 0]
            return k + 1, power, value, solved

        one = tf.ones([], x.dtype)
        start = (one, tf.stop_gradient(first[:, 0]), tf.zeros_like(terms), v)
        last = tf.reduce_max(terms)
        _, _, value, solved = tf.while_loop(lambda k, *_: k <= last, body, start)
        value, solved = tf.stop_gradient(value), tf.stop_gradient(solved)
        # d log det(I + J) = tr(dJ (I + J)^-1) = E v^T dJ (I + J)^-1 v
        along = self.network.with_tangents(bounded, x, seen, solved[:, None])[1][:, 0]
        slope = tf.reduce_sum(v * along, 1)
        return x + g, value + slope - tf.stop_gradient(slope)

    def inverse(self, weights, y, condition=None):
        """x, by iteration; its gradient solves (I + J)^T u = dx by iteration."""
        has_condition = condition is not None

        @tf.custom_gradient
        def run(y, *others):
            nest, c = refill(weights, others), others[-1:] if has_condition else []
            x = self._fixed_point(lambda x, w: y - self._g(w, x, c), y, self.network.bounded(nest))

            def gradient(dx):
                inputs = [x, *others]
                with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                    tape.watch(inputs)
                    g = self._g(self.network.bounded(refill(weights, others)), x, c)
                u = self._transposed(nest, x, c, dx)
                return u, *tape.gradient(g, inputs, -u, unconnected_gradients="zero")[1:]

            return x, gradient

        return run(y, *floating(weights), *([condition] if has_condition else []))

    def _g(self, bounded, x, seen):
        return self.network(bounded, tf.concat([x, *seen], 1))

    def _transposed(self, nest, x, seen, dx):
        """u of (I + J)^T u = dx, J = dg/dx."""

        def step(u, bounded):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                g = self._g(bounded, x, seen)
            return dx - tape.gradient(g, x, u)

        return self._fixed_point(step, dx, self.network.bounded(nest))

    def _fixed_point(self, step, start, bounded):
        """The fixed point of a contraction step(x, bounded weights); rows stay where they have
        arrived, so that none depends on others."""
        rounding = np.finfo(start.dtype.as_numpy_dtype).eps
        tolerance = self.tolerance or 100 * rounding
        # after it every start within 1 / rounding of the fixed point has arrived
        most = int(np.ceil(np.log(rounding**2 * (1 - self.coefficient)) / np.log(self.coefficient)))

        def body(i, x, moving):
            new = step(x, bounded)
            change = tf.norm(new - x, axis=1)
            # |x - fixed point| <= coefficient / (1 - coefficient) |change|
            left = self.coefficient / (1 - self.coefficient) * change
            size = 1 + tf.reduce_max(tf.abs(new), 1)
            return i + 1, tf.where(moving[:, None], new, x), moving & (left > tolerance * size)

        start_state = (0, start, tf.fill(tf.shape(start)[:1], True))
        state = tf.while_loop(
            lambda i, _, moving: (i < most) & tf.reduce_any(moving), body, start_state
        )
        return state[1]


def _log_det(matrices):
    """log det [B] of matrices [B, D, D] of positive determinants; without a decomposition, which
    XLA is slow at, up to two dimensions."""
    if matrices.shape[1] > 2:
        return log_abs_det(matrices)
    diagonal, across = tf.linalg.diag_part(matrices), matrices[:, :, ::-1]
    if matrices.shape[1] == 1:
        return tf.math.log(diagonal[:, 0])
    products = tf.reduce_prod(diagonal, 1), tf.reduce_prod(tf.linalg.diag_part(across), 1)
    return tf.math.log(products[0] - products[1])
