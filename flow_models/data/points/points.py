"""Point sets in two and three dimensions whose density is known exactly, so that a gap to the truth
is measured.

    log p(x) in nats, entropy H = -E[log p(x)]; the mean of -log q(x) over draws, less H, is KL(p ||
    q)

Names and descriptions need no TensorFlow; draws do. A draw is a pure function of its seed, the same
compiled or not.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flow_models.core.failures import pick
from flow_models.core.startup import load_tensorflow
from flow_models.data.points import curves, entropies, shapes
from flow_models.data.points.curves import Curve


@dataclass(frozen=True)
class PointSet:
    """One named set. `noise` is the sd of the Gaussian noise in its definition, 0 where there is
    none.

    Example:
        >>> moons = get("moons")
        >>> x = moons.draw(1000, seed=(0, 1))            # float32 [1000, 2]
        >>> gap = -moons.log_prob(x).mean() - moons.entropy
    """

    name: str
    event_size: int
    noise: float
    definition: str
    sampler: Callable  # (tf, uniform [n, 2], normal [n, D]) -> tensor [n, D]
    density: Callable  # float64 [N, D] -> [N]
    quadrature: Callable  # density -> (entropy, its numerical error), nats

    def draw(self, n: int, seed):
        """float32 tensor [n, D]; `seed` is a pair of integers or an int32 tensor [2]; n is
        static."""
        tf = load_tensorflow()
        seed = tf.convert_to_tensor(seed, tf.int32)
        if seed.shape != (2,):
            raise ValueError(f"seed: a pair of integers is expected, not shape {tuple(seed.shape)}")
        uniform, normal = _random(tf, n, self.event_size, seed)
        return self.sampler(tf, uniform, normal)

    def log_prob(self, x) -> np.ndarray:
        """Exact log density, float64 [N], nats, at x [N, D]; -inf outside a bounded support and at
        infinity."""
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or x.shape[1] != self.event_size:
            raise ValueError(
                f"{self.name}: points [N, {self.event_size}] are expected, not shape {x.shape}"
            )
        finite = np.isfinite(x).all(1)
        out = np.where(np.isnan(x).any(1), np.nan, -np.inf)
        out[finite] = self.density(x[finite])
        return out

    @property
    def entropy(self) -> float:
        """Entropy in nats, by quadrature at first use where there is no closed form."""
        return self._entropy[0]

    @property
    def entropy_error(self) -> float:
        """Estimate, from above, of the numerical error of the entropy, nats; 0 for a closed
        form."""
        return self._entropy[1]

    @functools.cached_property
    def _entropy(self) -> tuple[float, float]:
        return self.quadrature(self.density)


def names() -> list[str]:
    """The names of all sets."""
    return list(_SETS)


def get(name: str) -> PointSet:
    """The set of that name. Raises UserError, with the names there are, for another one."""
    return pick(_SETS, name, "point set")


def describe(name: str) -> str:
    """One line: dimensions and definition."""
    return f"{get(name).event_size}-D: {get(name).definition}"


def _random(tf, n: int, size: int, seed):
    """Uniform numbers [n, 2] in [0, 1) and normal numbers [n, size] from one Philox stream, n = r
    cos a by pairs.

    TensorFlow's own floats differ between compiled and uncompiled code; its integers, from which
    these come, do not.
    """
    pairs = (size + 1) // 2
    bits = tf.random.stateless_uniform(
        [n, 2 + 2 * pairs], seed, None, None, tf.uint32, alg="philox"
    )
    uniform = (
        tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24
    )
    radius = tf.sqrt(-2 * tf.math.log(1 - uniform[:, 2 : 2 + pairs]))
    angle = 2 * math.pi * uniform[:, 2 + pairs :]
    normal = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 1)
    return uniform[:, :2], normal[:, :size]


def _on_curves(name: str, parts: tuple[Curve, ...], noise: float, definition: str) -> PointSet:
    """Equally likely curves in the plane with noise."""
    return PointSet(
        name,
        2,
        noise,
        f"{definition}, plus N(0, {noise:g}^2) noise",
        lambda tf, uniform, normal: curves.draw(tf, parts, uniform[:, 0], normal, noise),
        lambda x: curves.log_density(x, parts, noise),
        lambda density: entropies.on_grid(density, *curves.bounds(parts, 9 * noise), 0.4 * noise),
    )


def _strip(name: str, curve: Curve, width: float, noise: float, definition: str) -> PointSet:
    """A noisy curve in the plane of x1 and x3, with x2 uniform on [0, width] plus the same
    noise."""

    def draw(tf, uniform, normal):
        plane = curve.position(tf, curve.parameter(tf, uniform[:, 0]))
        return tf.stack([plane[:, 0], width * uniform[:, 1], plane[:, 1]], -1) + noise * normal

    def across(y):
        return shapes.log_blurred_uniform(y[:, 0], width, noise)

    def in_plane(x):
        return curves.log_density(x, (curve,), noise)

    def entropy(_):
        plane = entropies.on_grid(in_plane, *curves.bounds((curve,), 9 * noise), 0.4 * noise)
        line = entropies.on_grid(across, [-9 * noise], [width + 9 * noise], 0.1 * noise)
        return plane[0] + line[0], plane[1] + line[1]

    return PointSet(
        name,
        3,
        noise,
        f"{definition}, x2 uniform on [0, {width:g}], plus N(0, {noise:g}^2) noise",
        draw,
        lambda x: in_plane(x[:, ::2]) + across(x[:, 1:2]),
        entropy,
    )


def _knot(noise: float) -> PointSet:
    curve = shapes.TREFOIL
    return PointSet(
        "knot",
        3,
        noise,
        "trefoil knot (sin t + 2 sin 2t, cos t - 2 cos 2t, -sin 3t), t uniform, plus "
        f"N(0, {noise:g}^2) noise",
        lambda tf, uniform, normal: curves.draw(tf, (curve,), uniform[:, 0], normal, noise),
        lambda x: curves.log_density(x, (curve,), noise),
        lambda density: entropies.along_curve(density, curve, noise, 2 * np.pi / 3),
    )


def _pinwheel_entropy(_) -> entropies.Entropy:
    """That of the straight petals, since the twist keeps areas, plus the log of the scale's
    Jacobian."""
    value, error = entropies.on_grid(
        shapes.log_petals, [-3.8, -3.8], [3.8, 3.8], 0.4 * shapes.PETAL_TANGENTIAL
    )
    return value + 2 * math.log(shapes.PETAL_SCALE), error


def _boxed(reach: float, step: float):
    return lambda density: entropies.on_grid(density, [-reach, -reach], [reach, reach], step)


_GAUSSIAN = shapes.LOG_2PI + 1  # entropy of N(0, I) in the plane
_MOONS = (
    "angle uniform on two half circles of radius 1, (cos t, sin t) and (1 - cos t, 0.5 - sin t)"
)
_SETS = {
    each.name: each
    for each in (
        _on_curves("moons", shapes.HALF_CIRCLES, 0.05, _MOONS),
        _on_curves("moons_noisy", shapes.HALF_CIRCLES, 0.10, _MOONS),
        PointSet(
            "banana",
            2,
            0.0,
            "x2 ~ N(0, 4^2), x1 given x2 ~ N(x2^2 / 4, 1)",
            shapes.draw_banana,
            shapes.log_banana,
            entropies.closed_form(_GAUSSIAN + math.log(4)),
        ),
        PointSet(
            "rosenbrock",
            2,
            0.0,
            "x1 ~ N(0, 1), x2 given x1 ~ N(4 (x1^2 + 1), 1)",
            shapes.draw_rosenbrock,
            shapes.log_rosenbrock,
            entropies.closed_form(_GAUSSIAN),
        ),
        PointSet(
            "eight_gaussians",
            2,
            0.5 / shapes.MODE_SCALE,
            "eight Gaussians on a circle of radius 4, sd 0.5, all divided by 1.414",
            shapes.draw_eight,
            shapes.log_eight,
            _boxed(9 / shapes.MODE_SCALE, 0.14),
        ),
        PointSet(
            "checkerboard",
            2,
            0.0,
            "uniform on 8 unit squares of [-2, 2]^2, alternate as on a board",
            shapes.draw_checkerboard,
            shapes.log_checkerboard,
            entropies.closed_form(math.log(8)),
        ),
        PointSet(
            "pinwheel",
            2,
            0.0,
            "five petals N((1, 0), diag(0.3, 0.1)^2) turned by 2 pi k / 5 and twisted by "
            "0.25 exp(radius), times 2",
            shapes.draw_pinwheel,
            shapes.log_pinwheel,
            _pinwheel_entropy,
        ),
        _on_curves(
            "two_spirals",
            shapes.SPIRALS,
            0.1,
            "+-t (-cos t, sin t) / 3, t = 3 pi sqrt(u), u uniform",
        ),
        PointSet(
            "rings",
            2,
            shapes.RING_NOISE,
            "four equally likely circles of radius 0.75, 1.5, 2.25, 3, angle uniform, "
            f"plus N(0, {shapes.RING_NOISE:g}^2) noise",
            shapes.draw_rings,
            shapes.log_rings,
            _boxed(3 + 9 * shapes.RING_NOISE, 0.4 * shapes.RING_NOISE),
        ),
        _strip(
            "s_curve",
            shapes.S_SHAPE,
            2.0,
            0.1,
            "(x1, x3) = (sin t, sign(t) (cos t - 1)), t uniform on +-3 pi / 2",
        ),
        _strip(
            "swiss_roll",
            shapes.ROLL,
            4.2,
            0.1,
            "(x1, x3) = t (cos t, sin t) / 5, t uniform on [3 pi / 2, 9 pi / 2]",
        ),
        _knot(0.2),
    )
}
