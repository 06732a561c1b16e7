"""The maths of the point sets: each a pair of a draw from uniform and normal numbers, and its exact
log density.

Draws take (tf, uniform [n, 2], normal [n, D]) and give a tensor [n, D]; densities take float64 [N,
D], nats.
"""

import numpy as np

from flow_models.data.points.curves import Curve

LOG_2PI = float(np.log(2 * np.pi))
MODE_SCALE = (
    1.414  # the published eight-Gaussian set divides by this number, not by the square root of two
)
RING_RADII = (0.75, 1.5, 2.25, 3.0)
RING_NOISE = 0.08
PETALS, PETAL_RADIAL, PETAL_TANGENTIAL, PETAL_TWIST, PETAL_SCALE = 5, 0.3, 0.1, 0.25, 2.0

HALF_CIRCLES = (
    Curve(lambda xp, t: xp.stack([xp.cos(t), xp.sin(t)], -1), 0.0, np.pi, 1.0),
    Curve(lambda xp, t: xp.stack([1 - xp.cos(t), 0.5 - xp.sin(t)], -1), 0.0, np.pi, 1.0),
)
_TURNS = 3 * np.pi
SPIRALS = tuple(
    Curve(
        lambda xp, t, sign=sign: xp.stack([-sign * t * xp.cos(t), sign * t * xp.sin(t)], -1) / 3,
        0.0,
        _TURNS,
        float(np.hypot(1, _TURNS)) / 3,
        lambda xp, u: _TURNS * xp.sqrt(u),
        lambda t: 2 * t / _TURNS**2,
    )
    for sign in (1.0, -1.0)
)
S_SHAPE = Curve(
    lambda xp, t: xp.stack([xp.sin(t), xp.sign(t) * (xp.cos(t) - 1)], -1),
    -1.5 * np.pi,
    1.5 * np.pi,
    1.0,
)
ROLL = Curve(
    lambda xp, t: xp.stack([t * xp.cos(t), t * xp.sin(t)], -1) / 5,
    1.5 * np.pi,
    4.5 * np.pi,
    float(np.hypot(1, 4.5 * np.pi)) / 5,
)
TREFOIL = Curve(
    lambda xp, t: xp.stack(
        [xp.sin(t) + 2 * xp.sin(2 * t), xp.cos(t) - 2 * xp.cos(2 * t), -xp.sin(3 * t)], -1
    ),
    0.0,
    2 * np.pi,
    float(np.sqrt(34)),
)


def draw_banana(tf, uniform, normal):
    """x2 = 4 n2, x1 = x2^2 / 4 + n1."""
    second = 4 * normal[:, 1]
    return tf.stack([second**2 / 4 + normal[:, 0], second], -1)


def log_banana(x: np.ndarray) -> np.ndarray:
    """log N(x2; 0, 16) + log N(x1; x2^2 / 4, 1)."""
    return -0.5 * ((x[:, 1] / 4) ** 2 + (x[:, 0] - x[:, 1] ** 2 / 4) ** 2) - LOG_2PI - np.log(4)


def draw_rosenbrock(tf, uniform, normal):
    """x1 = u, x2 = v + 4 (u^2 + 1)."""
    return tf.stack([normal[:, 0], normal[:, 1] + 4 * (normal[:, 0] ** 2 + 1)], -1)


def log_rosenbrock(x: np.ndarray) -> np.ndarray:
    """log N(x1; 0, 1) + log N(x2; 4 (x1^2 + 1), 1)."""
    return -0.5 * (x[:, 0] ** 2 + (x[:, 1] - 4 * (x[:, 0] ** 2 + 1)) ** 2) - LOG_2PI


def draw_eight(tf, uniform, normal):
    """(4 (cos k pi/4, sin k pi/4) + n / 2) / 1.414, k uniform on 0 .. 7."""
    angle = tf.floor(8 * uniform[:, 0]) * (np.pi / 4)
    return (4 * tf.stack([tf.cos(angle), tf.sin(angle)], -1) + 0.5 * normal) / MODE_SCALE


def log_eight(x: np.ndarray) -> np.ndarray:
    """log of the mean over k of N(x; 4 (cos k pi/4, sin k pi/4) / 1.414, (0.5 / 1.414)^2 I)."""
    angle = np.arange(8) * np.pi / 4
    means = 4 * np.stack([np.cos(angle), np.sin(angle)], -1) / MODE_SCALE
    variance = (0.5 / MODE_SCALE) ** 2
    squares = ((x[:, None] - means) ** 2).sum(-1)
    return _log_mean(-0.5 * squares / variance) - LOG_2PI - np.log(variance)


