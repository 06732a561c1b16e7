"""Posterior samples of a network made better with the simulator itself: importance resampling, steps onto the data.

Always a row of its own beside the network's figures. In this order: weights need the density of the samples as drawn, and
a step along the normals of the surface F(theta) = y then takes the tolerance off without moving mass along it.
"""

import numpy as np
import tensorflow as tf

from flow_models.errors import UserError
from flow_models.simulators.resampling import resample
from flow_models.simulators.simulator import Simulator


def gauss_newton(simulator: Simulator, theta, y, steps: int = 3) -> np.ndarray:
    """Whitened parameters [B, S, P] moved towards forward(theta) = y, y [B, M], the shortest way:

        theta <- theta - J^T (J J^T + I)^-1 r

    with r and J in units of the noise (`residual_and_jacobian`), so that directions which the data do not feel stay as they
    are. This is the Gauss-Newton step of |r|^2 / 2 + |step|^2 / 2 (Levenberg and Marquardt).
    """
    step = _compiled(lambda t, d: _steps(simulator, t, d, steps))
    return np.stack([step(*rows).numpy() for rows in _rows(theta, y)])


def log_weights(simulator: Simulator, theta, y, log_q) -> np.ndarray:
    """log of posterior over proposal, [B, S], but for a constant a row; theta [B, S, P], y [B, M].

    log_q [B, S] is the log-density of the samples in the coordinates theta.
    """
    log_q = np.asarray(log_q, np.float64)
    if log_q.shape != np.shape(theta)[:2]:
        raise UserError(f"log_q has shape {list(log_q.shape)} for samples {list(np.shape(theta))}")
    log_p = _compiled(simulator.log_posterior)
    return np.stack([log_p(*rows).numpy() for rows in _rows(theta, y)]) - log_q


def importance_resample(theta, log_weights, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n of the samples [B, S, P] of each observation in proportion to their weights, and effective sample sizes [B].

    Take S several times n, so that few are taken twice. Weights that are not finite count as none.
    """
    theta, log_weights = np.asarray(theta), np.asarray(log_weights, np.float64)
    usable = np.isfinite(log_weights)
    if not usable.any(1).all():
        raise UserError(f"observation {int(np.argmin(usable.any(1)))} has no sample of positive weight")
    top = np.where(usable, log_weights, -np.inf).max(1, keepdims=True)
    weights = np.where(usable, np.exp(np.minimum(log_weights - top, 0.0)), 0.0)
    chosen = np.stack([resample(w, n, np.random.default_rng((seed, i))) for i, w in enumerate(weights)])
    return np.take_along_axis(theta, chosen[..., None], 1), weights.sum(1) ** 2 / np.square(weights).sum(1)


def _steps(simulator, theta, y, steps):
    for _ in range(steps):
        r, jacobian = simulator.residual_and_jacobian(theta, y)
        gram = tf.matmul(jacobian, jacobian, transpose_b=True) + tf.eye(r.shape[-1], dtype=theta.dtype)
        solved = tf.linalg.cholesky_solve(tf.linalg.cholesky(gram), r[..., None])
        theta = theta - tf.matmul(jacobian, solved, transpose_a=True)[..., 0]
    return theta


def _compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _rows(theta, y):
    """Samples [S, P] of one observation after the other, each with its y on every row."""
    theta = np.asarray(theta)
    y = np.asarray(y, theta.dtype)
    if theta.ndim != 3 or y.ndim != 2 or len(y) != len(theta):
        raise UserError(f"samples [B, S, P] go with y [B, M]; got {list(theta.shape)} and {list(y.shape)}")
    for samples, observation in zip(theta, y):
        yield tf.constant(samples), tf.constant(np.tile(observation, (len(samples), 1)))
