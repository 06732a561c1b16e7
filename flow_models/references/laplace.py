"""The Gaussian at the mode of a posterior (Laplace), by damped Gauss-Newton steps, and a search for
other modes.

    A = I + J^T J,   step = -(A + lambda I)^-1 (J^T r + theta)      (Levenberg 1944, Marquardt 1963)
    p(theta | y) ~ N(mode, A^-1),   entropy = P/2 log(2 pi e) - 1/2 log |A|

in whitened coordinates.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from flow_models.simulators.simulator import Simulator

# nats that a Newton step still promises: the mode is right to 1e-4 posterior standard deviations
_TOLERANCE = 1e-8
# damping at which rounding, not curvature, rejects the steps (float32 stops at 1e-5 nats)
_STALLED = 1e8
_SAME = 0.5  # posterior standard deviations; two modes within them are one


@dataclasses.dataclass(frozen=True)
class Laplace:
    """Modes theta [B, P], float64 by default, and the Gaussian there.

    `factor` [B, P, P] is the lower Cholesky factor L of the precision A = I + J^T J. `objective`
    [B] is (|r|^2 + |theta|^2) / 2 in nats. `decrement` [B] is what a further Newton step promises,
    in nats.
    """

    mean: np.ndarray
    factor: np.ndarray
    objective: np.ndarray
    decrement: np.ndarray

    @property
    def converged(self) -> np.ndarray:
        """Whether each search arrived at a mode, [B]."""
        return self.decrement < 1e-4

    @property
    def entropy(self) -> np.ndarray:
        """Entropy [B] in nats, of whitened parameters."""
        return 0.5 * self.mean.shape[1] * math.log(2 * math.pi * math.e) - self._half_log_det

    @property
    def log_mass(self) -> np.ndarray:
        """log of the integral of exp(-objective) over the Gaussian, [B]: the weight of a mode."""
        return (
            -self.objective - self._half_log_det + 0.5 * self.mean.shape[1] * math.log(2 * math.pi)
        )

    @property
    def _half_log_det(self):
        return np.log(np.diagonal(self.factor, axis1=1, axis2=2)).sum(1)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Draws [B, n, P]: mean + L^-T u."""
        u = np.random.default_rng(seed).normal(size=(len(self.mean), self.mean.shape[1], n))
        deviation = np.linalg.solve(np.swapaxes(self.factor, 1, 2), u)
        return (self.mean[:, :, None] + deviation).swapaxes(1, 2)

    def take(self, index) -> "Laplace":
        """The rows given by an index."""
        return Laplace(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Modes:
    """The modes of B posteriors.

    `best` has the greatest mass of each. `others[b]` holds the others found, [K, P], and
    `masses[b]` their masses relative to the best, [K], decreasing.
    """

    best: Laplace
    others: tuple[np.ndarray, ...]
    masses: tuple[np.ndarray, ...]


def gauss_newton(
    simulator: Simulator, y, steps: int = 100, dtype=tf.float64, start=None
) -> Laplace:
    """The mode of the posterior of each row of y [B, M], from `start` [B, P] or the prior mean, in
    at most `steps` steps.

    Each row has its own damping; `converged` says whether it arrived.
    """
    y = tf.cast(y, dtype)
    start = (
        tf.zeros([y.shape[0], simulator.size], dtype) if start is None else tf.cast(start, dtype)
    )
    return Laplace(*(value.numpy() for value in _compiled(simulator, steps)(start, y)))


def laplace(
    simulator: Simulator, y, starts: int = 1, seed: int = 0, steps: int = 100, dtype=tf.float64
) -> Laplace:
    """The Gaussian at the mode of greatest mass that searches from `starts` points find."""
    return modes(simulator, y, starts, seed, steps, dtype).best


def modes(
    simulator: Simulator, y, starts: int = 8, seed: int = 0, steps: int = 100, dtype=tf.float64
) -> Modes:
    """Distinct modes found by searches from the prior mean and from `starts` - 1 prior draws."""
    rows = len(y)
    begin = np.random.default_rng(seed).normal(size=(starts, rows, simulator.size))
    begin[0] = 0
    found = gauss_newton(
        simulator, np.tile(y, (starts, 1)), steps, dtype, begin.reshape(-1, simulator.size)
    )
    ranked = [_distinct(found, np.arange(row, starts * rows, rows)) for row in range(rows)]
    best = found.take([index[0] for index in ranked])
    masses = tuple(np.exp(found.log_mass[index[1:]] - found.log_mass[index[0]]) for index in ranked)
    return Modes(best, tuple(found.mean[index[1:]] for index in ranked), masses)


def _distinct(found: Laplace, index: np.ndarray) -> np.ndarray:
    """Indices of distinct converged modes among `index`, by decreasing mass; the first is kept in
    any case."""
    order = index[np.lexsort((-found.log_mass[index], ~found.converged[index]))]
    kept = order[:1]
    for i in order[1:]:
        difference = found.mean[kept] - found.mean[i]
        distance = np.linalg.norm(np.einsum("kqp,kq->kp", found.factor[kept], difference), axis=1)
        if found.converged[i] and distance.min() > _SAME:
            kept = np.append(kept, i)
    return kept


@functools.lru_cache(maxsize=16)
def _compiled(simulator: Simulator, steps: int):
    """Compiles the search. XLA compiles the simulator alone: on a CPU factorisations are faster
    outside it."""
    linearise = tf.function(
        simulator.residual_and_jacobian, jit_compile=simulator.by_xla, autograph=False
    )

    @tf.function(autograph=False, reduce_retracing=True)
    def descend(theta, y):
        state = (0, theta, *_normal(theta, *linearise(theta, y)), tf.ones_like(theta[:, 0]))
        going = lambda i, theta, precision, gradient, objective, damping: (
            (i < steps)
            & tf.reduce_any((_decrement(precision, gradient) > _TOLERANCE) & (damping < _STALLED))
        )
        _, theta, precision, gradient, objective, _ = tf.while_loop(
            going, lambda *s: _step(linearise, y, *s), state
        )
        return theta, tf.linalg.cholesky(precision), objective, _decrement(precision, gradient)

    return descend


def _step(linearise, y, i, theta, precision, gradient, objective, damping):
    """One damped step of every row, taken where it lowers the objective; the damping falls there
    and rises elsewhere."""
    damped = tf.linalg.set_diag(precision, tf.linalg.diag_part(precision) + damping[:, None])
    trial = theta - _solve(damped, gradient)
    new = _normal(trial, *linearise(trial, y))
    better = new[2] <= objective  # false for NaN
    choose = lambda a, b: tf.where(tf.reshape(better, [-1] + [1] * (len(a.shape) - 1)), a, b)
    old = (theta, precision, gradient, objective)
    return i + 1, *map(choose, (trial, *new), old), tf.where(better, damping / 5, damping * 4)


def _normal(theta, r, jacobian):
    """Precision I + J^T J, gradient J^T r + theta and objective."""
    precision = tf.linalg.matmul(jacobian, jacobian, transpose_a=True) + tf.eye(
        theta.shape[1], dtype=theta.dtype
    )
    gradient = tf.linalg.matvec(jacobian, r, transpose_a=True) + theta
    return (
        precision,
        gradient,
        0.5 * (tf.reduce_sum(tf.square(r), 1) + tf.reduce_sum(tf.square(theta), 1)),
    )


def _solve(precision, gradient):
    return tf.linalg.cholesky_solve(tf.linalg.cholesky(precision), gradient[..., None])[..., 0]


def _decrement(precision, gradient):
    """Decrease [B] of the objective that a full Newton step promises, in nats."""
    return 0.5 * tf.reduce_sum(gradient * _solve(precision, gradient), 1)