def draw_checkerboard(tf, uniform, normal):
    """x1 uniform on [-2, 2], x2 uniform on the two unit squares of its column."""
    first, second = 4 * uniform[:, 0] - 2, 2 * uniform[:, 1]
    return tf.stack(
        [first, second + tf.floor(second) + tf.math.floormod(tf.floor(first), 2.0) - 2], -1
    )


def log_checkerboard(x: np.ndarray) -> np.ndarray:
    """-log 8 on the squares [i, i + 1) x [j, j + 1) of [-2, 2)^2 with i + j even, -inf
    elsewhere."""
    inside = ((x >= -2) & (x < 2)).all(1) & (np.floor(x).sum(1) % 2 == 0)
    return np.where(inside, -np.log(8), -np.inf)


def draw_rings(tf, uniform, normal):
    """R_k (cos a, sin a) + noise n, four equally likely radii, a uniform."""
    radius = RING_RADII[0] * (tf.floor(4 * uniform[:, 0]) + 1)
    angle = 2 * np.pi * uniform[:, 1]
    return radius[:, None] * tf.stack([tf.cos(angle), tf.sin(angle)], -1) + RING_NOISE * normal


def log_rings(x: np.ndarray) -> np.ndarray:
    """log of the mean over k of exp(-(r^2 + R_k^2) / (2 s^2)) I_0(r R_k / s^2) / (2 pi s^2), r =
    |x|."""
    from scipy.special import i0e

    r, radii, variance = np.hypot(x[:, :1], x[:, 1:]), np.array(RING_RADII), RING_NOISE**2
    logs = np.log(i0e(r * radii / variance)) - 0.5 * (r - radii) ** 2 / variance
    return _log_mean(logs) - LOG_2PI - np.log(variance)


def draw_pinwheel(tf, uniform, normal):
    """x = 2 R(2 pi k / 5 + 0.25 e^|v|) v, v = (1 + 0.3 n1, 0.1 n2)."""
    a, b = 1 + PETAL_RADIAL * normal[:, 0], PETAL_TANGENTIAL * normal[:, 1]
    angle = tf.floor(PETALS * uniform[:, 0]) * (2 * np.pi / PETALS) + PETAL_TWIST * tf.exp(
        tf.sqrt(a**2 + b**2)
    )
    cos, sin = tf.cos(angle), tf.sin(angle)
    return PETAL_SCALE * tf.stack([cos * a - sin * b, sin * a + cos * b], -1)


def log_pinwheel(x: np.ndarray) -> np.ndarray:
    """The straight petals' density after turning back by an angle of the radius alone, which keeps
    areas."""
    u = x / PETAL_SCALE
    angle = PETAL_TWIST * np.exp(np.minimum(np.hypot(u[:, 0], u[:, 1]), 700))
    return log_petals(_turn(u, -angle)) - 2 * np.log(PETAL_SCALE)


def log_petals(v: np.ndarray) -> np.ndarray:
    """log of the mean over k of N(R(-2 pi k / 5) v; (1, 0), diag(0.3, 0.1)^2)."""
    turned = np.stack(
        [_turn(v, np.full(len(v), -2 * np.pi * k / PETALS)) for k in range(PETALS)], 1
    )
    scaled = (turned - [1, 0]) / [PETAL_RADIAL, PETAL_TANGENTIAL]
    return _log_mean(-0.5 * (scaled**2).sum(-1)) - LOG_2PI - np.log(PETAL_RADIAL * PETAL_TANGENTIAL)


def log_blurred_uniform(y: np.ndarray, width: float, noise: float) -> np.ndarray:
    """log [(Phi(y / s) - Phi((y - width) / s)) / width]: uniform on [0, width] plus N(0, s^2)."""
    from scipy.special import log_ndtr

    outward = np.minimum(y, width - y)  # by symmetry, so that the difference never cancels
    larger, smaller = log_ndtr(outward / noise), log_ndtr((outward - width) / noise)
    return larger + np.log1p(-np.exp(smaller - larger)) - np.log(width)


def _turn(v: np.ndarray, angle: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * v[:, 0] - sin * v[:, 1], sin * v[:, 0] + cos * v[:, 1]], -1)


def _log_mean(logs: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(logs, axis=1) - np.log(logs.shape[1])
