"""Continuous flows: x moves along a learned velocity field."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.fields import FreeField, PotentialField
from flow_models.bijectors.frames import Framed
from flow_models.bijectors.layer import Layer, floating, no_log_det, refill
from flow_models.bijectors.ode import solve
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.tangents import hash_of_rows, signs
from flow_models.core.errors import UserError

OBJECTIVES = ("likelihood", "transport", "matching")


@dataclasses.dataclass(frozen=True)
class Continuous(Layer):
    """y = x(1) of dx/dt = f(t, x, condition), x(0) = x, and log |det dy/dx| the integral of div f.

    FFJORD (Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud 2019). The solver takes steps of
    its own for each row, so that no row depends on others. Gradients are those of the adjoint
    equation, solved backwards from y: memory does not grow with the number of steps. Their error,
    too, follows the tolerance; integrals over weights take no part in choosing the steps ("Hey,
    that's not an ODE", Kidger, Chen and Lyons 2021).

    Attributes:
      field: f, a `FreeField` or a `PotentialField`.
      tolerance: of a step, relative to 1 + |x|; that of the result is a few times larger.
      objective: what `fit` minimises by default, in a model of this layer: likelihood; transport
        (with the cost of transport, as OT-Flow); or matching (flow matching, which solves nothing).
    """

    field: FreeField | PotentialField
    tolerance: float = 1e-5
    objective: str = "likelihood"

    def __post_init__(self):
        super().__post_init__()
        if not self.tolerance > 0:
            raise UserError(f"tolerance is {self.tolerance}, must be above 0")
        if self.objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise UserError(f"objective is {self.objective!r}, must be one of {known}")

    @property
    def size(self) -> int:
        """Dimensions D of an event."""
        return self.field.size

    def init(self, rng):
        return self.field.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(weights, x, condition, 1)[:2]

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(weights, y, condition, -1)[:2]

    def forward_with_cost(self, weights, x, condition=None):
        """y, log |det dy/dx|, and the cost of transport [B], the integral of |f|^2 / 2."""
        return self._run(weights, x, condition, 1, True)

    def evaluations(self, weights, x, condition=None):
        """Evaluations of f that the solver takes from each row x to y, [B]."""
        right = self._right(weights, x, condition, 1, False, self._signs(weights, x))
        start = tf.pad(x, [[0, 0], [0, 1]])
        return solve(lambda t, state: (right(t, state[:, :-1]), []), start, self.tolerance)[2]

    def _signs(self, weights, x):
        """Of the estimated divergence, the same along the whole path; None where it is exact."""
        if self.field.is_exact:
            return None
        return signs(hash_of_rows(x, weights), self.size, x.dtype)

    def _right(self, weights, x, condition, way, costs, signs):
        """The right-hand side for x, log-determinant and, where asked for, cost, [B, D + 1 (+ 1)].

        Args:
          way: 1 from x to y, -1 back; the time of the solver runs from 0 to 1 either way.
        """

        def right(t, x, weights=weights, condition=condition):
            time = t if way == 1 else 1 - t
            f, div = self.field.velocity_and_divergence(weights, time, x, condition, signs)
            parts = [way * f, way * div[:, None]]
            if costs:
                parts.append(tf.reduce_sum(f * f, 1, keepdims=True) / 2)
            return tf.concat(parts, 1)

        return right

    def _run(self, weights, x, condition, way, costs=False):
        """The other end of the path, and integrals along it."""
        given = [] if condition is None else [condition]
        signs, size = self._signs(weights, x), self.size

        @tf.custom_gradient
        def run(x, *others):
            nest, c = refill(weights, others), others[-1] if given else None
            right = self._right(nest, x, c, way, costs, signs)
            start = tf.pad(x, [[0, 0], [0, 2 if costs else 1]])
            end = solve(lambda t, state: (right(t, state[:, :size]), []), start, self.tolerance)[0]

            def gradient(d_end):
                return self._adjoint(right, end[:, :size], d_end, others, nest, bool(given))

            return end, gradient

        end = run(x, *floating(weights), *given)
        return end[:, :size], *(end[:, i] for i in range(size, end.shape[1]))

    def _adjoint(self, right, y, d_end, others, nest, has_condition):
        """Gradients at x, at the weights and at the condition, from those at the end of the path.

        With a = dL/dx(t): da/dt = -(a, dL/dintegrals)^T d(right)/dx, and the same by the weights.
        """
        size = self.size
        # errors are relative to 1
        scale = tf.reduce_max(tf.abs(d_end)) + 1e-30
        of_integrals = d_end[:, size:] / scale

        def back(t, state):
            x, a = state[:, :size], state[:, size:]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([x, *others])
                c = others[-1] if has_condition else None
                slope = right(1 - t, x, refill(nest, others), c)
            ends = tf.concat([a, of_integrals], 1)
            da, *rest = tape.gradient(slope, [x, *others], ends, unconnected_gradients="zero")
            return tf.concat([-slope[:, :size], da], 1), rest

        start = tf.concat([y, d_end[:, :size] / scale], 1)
        zeros = [tf.zeros_like(each) for each in others]
        state, sums, _ = solve(back, start, self.tolerance, zeros, together=True)
        return scale * state[:, size:], *(scale * each for each in sums)


def continuous_end(layer, weights, x, condition=None):
    """For a flow with a `last_of`: that layer, its weights, x there, and log |det| so far."""
    if isinstance(layer, Continuous):
        return layer, weights, x, no_log_det(x)
    if isinstance(layer, Summarised):
        return continuous_end(layer.layer, weights["layer"], x, condition)
    front = Chain(layer.layers[:-1])
    x, log_det = front.forward_and_log_det(weights[:-1], x, condition)
    *found, more = continuous_end(layer.layers[-1], weights[-1], x, condition)
    return *found, log_det + more


def last_of(layer) -> Continuous | None:
    """The continuous layer with which a flow ends; None where it ends with another."""
    if isinstance(layer, Continuous):
        return layer
    if isinstance(layer, Chain) and layer.layers:
        return last_of(layer.layers[-1])
    return last_of(layer.layer) if isinstance(layer, (Summarised, Framed)) else None


def objective_of(layer) -> str:
    """What `fit` minimises by default in a flow of this layer, one of `OBJECTIVES`."""
    last = last_of(layer)
    return last.objective if last else "likelihood"
