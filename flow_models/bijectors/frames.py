"""Frames: coordinates in which a posterior is nearly N(0, I), so that little is left to learn.

A frame is a conditional layer in front of a flow. It takes whitened parameters theta, given data y,
to z, and makes the context that the flow behind it sees. It is never trained: its weights are
measured once on draws of the simulator (`data_dependent_init`), and what depends on the data alone
is computed once an observation (`prepare`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors import repeats
from flow_models.bijectors.layer import Frozen, Layer, no_log_det
from flow_models.core import principal
from flow_models.core.tiling import FixedShapeBatches
from flow_models.simulators.simulator import Simulator

State = dict[
    str, tf.Tensor
]  # [B, ...]: a row for each observation; "context" [B, C] is for the flow
LONGEST_STEP = 3.0  # of Gauss-Newton in whitened parameters: beyond it the linearisation is useless
PART = 500  # rows that a frame is measured on at a time: Jacobians of all take much memory
KNOTS = 256  # of the table of a normal score


@dataclasses.dataclass(frozen=True)
class Frame(Layer):
    """What both frames share.

    Shapes: theta, z [R, P]; y [B, M]; a state has B rows, each for R / B consecutive rows of theta.

    Attributes:
      simulator: whose parameters and data these are.
    """

    simulator: Simulator

    @property
    def context_size(self) -> int:
        """Width C of the context."""
        raise AssertionError(f"{type(self).__name__} does not state the width of its context")

    def measure(self, theta: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """The weights, from draws theta [N, P] and y [N, M]."""
        raise AssertionError(f"{type(self).__name__} does not define its measurement")

    def data_context(self, context):
        """The part of the context whose density is that of the data."""
        raise AssertionError(
            f"{type(self).__name__} does not say what its context holds of the data"
        )

    def data_dependent_init(self, weights, x, condition=None):
        found = self.measure(np.asarray(x), np.asarray(condition))
        weights = {name: tf.cast(found[name], x.dtype) for name in weights}
        in_frame = _in_parts(lambda w, x, y: self.forward_and_log_det(w, x, self.prepare(w, y))[0])
        return weights, tf.constant(in_frame(weights, x, condition))


@dataclasses.dataclass(frozen=True)
class PriorFrame(Frame):
    """z = theta; the context is y, standardised, and its normal score.

    The normal score is the normal quantile of the rank of y among draws. It spreads what crowds at
    an edge of the data; beyond the draws it stays at the last quantile.

    Attributes:
      fourier_features: sines and cosines of so many multiples of the scores go into the context
        too. Where a posterior changes quickly with y, networks learn it in fewer steps: with two,
        the error of application 5 after 4,000 steps fell by a third.
      repeats: groups of columns of y that repeat one another, all of one length (see
        `repeats.repeated_columns`); their moments are further columns of y then.
    """

    fourier_features: int = 0
    repeats: Sequence[Sequence[int]] = ()

    @property
    def columns(self) -> int:
        """Of y, with the moments of those that repeat one another."""
        moments = repeats.width(len(self.repeats)) if self.repeats else 0
        return self.simulator.data_size + moments

    @property
    def context_size(self):
        return (2 + 2 * self.fourier_features) * self.columns

    def with_moments(self, y):
        """y [B, M] and the moments of its repeats, [B, columns]."""
        if not self.repeats:
            return y
        trials = tf.stack([tf.gather(y, group, axis=-1) for group in self.repeats], -1)
        return tf.concat([y, repeats.moments(trials)], -1)

    def data_context(self, context):
        return context[:, : self.simulator.data_size]

    def scores(self, context):
        """The part [B, M] of the context that is N(0, 1) in every column over the prior."""
        return context[:, self.columns : self.columns + self.simulator.data_size]

    def init(self, rng):
        size = self.columns
        return {
            "mean": Frozen(np.zeros(size, np.float32)),
            "scale": Frozen(np.ones(size, np.float32)),
            "quantiles": Frozen(np.zeros((KNOTS, size), np.float32)),
        }

    def measure(self, theta, y):
        """Mean, scale and quantiles of every column of y, by sums in float64."""
        y = np.asarray(self.with_moments(tf.constant(y, tf.float64)))
        quantiles = np.quantile(y, (np.arange(KNOTS) + 0.5) / KNOTS, 0)
        scale = y.std(0)
        constant = scale <= repeats.LEAST * np.abs(y).max(0)  # may be of moments
        constant[: self.simulator.data_size] = False
        scale = np.where(constant, 1.0, scale)
        return {"mean": y.mean(0), "scale": scale, "quantiles": quantiles}

    def prepare(self, weights, condition):
        condition = self.with_moments(condition)
        standardised = (condition - weights["mean"]) / weights["scale"]
        scores = _normal_score(weights["quantiles"], condition)
        multiples = range(1, self.fourier_features + 1)
        features = [wave(k * scores) for k in multiples for wave in (tf.sin, tf.cos)]
        return {"context": tf.concat([standardised, scores, *features], -1)}

    def forward_and_log_det(self, weights, x, condition=None):
        return x, no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        return y, no_log_det(y)


@dataclasses.dataclass(frozen=True)
class LaplaceFrame(Frame):
    """z = L^T (theta - m), with m from Gauss-Newton steps on the posterior and L L^T = I + J^T J.

    The Laplace approximation as an invertible map. It is exact however far m is from the mode; the
    flow behind it learns only how the posterior differs from the Gaussian. The steps start at a
    linear regression of theta on the leading principal components of y.

    The context holds m, the components, the misfit at m, and log sigma where the simulator has one.

    Attributes:
      components: principal components of the decorrelated data, at most as many as there are data.
      steps: of Gauss-Newton.
    """

    components: int = 20
    steps: int = 2

    @property
    def context_size(self):
        return self.simulator.size + self.components + 1 + self.simulator.noise_varies

    def data_context(self, context):
        """Components, misfit and log sigma."""
        return context[:, self.simulator.size :]

    def init(self, rng):
        data = self.simulator.decorrelated_size
        shapes = {
            "mean": (data,),
            "axes": (data, self.components),
            "regression": (self.components, self.simulator.size),
            "misfit": (2,),
        }
        if self.simulator.noise_varies:
            shapes["log_sigma"] = (2,)
        return {name: Frozen(np.zeros(shape, np.float32)) for name, shape in shapes.items()}

    def measure(self, theta, y):
        """Principal components of y, and the regression of theta on them."""
        data = np.asarray(self.simulator.decorrelated(tf.constant(y)), np.float64)
        mean, axes, scale = principal.components(data, self.components)
        components = (data - mean) @ axes / scale
        regression = np.linalg.lstsq(components, theta.astype(np.float64), rcond=None)[0]
        weights = {"mean": mean, "axes": axes / scale, "regression": regression}
        as_data = {name: value.astype(y.dtype) for name, value in weights.items()}
        misfits = _in_parts(lambda w, y: _misfit(self._newton(w, y)[2]))
        tensors = {name: tf.constant(value) for name, value in as_data.items()}
        misfit = misfits(tensors, y).astype(np.float64)
        weights["misfit"] = np.array([misfit.mean(), misfit.std()])
        if self.simulator.noise_varies:
            log_sigma = np.asarray(y[:, -1], np.float64)
            weights["log_sigma"] = np.array([log_sigma.mean(), log_sigma.std() or 1.0])
        return weights

    def prepare(self, weights, condition):
        components, mean, residual, curvature = self._newton(weights, condition)
        misfit = (_misfit(residual) - weights["misfit"][0]) / weights["misfit"][1]
        context = [mean, components, misfit[:, None]]
        if self.simulator.noise_varies:
            log_sigma = weights["log_sigma"]
            context.append((condition[:, -1:] - log_sigma[0]) / log_sigma[1])
        cholesky = tf.linalg.cholesky(curvature)
        return {"mean": mean, "cholesky": cholesky, "context": tf.concat(context, -1)}

    def forward_and_log_det(self, weights, x, condition=None):
        centred = _by_observation(x, condition["mean"]) - condition["mean"][:, None]
        z = tf.reshape(tf.matmul(centred, condition["cholesky"]), tf.shape(x))
        return z, for_rows(_log_det(condition["cholesky"]), x)

    def inverse_and_log_det(self, weights, y, condition=None):
        z = tf.linalg.matrix_transpose(_by_observation(y, condition["mean"]))
        solved = tf.linalg.triangular_solve(condition["cholesky"], z, adjoint=True)
        theta = condition["mean"][:, None] + tf.linalg.matrix_transpose(solved)
        return tf.reshape(theta, tf.shape(y)), -for_rows(_log_det(condition["cholesky"]), y)

    def _newton(self, weights, y):
        """Components [B, K], and the best iterate: m [B, P], residuals, curvature [B, P, P]."""
        components = (self.simulator.decorrelated(y) - weights["mean"]) @ weights["axes"]
        theta, best = components @ weights["regression"], None
        # the rest is LAPACK's
        linearised = tf.function(
            self.simulator.residual_and_jacobian, jit_compile=self.simulator.by_xla, autograph=False
        )
        for step in range(self.steps + 1):
            residual, jacobian = linearised(theta, y)
            curvature = tf.eye(self.simulator.size, dtype=y.dtype)
            curvature += tf.matmul(jacobian, jacobian, transpose_a=True)
            cost = tf.reduce_sum(tf.square(residual), -1) + tf.reduce_sum(tf.square(theta), -1)
            best = _better((cost, theta, residual, curvature), best)
            if step < self.steps:
                theta = _gauss_newton_step(theta, residual, jacobian, curvature)
        return components, *best[1:]


def _in_parts(function) -> FixedShapeBatches:
    """function(weights, *rows) for PART rows at a time."""
    return FixedShapeBatches(function, ((1, PART),), jit=False)


@dataclasses.dataclass(frozen=True)
class Framed(Layer):
    """A flow behind a frame: f = layer o frame; the layer's condition is the frame's context.

    The frame is not trained. `fit` therefore passes the training data through it once, and models
    compute its state once an observation, whatever the number of samples.

    Attributes:
      frame: a `Frame`.
      layer: a conditional layer; its condition is as wide as the frame's context.
    """

    frame: Frame
    layer: Layer

    def init(self, rng):
        return {"frame": self.frame.init(rng), "layer": self.layer.init(rng)}

    def prepare(self, weights, condition):
        state = self.frame.prepare(weights["frame"], condition)
        context = self.layer.prepare(weights["layer"], state["context"])
        return {"state": state, "context": context}

    def forward_and_log_det(self, weights, x, condition=None):
        z, in_frame = self.frame.forward_and_log_det(weights["frame"], x, condition["state"])
        context = for_rows(condition["context"], x)
        v, log_det = self.layer.forward_and_log_det(weights["layer"], z, context)
        return v, in_frame + log_det

    def inverse_and_log_det(self, weights, y, condition=None):
        context = for_rows(condition["context"], y)
        z, log_det = self.layer.inverse_and_log_det(weights["layer"], y, context)
        x, in_frame = self.frame.inverse_and_log_det(weights["frame"], z, condition["state"])
        return x, log_det + in_frame

    def data_dependent_init(self, weights, x, condition=None):
        frame, z = self.frame.data_dependent_init(weights["frame"], x, condition)
        context = self.frame.prepare(frame, condition)["context"]
        layer, v = self.layer.data_dependent_init(weights["layer"], z, context)
        return {"frame": frame, "layer": layer}, v

    def check(self, x):
        self.layer.check(x)


def _by_observation(x, rows):
    """x [B S, P] as [B, S, P], for rows [B, ...] of observations."""
    return tf.reshape(x, [tf.shape(rows)[0], -1, x.shape[-1]])


def for_rows(values, x):
    """Values [B, ...] of observations, each repeated for its rows of x [B S, ...]."""
    if values.shape[0] is not None and values.shape[0] == x.shape[0]:
        return values
    return tf.repeat(values, tf.shape(x)[0] // tf.maximum(tf.shape(values)[0], 1), 0)


def _log_det(cholesky):
    return tf.reduce_sum(tf.math.log(tf.linalg.diag_part(cholesky)), -1)


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
        tf.where(tf.reshape(wins, [-1] + [1] * (n.shape.rank - 1)), n, o)
        for n, o in zip(new, old, strict=True)
    )


def _normal_score(quantiles, y):
    """The standard normal quantile of the rank of y [B, M] among quantiles [KNOTS, M],
    interpolated."""
    position = []
    for column in range(y.shape[-1]):
        knots = quantiles[:, column]
        k = tf.searchsorted(knots, y[:, column], side="right") - 1
        k = tf.clip_by_value(k, 0, KNOTS - 2)
        low, high = tf.gather(knots, k), tf.gather(knots, k + 1)
        t = tf.clip_by_value((y[:, column] - low) / tf.maximum(high - low, 1e-30), 0.0, 1.0)
        position.append((tf.cast(k, y.dtype) + t + 0.5) / KNOTS)
    return tf.math.ndtri(tf.stack(position, -1))
