"""Steps onto the data: moves posterior samples of a network to where the simulator gives the
observation.

The result is always a separate row beside the network's figures. Apply it after importance
resampling, not before: the weights need the density of the samples as drawn. Steps along the
normals of the surface F(theta) = y remove the tolerance and move little along the surface.
"""

import functools

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.simulators.simulator import Simulator

LONGEST = 1.0  # step, in standard deviations of the prior: beyond it the slopes are others


def gauss_newton(simulator: Simulator, theta, y, steps: int = 3) -> np.ndarray:
    """Whitened parameters [B, S, P] moved the shortest way towards forward(theta) = y, y [B, M]:

        theta <- theta - J^T (J J^T + I)^-1 r

    r and J are in units of the noise (`residual_and_jacobian`), so directions that the data do not
    determine stay as they are. This is the Gauss-Newton step of |r|^2 / 2 + |step|^2 / 2 (Levenberg
    and Marquardt), cut at LONGEST.
    """
    step = _compiled_steps(simulator, steps)
    return np.stack([step(*rows).numpy() for rows in _rows(theta, y)])


def _steps(simulator, theta, y, steps):
    for _ in range(steps):
        r, jacobian = simulator.residual_and_jacobian(theta, y)
        gram = tf.matmul(jacobian, jacobian, transpose_b=True) + tf.eye(
            r.shape[-1], dtype=theta.dtype
        )
        solved = tf.linalg.cholesky_solve(tf.linalg.cholesky(gram), r[..., None])
        step = tf.matmul(jacobian, solved, transpose_a=True)[..., 0]
        length = tf.norm(step, axis=-1, keepdims=True)
        theta = theta - step * (LONGEST / tf.maximum(length, LONGEST))
    return theta


@functools.lru_cache(maxsize=8)
def _compiled_steps(simulator, steps):
    return tf.function(
        lambda theta, y: _steps(simulator, theta, y, steps), jit_compile=True, autograph=False
    )


def _rows(theta, y):
    """Samples [S, P] of each observation in turn, with its y repeated in every row."""
    theta = np.asarray(theta)
    y = np.asarray(y, theta.dtype)
    if theta.ndim != 3 or y.ndim != 2 or len(y) != len(theta):
        raise UserError(
            f"samples [B, S, P] go with y [B, M]; got {list(theta.shape)} and {list(y.shape)}"
        )
    for samples, observation in zip(theta, y):
        yield tf.constant(samples), tf.constant(np.tile(observation, (len(samples), 1)))
