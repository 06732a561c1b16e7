"""Inverse ballistics: a body thrown against air resistance, and the exact posterior of the throw
given where it lands.

Benchmarking invertible architectures on inverse problems (Kruse, Ardizzone, Rother and Koethe
2021).
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.simulators.resampling import posterior_draws
from flow_models.simulators.simulator import Simulator

GRAVITY, DRAG, MASS = 9.81, 0.25, 0.2  # m/s^2, kg/s, kg
# s, m: the units in which the fall has no constants
TIME, REACH = MASS / DRAG, GRAVITY * (MASS / DRAG) ** 2
POSITION_SD, HEIGHT_MEAN, HEIGHT_SD = 0.5, 1.5, 0.5  # m
ANGLES = (math.radians(9.0), math.radians(81.0))
SPEED_MEAN = 15.0  # m/s
NEWTON_STEPS = 8  # from above, quadratic: exact in float64 after 7, over 10^6 draws
PROPOSALS = 100_000  # of the exact sampler, at first


@dataclasses.dataclass(frozen=True)
class Ballistics(Simulator):
    """y = where the body lands, x = (position, height, angle, speed) of the throw, in m, rad, m/s.

    Linear drag k v: with T = m / k, u = t / T and v = speed (cos, sin) angle,

        horizontal(t) = position + T v_1 (1 - e^-u)
        vertical(t) = height + T (v_2 + g T) (1 - e^-u) - g T t

    and y = horizontal at the time when vertical is 0. The prior: position ~ N(0, 0.5^2); height ~
    N(1.5, 0.5^2), thrown from the ground if negative; angle uniform between 9 and 81 degrees. These
    and the constants are those of the authors' published code. Its speed is Poisson(15), a whole
    number, for which no density over four numbers exists; here the speed is (sqrt(14.75) + theta_4
    / 2)^2, with the same mean, variance 14.9 and nearly the same shape. Observations have noise
    N(0, tolerance^2), which the paper does not add.
    """

    tolerance: float = 0.02

    def __post_init__(self):
        super().__post_init__()
        if not self.tolerance > 0:
            raise UserError(f"the tolerance is {self.tolerance}; it must be above 0")

    @property
    def parameter_names(self):
        return "position_m", "height_m", "angle_rad", "speed_m_per_s"

    @property
    def data_names(self):
        return ("landing_m",)

    def physical(self, theta):
        share = 0.5 * tf.math.erfc(-theta[..., 2] / math.sqrt(2.0))
        return tf.stack(
            [
                POSITION_SD * theta[..., 0],
                HEIGHT_MEAN + HEIGHT_SD * theta[..., 1],
                ANGLES[0] + (ANGLES[1] - ANGLES[0]) * share,
                tf.square(math.sqrt(SPEED_MEAN - 0.25) + 0.5 * theta[..., 3]),
            ],
            -1,
        )

    def whiten(self, x):
        span = ANGLES[1] - ANGLES[0]
        angle = tf.math.ndtri((x[:, 2] - ANGLES[0]) / span)
        root = tf.sqrt(x[:, 3])
        theta = [
            x[:, 0] / POSITION_SD,
            (x[:, 1] - HEIGHT_MEAN) / HEIGHT_SD,
            angle,
            2 * (root - math.sqrt(SPEED_MEAN - 0.25)),
        ]
        log_slope = (
            0.5 * tf.square(angle)
            + 0.5 * math.log(2 * math.pi)
            - math.log(span * POSITION_SD * HEIGHT_SD)
        )
        return tf.stack(theta, -1), log_slope - tf.math.log(root)

    def forward(self, theta):
        return landing(self.physical(theta))

    def observe(self, clean, seed):
        return clean + self.tolerance * tf.random.stateless_normal(
            tf.shape(clean), seed, dtype=clean.dtype
        )

    def residual_and_jacobian(self, theta, y):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(theta)
            clean = self.forward(theta)
        return (clean - y) / self.tolerance, tape.gradient(clean, theta)[:, None] / self.tolerance


def landing(x: tf.Tensor) -> tf.Tensor:
    """Landing points [B, 1] of throws x [B, 4], m.

    The time of flight solves d + b (1 - e^-u) = u with d = height / (g T^2), b = 1 + v_2 / (g T).
    The equation is concave in u, so Newton steps from u = d + b, above the root, stay above it. The
    last step starts from a constant and carries the derivative.
    """
    height, angle, speed = tf.maximum(x[:, 1], 0.0), x[:, 2], x[:, 3]
    d, b = height / REACH, 1 + speed * tf.sin(angle) / (GRAVITY * TIME)
    u = d + b
    for _ in range(NEWTON_STEPS):
        u = _closer(u, d, b)
    u = _closer(tf.stop_gradient(u), d, b)
    return (x[:, 0] - TIME * speed * tf.cos(angle) * tf.math.expm1(-u))[:, None]


def _closer(u, d, b):
    """One Newton step; its slope is held constant, so that the derivative is that of the root."""
    slope = tf.stop_gradient(b * tf.exp(-u) - 1)
    return u - (d - b * tf.math.expm1(-u) - u) / slope


def exact_posterior(
    y, n: int, seed: int = 0, proposals: int = PROPOSALS
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of p(x | y) without tolerance, x [B, n, 4] for landings y [B, 1], and effective sample
    sizes [B].

    Height, angle and speed are drawn from the prior. The position is the rest, y - range, and its
    prior density is the weight; this is exact because the position only shifts the landing. Then
    `resampling`. All in float64.
    """
    return posterior_draws(_candidates, np.asarray(y, float).reshape(-1, 1), n, seed, proposals)


def _candidates(y, proposals, rng):
    """Throws x [N, 4] that land at y, and their weights [N]."""
    theta = rng.normal(size=(proposals, 4))
    theta[:, 0] = 0.0
    x = Ballistics().physical(tf.constant(theta))
    x = np.column_stack([y - landing(x).numpy()[:, 0], x.numpy()[:, 1:]])
    return x, np.exp(-0.5 * (x[:, 0] / POSITION_SD) ** 2)
