"""Point sets in the plane whose density is a formula: a draw, its log density and an entropy each.

Draws take (tf, uniform [n, 2], normal [n, 2]) and return a tensor [n, 2]; densities take float64
[N, 2] and return nats [N].
"""

import math

import numpy as np

from flow_models.data.points.point_set import LOG_2PI, Entropy, PointSet, closed_form, on_grid

_MODE_SCALE = 1.414  # the published eight-Gaussian set divides by this number, not by sqrt(2)
_RING_RADII, _RING_NOISE = (0.75, 1.5, 2.25, 3.0), 0.08
_PETALS, _RADIAL, _TANGENTIAL, _TWIST, _PETAL_SCALE = 5, 0.3, 0.1, 0.25, 2.0
_GAUSSIAN_ENTROPY = LOG_2PI + 1  # of N(0, I) in the plane


def _draw_banana(tf, uniform, normal):
    """x2 = 4 n2, x1 = x2^2 / 4 + n1."""
    second = 4 * normal[:, 1]
    return tf.stack([second**2 / 4 + normal[:, 0], second], -1)


def _log_banana(x: np.ndarray) -> np.ndarray:
    """log N(x2; 0, 16) + log N(x1; x2^2 / 4, 1)."""
    return -0.5 * ((x[:, 1] / 4) ** 2 + (x[:, 0] - x[:, 1] ** 2 / 4) ** 2) - LOG_2PI - np.log(4)


def _draw_rosenbrock(tf, uniform, normal):
    """x1 = u, x2 = v + 4 (u^2 + 1)."""
    return tf.stack([normal[:, 0], normal[:, 1] + 4 * (normal[:, 0] ** 2 + 1)], -1)


def _log_rosenbrock(x: np.ndarray) -> np.ndarray:
    """log N(x1; 0, 1) + log N(x2; 4 (x1^2 + 1), 1)."""
    return -0.5 * (x[:, 0] ** 2 + (x[:, 1] - 4 * (x[:, 0] ** 2 + 1)) ** 2) - LOG_2PI


def _draw_eight(tf, uniform, normal):
    """(4 (cos k pi/4, sin k pi/4) + n / 2) / 1.414, k uniform on 0 .. 7."""
    angle = tf.floor(8 * uniform[:, 0]) * (np.pi / 4)
    return (4 * tf.stack([tf.cos(angle), tf.sin(angle)], -1) + 0.5 * normal) / _MODE_SCALE


def _log_eight(x: np.ndarray) -> np.ndarray:
    """log of the mean over k of N(x; 4 (cos k pi/4, sin k pi/4) / 1.414, (0.5 / 1.414)^2 I)."""
    angle = np.arange(8) * np.pi / 4
    means = 4 * np.stack([np.cos(angle), np.sin(angle)], -1) / _MODE_SCALE
    variance = (0.5 / _MODE_SCALE) ** 2
    squares = ((x[:, None] - means) ** 2).sum(-1)
    return _log_mean(-0.5 * squares / variance) - LOG_2PI - np.log(variance)


def _draw_checkerboard(tf, uniform, normal):
    """x1 uniform on [-2, 2], x2 uniform on the two unit squares of its column."""
    first, second = 4 * uniform[:, 0] - 2, 2 * uniform[:, 1]
    second = second + tf.floor(second) + tf.math.floormod(tf.floor(first), 2.0) - 2
    return tf.stack([first, second], -1)


def _log_checkerboard(x: np.ndarray) -> np.ndarray:
    """-log 8 on the squares [i, i + 1) x [j, j + 1) of [-2, 2)^2 with i + j even, else -inf."""
    inside = ((x >= -2) & (x < 2)).all(1) & (np.floor(x).sum(1) % 2 == 0)
    return np.where(inside, -np.log(8), -np.inf)


def _draw_rings(tf, uniform, normal):
    """R_k (cos a, sin a) + noise n, four equally likely radii, a uniform."""
    radius = _RING_RADII[0] * (tf.floor(4 * uniform[:, 0]) + 1)
    angle = 2 * np.pi * uniform[:, 1]
    return radius[:, None] * tf.stack([tf.cos(angle), tf.sin(angle)], -1) + _RING_NOISE * normal


def _log_rings(x: np.ndarray) -> np.ndarray:
    """log of the mean over k of exp(-(r^2 + R_k^2) / (2 s^2)) I_0(r R_k / s^2) / (2 pi s^2), with
    r = |x|."""
    from scipy.special import i0e

    r, radii, variance = np.hypot(x[:, :1], x[:, 1:]), np.array(_RING_RADII), _RING_NOISE**2
    logs = np.log(i0e(r * radii / variance)) - 0.5 * (r - radii) ** 2 / variance
    return _log_mean(logs) - LOG_2PI - np.log(variance)


