"""Point sets that are curves with Gaussian noise, in the plane or in space."""

from collections.abc import Sequence

import numpy as np

from flow_models.data.points.curves import Curve, bounds, draw, log_density
from flow_models.data.points.point_set import PointSet, on_grid

_TAIL = 9  # standard deviations of noise beyond which a density is negligible
# of the entropy's sum, in standard deviations of noise; by dimension, as terms are many in space
_STEP = {2: 0.4, 3: 0.6}

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


def _on_curves(name: str, curves: Sequence[Curve], noise: float, definition: str) -> PointSet:
    """Equally likely curves with noise."""
    corners = bounds(curves, _TAIL * noise)
    size = len(corners[0])
    return PointSet(
        name,
        size,
        noise,
        f"{definition}, plus N(0, {noise:g}^2) noise",
        lambda tf, uniform, normal: draw(tf, curves, uniform[:, 0], normal, noise),
        lambda x: log_density(x, curves, noise),
        lambda density: on_grid(density, *corners, _STEP[size] * noise),
    )


def _strip(name: str, curve: Curve, width: float, noise: float, definition: str) -> PointSet:
    """A noisy curve in the plane of x1 and x3, with x2 uniform on [0, width] plus the same
    noise."""

    def sampler(tf, uniform, normal):
        plane = curve.position(tf, curve.parameter(tf, uniform[:, 0]))
        return tf.stack([plane[:, 0], width * uniform[:, 1], plane[:, 1]], -1) + noise * normal

    def log_across(y):
        return log_blurred_uniform(y[:, 0], width, noise)

    def log_in_plane(x):
        return log_density(x, (curve,), noise)

    def entropy(_):
        tail = _TAIL * noise
        plane = on_grid(log_in_plane, *bounds((curve,), tail), _STEP[2] * noise)
        across = on_grid(log_across, [-tail], [width + tail], 0.1 * noise)
        return plane[0] + across[0], plane[1] + across[1]

    return PointSet(
        name,
        3,
        noise,
        f"{definition}, x2 uniform on [0, {width:g}], plus N(0, {noise:g}^2) noise",
        sampler,
        lambda x: log_in_plane(x[:, ::2]) + log_across(x[:, 1:2]),
        entropy,
    )


def log_blurred_uniform(y: np.ndarray, width: float, noise: float) -> np.ndarray:
    """log [(Phi(y / s) - Phi((y - width) / s)) / width]: uniform on [0, width] plus N(0, s^2)."""
    from scipy.special import log_ndtr

    outward = np.minimum(y, width - y)  # by symmetry, so that the difference never cancels
    larger, smaller = log_ndtr(outward / noise), log_ndtr((outward - width) / noise)
    return larger + np.log1p(-np.exp(smaller - larger)) - np.log(width)


_MOONS = (
    "angle uniform on two half circles of radius 1, (cos t, sin t) and (1 - cos t, 0.5 - sin t)"
)
SETS = [
    _on_curves("moons", HALF_CIRCLES, 0.05, _MOONS),
    _on_curves("moons_noisy", HALF_CIRCLES, 0.10, _MOONS),
    _on_curves("two_spirals", SPIRALS, 0.1, "+-t (-cos t, sin t) / 3, t = 3 pi sqrt(u), u uniform"),
    _on_curves(
        "knot",
        (TREFOIL,),
        0.2,
        "trefoil knot (sin t + 2 sin 2t, cos t - 2 cos 2t, -sin 3t), t uniform",
    ),
    _strip(
        "s_curve",
        S_SHAPE,
        2.0,
        0.1,
        "(x1, x3) = (sin t, sign(t) (cos t - 1)), t uniform on +-3 pi / 2",
    ),
    _strip(
        "swiss_roll",
        ROLL,
        4.2,
        0.1,
        "(x1, x3) = t (cos t, sin t) / 5, t uniform on [3 pi / 2, 9 pi / 2]",
    ),
]
