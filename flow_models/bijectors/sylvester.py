"""Sylvester flows: many ridges a layer, at right angles."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.amortised import Amortised
from flow_models.bijectors.conv1x1 import Householder
from flow_models.bijectors.networks import of_channels
from flow_models.bijectors.planar import above_minus_one, tanh_root
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sylvester(Amortised):
    """y = x + Q R tanh(S Q^T x + b), log |det| = sum_i log(1 + r_i s_i (1 - tanh^2_i)).

    R and S [M, M] are upper triangular with diagonals r and s, r_i s_i > -1; Q [D, M] has
    orthonormal columns, a product of Householder reflections. Sylvester normalizing flows for
    variational inference (van den Berg, Hasenclever, Tomczak and Welling 2018).

    In the coordinates v = Q^T x the equations are triangular, so M searches in one dimension invert
    the layer, the last unit first. Direction as in `Planar`.

    Attributes:
      units: M; 0 for as many as dimensions.

    Others as in `Amortised`; a condition moves all but Q.
    """

    units: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.units <= self.size:
            raise UserError(f"units is {self.units}, must be 0 to {self.size}, the dimensions")

    @property
    def width(self) -> int:
        """M, the number of ridges."""
        return self.units or self.size

    @property
    def parts(self):
        m = self.width
        above = m * (m - 1) // 2
        return {"product": m, "log_s": m, "above_r": above, "above_s": above, "b": m}

    def start(self, rng):
        return {"b": rng.normal(size=self.width)}

    def init(self, rng):
        return {**super().init(rng), **Householder(self.size).init(rng)}

    def _matrices(self, weights, condition):
        """Q [D, M], R and S [1 or B, M, M] without their diagonals, the diagonals, and b."""
        parts = self.parameters(weights, condition)
        q = Householder(self.size).matrix(weights)[:, : self.width]
        s = tf.exp(parts["log_s"])
        r = above_minus_one(parts["product"]) / s
        r_above, s_above = (_triangle(parts[name], self.width) for name in ("above_r", "above_s"))
        return q, r_above, s_above, r, s, parts["b"]

    def forward_and_log_det(self, weights, x, condition=None):
        q, r_above, s_above, r, s, b = self._matrices(weights, condition)
        v = of_channels(x, q)
        h = tf.tanh(s * v + tf.linalg.matvec(s_above, v) + b)
        moved = r * h + tf.linalg.matvec(r_above, h)
        return x + of_channels(moved, tf.transpose(q)), _log_det(r * s, h)

    def inverse_and_log_det(self, weights, y, condition=None):
        """Unit by unit, the last one first; a last step of Newton carries the gradients."""
        q, r_above, s_above, r, s, b = self._matrices(weights, condition)
        w = of_channels(y, q)

        def arguments(v):
            return s * v + tf.linalg.matvec(s_above, v) + b

        def body(k, v):
            rest = w - tf.linalg.matvec(r_above, tf.tanh(arguments(v)))
            shift = tf.linalg.matvec(s_above, v) + b
            steepness, target, shift, scale = (
                tf.gather(each, [k], axis=1) for each in (r * s, s * rest + shift, shift, s)
            )
            found = (tanh_root(steepness, target) - shift) / scale
            return k - 1, tf.where(tf.range(self.width) == k, found, v)

        _, v = tf.while_loop(
            lambda k, _: k >= 0, body, (self.width - 1, w), maximum_iterations=self.width
        )
        v = tf.stop_gradient(v)
        h = tf.tanh(arguments(v))
        residual = v + r * h + tf.linalg.matvec(r_above, h) - w
        jacobian = _jacobian(*(tf.stop_gradient(each) for each in (r_above, s_above, r, s, h)))
        v -= tf.linalg.triangular_solve(jacobian, residual[..., None], lower=False)[..., 0]
        h = tf.tanh(arguments(v))
        return y + of_channels(v - w, tf.transpose(q)), -_log_det(r * s, h)


def _triangle(values, size):
    """Strictly upper triangular matrices [B, M, M] from numbers [B, M (M - 1) / 2]."""
    places = np.zeros((size * (size - 1) // 2, size, size))
    places[np.arange(len(places)), *np.triu_indices(size, 1)] = 1
    placed = values @ tf.constant(places.reshape(len(places), -1), values.dtype)
    return tf.reshape(placed, [-1, size, size])


def _jacobian(r_above, s_above, r, s, h):
    """dv'/dv = I + R diag(1 - h^2) S, upper triangular."""
    whole_r, whole_s = r_above + tf.linalg.diag(r), s_above + tf.linalg.diag(s)
    eye = tf.eye(h.shape[-1], dtype=h.dtype)
    return eye + tf.matmul(whole_r * (1 - h * h)[:, None, :], whole_s)


def _log_det(products, h):
    return tf.reduce_sum(tf.math.log1p(products * (1 - h * h)), 1)