def _draw_pinwheel(tf, uniform, normal):
    """x = 2 R(2 pi k / 5 + 0.25 e^|v|) v, v = (1 + 0.3 n1, 0.1 n2)."""
    a, b = 1 + _RADIAL * normal[:, 0], _TANGENTIAL * normal[:, 1]
    twist = _TWIST * tf.exp(tf.sqrt(a**2 + b**2))
    angle = tf.floor(_PETALS * uniform[:, 0]) * (2 * np.pi / _PETALS) + twist
    cos, sin = tf.cos(angle), tf.sin(angle)
    return _PETAL_SCALE * tf.stack([cos * a - sin * b, sin * a + cos * b], -1)


def _log_pinwheel(x: np.ndarray) -> np.ndarray:
    """The density of the straight petals; the twist depends on the radius alone, so it keeps
    areas."""
    u = x / _PETAL_SCALE
    angle = _TWIST * np.exp(np.minimum(np.hypot(u[:, 0], u[:, 1]), 700))
    return _log_petals(_turn(u, -angle)) - 2 * np.log(_PETAL_SCALE)


def _log_petals(v: np.ndarray) -> np.ndarray:
    """log of the mean over k of N(R(-2 pi k / 5) v; (1, 0), diag(0.3, 0.1)^2)."""
    angles = -2 * np.pi * np.arange(_PETALS) / _PETALS
    turned = np.stack([_turn(v, angle) for angle in angles], 1)
    squares = (((turned - [1, 0]) / [_RADIAL, _TANGENTIAL]) ** 2).sum(-1)
    return _log_mean(-0.5 * squares) - LOG_2PI - np.log(_RADIAL * _TANGENTIAL)


def _pinwheel_entropy(_) -> Entropy:
    """That of the straight petals plus log |det| of the scale, since the twist keeps areas."""
    value, error = on_grid(_log_petals, [-3.8, -3.8], [3.8, 3.8], 0.4 * _TANGENTIAL)
    return value + 2 * math.log(_PETAL_SCALE), error


def _turn(v: np.ndarray, angle) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * v[:, 0] - sin * v[:, 1], sin * v[:, 0] + cos * v[:, 1]], -1)


def _log_mean(logs: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(logs, axis=1) - np.log(logs.shape[1])


def _in_square(reach: float, step: float):
    """The entropy by a sum over [-reach, reach]^2."""
    return lambda density: on_grid(density, [-reach, -reach], [reach, reach], step)


SETS = [
    PointSet(
        "banana",
        2,
        0.0,
        "x2 ~ N(0, 4^2), x1 given x2 ~ N(x2^2 / 4, 1)",
        _draw_banana,
        _log_banana,
        closed_form(_GAUSSIAN_ENTROPY + math.log(4)),
    ),
    PointSet(
        "rosenbrock",
        2,
        0.0,
        "x1 ~ N(0, 1), x2 given x1 ~ N(4 (x1^2 + 1), 1)",
        _draw_rosenbrock,
        _log_rosenbrock,
        closed_form(_GAUSSIAN_ENTROPY),
    ),
    PointSet(
        "eight_gaussians",
        2,
        0.5 / _MODE_SCALE,
        "eight Gaussians on a circle of radius 4, sd 0.5, all divided by 1.414",
        _draw_eight,
        _log_eight,
        _in_square(9 / _MODE_SCALE, 0.14),
    ),
    PointSet(
        "checkerboard",
        2,
        0.0,
        "uniform on 8 unit squares of [-2, 2]^2, alternate as on a board",
        _draw_checkerboard,
        _log_checkerboard,
        closed_form(math.log(8)),
    ),
    PointSet(
        "pinwheel",
        2,
        0.0,
        "five petals N((1, 0), diag(0.3, 0.1)^2) turned by 2 pi k / 5 and twisted by "
        "0.25 exp(radius), times 2",
        _draw_pinwheel,
        _log_pinwheel,
        _pinwheel_entropy,
    ),
    PointSet(
        "rings",
        2,
        _RING_NOISE,
        "four equally likely circles of radius 0.75, 1.5, 2.25, 3, angle uniform, "
        f"plus N(0, {_RING_NOISE:g}^2) noise",
        _draw_rings,
        _log_rings,
        _in_square(3 + 9 * _RING_NOISE, 0.4 * _RING_NOISE),
    ),
]
