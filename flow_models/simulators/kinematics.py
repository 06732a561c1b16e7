"""Inverse kinematics: an arm of three segments in the plane, and the exact posterior of its pose
given its end point.

Benchmarking invertible architectures on inverse problems (Kruse, Ardizzone, Rother and Koethe
2021). Angles follow their published code: each segment turns by its own angle relative to the one
before.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.simulators.resampling import posterior_draws
from flow_models.simulators.simulator import Simulator

SD = (0.25, 0.5, 0.5, 0.5)  # of the height (length) and of the three angles (rad)
LENGTHS = (0.5, 0.5, 1.0)
# of the directions, which are sums of independent angles
COVARIANCE = SD[1] ** 2 * np.minimum.outer((1, 2, 3), (1, 2, 3))
PROPOSALS = 20_000  # for each of the three choices of the exact sampler, at first


@dataclasses.dataclass(frozen=True)
class Kinematics(Simulator):
    """y = end point of the arm: with directions a_i = x_2 + ... + x_(i+1),

        y_1 = sum_i l_i cos a_i,   y_2 = x_1 + sum_i l_i sin a_i,   x = sd theta

    x = (height of the first joint, three angles in rad), lengths l = 0.5, 0.5, 1. The problem has
    no noise. Observations get N(0, tolerance^2): without it the posterior lies on a surface and its
    density is unbounded.
    """

    tolerance: float = 0.004

    def __post_init__(self):
        super().__post_init__()
        if not self.tolerance > 0:
            raise UserError(f"the tolerance is {self.tolerance}; it must be above 0")

    @property
    def parameter_names(self):
        return "height", "angle_1_rad", "angle_2_rad", "angle_3_rad"

    @property
    def data_names(self):
        return "end_horizontal", "end_vertical"

    def physical(self, theta):
        return theta * tf.constant(SD, theta.dtype)

    def whiten(self, x):
        return x / tf.constant(SD, x.dtype), tf.fill(
            tf.shape(x)[:-1], tf.constant(-math.log(math.prod(SD)), x.dtype)
        )

    def joints(self, theta: tf.Tensor) -> tf.Tensor:
        """The four ends of the segments [B, 4, 2], from the first joint at (0, x_1) to the end
        point."""
        x = self.physical(theta)
        direction = tf.cumsum(x[:, 1:], 1)
        lengths = tf.constant(LENGTHS, x.dtype)
        steps = tf.stack([lengths * tf.cos(direction), lengths * tf.sin(direction)], -1)
        start = tf.stack([tf.zeros_like(x[:, 0]), x[:, 0]], -1)[:, None]
        return tf.concat([start, start + tf.cumsum(steps, 1)], 1)

    def forward(self, theta):
        return self.joints(theta)[:, -1]

    def observe(self, clean, seed):
        return clean + self.tolerance * tf.random.stateless_normal(
            tf.shape(clean), seed, dtype=clean.dtype
        )

    def residual_and_jacobian(self, theta, y):
        """dy/dx_(j+1) is the vector from joint j to the end point, turned by a right angle."""
        joints = self.joints(theta)
        arm = joints[:, -1:] - joints[:, :-1]
        turned = tf.stack([-arm[..., 1], arm[..., 0]], 1)
        height = tf.constant([[[0.0], [1.0]]], theta.dtype) * tf.ones_like(turned[..., :1])
        jacobian = tf.concat([height, turned], -1) * tf.constant(SD, theta.dtype)
        return (joints[:, -1] - y) / self.tolerance, jacobian / self.tolerance


def exact_posterior(
    y, n: int, seed: int = 0, proposals: int = PROPOSALS
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of p(x | y) without tolerance, x [B, n, 4] for end points y [B, 2], and effective
    sample sizes [B].

    On the surface F(x) = y two directions are free. For each choice of two, these come from the
    prior, the third is solved from y_1 (arccos with both signs) and x_1 from y_2. A candidate (a,
    x_1) has the weight

        p(a) p(x_1) / sum_i p(a_j, a_k) |l_i sin a_i|

    the posterior over the mean density of the three proposals: the balance heuristic (Optimally
    combining sampling techniques for Monte Carlo rendering, Veach and Guibas 1995). Then
    `resampling`. All in float64, about 40 ms per observation.
    """
    return posterior_draws(_candidates, np.asarray(y, float).reshape(-1, 2), n, seed, proposals)


def _candidates(y, proposals, rng):
    """x [6 N, 4] on the surface, and their weights [6 N]."""
    solved = [_solve(i, y[0], rng.normal(size=(proposals, 2))) for i in range(3)]
    a, reached = (np.concatenate(parts) for parts in zip(*solved))
    sine = np.sin(a)
    x1 = y[1] - sine @ LENGTHS
    density = sum(np.exp(_log_pair(i, a)) * np.abs(LENGTHS[i] * sine[:, i]) for i in range(3))
    weights = (
        reached * np.exp(_log_directions(a) - 0.5 * (x1 / SD[0]) ** 2) / np.maximum(density, 1e-300)
    )
    return np.column_stack([x1, a[:, 0], np.diff(a)]), weights


def _solve(i: int, y1: float, normal):
    """Directions [2 N, 3] with direction i solved from y_1, and whether that is possible [2 N].

    Of the angles that differ by whole turns, the one nearest the mean given the other two is taken;
    the others are more than six standard deviations away.
    """
    others = [d for d in range(3) if d != i]
    covariance = COVARIANCE[np.ix_(others, others)]
    pair = normal @ np.linalg.cholesky(covariance).T
    cosine = (y1 - np.cos(pair) @ np.take(LENGTHS, others)) / LENGTHS[i]
    angle = np.arccos(np.clip(cosine, -1, 1))
    mean = pair @ np.linalg.solve(covariance, COVARIANCE[others, i])
    a = np.empty((2 * len(pair), 3))
    a[:, others] = np.tile(pair, (2, 1))
    a[:, i] = np.concatenate(
        [each + 2 * np.pi * np.round((mean - each) / (2 * np.pi)) for each in (angle, -angle)]
    )
    return a, np.tile(np.abs(cosine) < 1, 2)


def _log_directions(a):
    """log p of directions a [..., 3], up to a constant."""
    return -0.5 * np.square(np.diff(a, axis=-1, prepend=0.0)).sum(-1) / SD[1] ** 2


def _log_pair(i: int, a):
    """log p of the two directions other than i, up to a constant that is the same for all i."""
    others = [d for d in range(3) if d != i]
    covariance = COVARIANCE[np.ix_(others, others)]
    (p, q), (_, r) = np.linalg.inv(covariance)
    j, k = a[:, others[0]], a[:, others[1]]
    return -0.5 * (p * j * j + 2 * q * j * k + r * k * k) - 0.5 * math.log(
        np.linalg.det(covariance)
    )
