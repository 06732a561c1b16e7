"""Coordinates in which a posterior is nearly N(0, I): what a conditional flow is left to learn is
small there.

A frame takes whitened parameters theta, given data y, to z, and says what the flow is told about y
(the context). It has
no trainable weights: constants measured once on draws of the simulator (`measure`), and a state a
row of data (`locate`), from which both directions follow. Computed once an observation, however
many samples are drawn.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.core import principal
from flow_models.core.serializable import Described
from flow_models.simulators.simulator import Simulator

Constants = dict[str, np.ndarray]
State = dict[str, tf.Tensor]  # [B, ...] a row of data; "context" [B, C] is what the flow sees
LONGEST_STEP = (
    3.0  # of Gauss-Newton in whitened parameters: beyond it the linearisation says nothing
)
KNOTS = 256  # of the table of a normal score


@dataclasses.dataclass(frozen=True)
class PriorFrame(Described):
    """z = theta; the context is y, standardised, and its normal score: the normal quantile of its
    prior rank.

    The scores spread what crowds at an edge of the data; beyond the draws they stay at the last
    quantile.

    Attributes:
      simulator: whose parameters and data these are.
      waves: sines and cosines of so many multiples of the scores go into the context too. Where a
        posterior changes
        quickly with y, networks learn it in fewer steps: with two, the error of application 5 after
          4,000 steps fell by a
        third.
    """

    simulator: Simulator
    waves: int = 0

    @property
    def context_size(self) -> int:
        return (2 + 2 * self.waves) * self.simulator.data_size

    def data_context(self, context):
        """The part [B, M] of the context whose density is that of the data."""
        return context[:, : self.simulator.data_size]

    def scores(self, context):
        """The part [B, M] of the context that is N(0, 1) in every column over the prior."""
        return context[:, self.simulator.data_size : 2 * self.simulator.data_size]

    def measure(self, theta: np.ndarray, y: np.ndarray) -> Constants:
        """Mean, scale and quantiles of every column of y [N, M]."""
        quantiles = np.quantile(y, (np.arange(KNOTS) + 0.5) / KNOTS, 0)
        return {"mean": y.mean(0), "scale": y.std(0), "quantiles": quantiles}

    def locate(self, constants, y: tf.Tensor) -> State:
        standardised = (y - constants["mean"]) / constants["scale"]
        scores = _normal_score(constants["quantiles"], y)
        waves = [wave(k * scores) for k in range(1, self.waves + 1) for wave in (tf.sin, tf.cos)]
        return {"context": tf.concat([standardised, scores, *waves], -1)}

    def forward_and_log_det(self, state: State, theta: tf.Tensor):
        return theta, tf.zeros(tf.shape(theta)[:1], theta.dtype)

    def inverse(self, state: State, z: tf.Tensor) -> tf.Tensor:
        """theta [B, S, P] of z [B, S, P], for B rows of data."""
        return z


@dataclasses.dataclass(frozen=True)
class LaplaceFrame(Described):
    """z = L^T (theta - m): m from Gauss-Newton steps on the posterior of y, L L^T = I + J^T J its
    curvature there.

    The Laplace approximation as an invertible map. However far m is from the mode, the map is
    exact; a flow behind it learns only in what the posterior differs from the Gaussian. The steps
    start at a linear regression of theta on the leading principal components of y.

    The context: m, the components, the misfit at m, and log sigma where the simulator has one.

    Attributes:
      simulator: gives `residual_and_jacobian`.
      components: principal components of the decorrelated data, at most as many as there are data.
      steps: of Gauss-Newton.
    """

    simulator: Simulator
    components: int = 20
    steps: int = 2

    @property
    def context_size(self) -> int:
        return self.simulator.size + self.components + 1 + self.simulator.noise_varies

    def data_context(self, context):
        """The part of the context whose density is that of the data: components, misfit and log
        sigma."""
        return context[:, self.simulator.size :]

    def measure(self, theta: np.ndarray, y: np.ndarray) -> Constants:
        """Principal components of y [N, M], and the regression of theta [N, P] on them."""
        data = np.asarray(self.simulator.decorrelated(tf.constant(y)), np.float64)
        mean, axes, scale = principal.components(data, self.components)
        components = (data - mean) @ axes / scale
        regression = np.linalg.lstsq(components, theta.astype(np.float64), rcond=None)[0]
        constants = {"mean": mean, "axes": axes / scale, "regression": regression}
        misfit = np.asarray(_misfit(self._newton(_as(constants, y.dtype), tf.constant(y))[2]))
        constants["misfit"] = np.array([misfit.mean(), misfit.std()])
        if self.simulator.noise_varies:
            constants["log_sigma"] = np.array([y[:, -1].mean(), y[:, -1].std() or 1.0])
        return constants

    def locate(self, constants, y: tf.Tensor) -> State:
        components, mean, residual, curvature = self._newton(constants, y)
        misfit = (_misfit(residual) - constants["misfit"][0]) / constants["misfit"][1]
        context = [mean, components, misfit[:, None]]
        if self.simulator.noise_varies:
            context.append((y[:, -1:] - constants["log_sigma"][0]) / constants["log_sigma"][1])
        return {
            "mean": mean,
            "cholesky": tf.linalg.cholesky(curvature),
            "context": tf.concat(context, -1),
        }

    def forward_and_log_det(self, state: State, theta: tf.Tensor):
        z = tf.linalg.matvec(state["cholesky"], theta - state["mean"], transpose_a=True)
        return z, tf.reduce_sum(tf.math.log(tf.linalg.diag_part(state["cholesky"])), -1)

    def inverse(self, state: State, z: tf.Tensor) -> tf.Tensor:
        """theta [B, S, P] of z [B, S, P], for B rows of data."""
        solved = tf.linalg.triangular_solve(
            state["cholesky"], tf.linalg.matrix_transpose(z), adjoint=True
        )
        return state["mean"][:, None] + tf.linalg.matrix_transpose(solved)

    def _newton(self, constants, y):
        """Components [B, K], and the best of the iterates: m [B, P], its residuals and its
        curvature [B, P, P]."""
        components = (self.simulator.decorrelated(y) - constants["mean"]) @ constants["axes"]
        theta, best = components @ constants["regression"], None
        # the rest is LAPACK's
        linearised = tf.function(
            self.simulator.residual_and_jacobian, jit_compile=self.simulator.by_xla, autograph=False
        )
        for step in range(self.steps + 1):
            residual, jacobian = linearised(theta, y)
            curvature = tf.eye(self.simulator.size, dtype=y.dtype) + tf.matmul(
                jacobian, jacobian, transpose_a=True
            )
            cost = tf.reduce_sum(tf.square(residual), -1) + tf.reduce_sum(tf.square(theta), -1)
            best = _better((cost, theta, residual, curvature), best)
            if step < self.steps:
                theta = _gauss_newton_step(theta, residual, jacobian, curvature)
        return components, *best[1:]


def _misfit(residual):
    """log of the mean squared residual, [B]."""
    return tf.math.log(tf.reduce_mean(tf.square(residual), -1))


def _gauss_newton_step(theta, residual, jacobian, curvature):
    gradient = tf.linalg.matvec(jacobian, residual, transpose_a=True) + theta
    step = tf.linalg.cholesky_solve(tf.linalg.cholesky(curvature), gradient[..., None])[..., 0]
    return theta - tf.clip_by_norm(step, LONGEST_STEP, axes=[-1])


def _better(new, old):
    """Row by row the tuple of lower cost; `new` is first in both."""
    if old is None:
        return new
    wins = new[0] < old[0]
    return tuple(
        tf.where(tf.reshape(wins, [-1] + [1] * (n.shape.rank - 1)), n, o) for n, o in zip(new, old)
    )


def _normal_score(quantiles, y):
    """The standard normal quantile of the rank of y [B, M] among quantiles [KNOTS, M],
    interpolated."""
    position = []
    for column in range(y.shape[-1]):
        knots = quantiles[:, column]
        k = tf.clip_by_value(tf.searchsorted(knots, y[:, column], side="right") - 1, 0, KNOTS - 2)
        low, high = tf.gather(knots, k), tf.gather(knots, k + 1)
        t = tf.clip_by_value((y[:, column] - low) / tf.maximum(high - low, 1e-30), 0.0, 1.0)
        position.append((tf.cast(k, y.dtype) + t + 0.5) / KNOTS)
    return tf.math.ndtri(tf.stack(position, -1))


def _as(constants, dtype):
    return {name: value.astype(dtype) for name, value in constants.items()}
