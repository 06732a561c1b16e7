"""Unnormalised densities with a known normaliser, for training without data: `names()`,
`describe(name)`, `get(name, size)`.

Each is written for TensorFlow; exact draws, regions and their masses are NumPy. Names and
descriptions need no TensorFlow.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from flow_models.core.errors import UserError
from flow_models.core.failures import pick
from flow_models.core.startup import load_tensorflow

_CENTRES = np.array([(5.0 * i, 5.0 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
_SD = 0.5477  # of a mode of mixture_3x3
_NECK = 3.0  # sd of the first number of the funnel
_WELLS = np.linspace(-6, 6, 24_001)  # on which a double well is summed


@dataclasses.dataclass(frozen=True)
class Target:
    """One density over vectors [D].

    Attributes:
      size: D.
      log_density: log p(x) + log Z, tensors [B, D] -> [B].
      scale: sd of a centred Gaussian that reaches all modes.
      log_z: log of its integral, nats; None where nobody knows it, as the others.
      draw: draw(rng, n) -> float64 [n, D], exact.
      regions: regions(x [n, D]) -> bool [n, M], by which lost modes are seen.
      masses: mass of each region [M].
    """

    name: str
    definition: str
    size: int
    log_density: Callable
    scale: float
    log_z: float | None = None
    draw: Callable[[np.random.Generator, int], np.ndarray] | None = None
    regions: Callable[[np.ndarray], np.ndarray] | None = None
    masses: np.ndarray | None = None

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n exact draws, float64 [n, D].

        Raises:
          UserError: nobody can draw from it exactly.
        """
        if self.draw is None:
            raise UserError(f"nobody can draw from {self.name} exactly")
        return self.draw(np.random.default_rng(seed), n)

    def mass_error(self, x: np.ndarray, shares=None) -> float:
        """Largest error of the mass of a region, of draws x [n, D] with weights that sum to one."""
        assert self.regions is not None and self.masses is not None
        found = np.average(self.regions(x), 0, shares)
        return float(np.abs(found - self.masses).max())

    def lost(self, x: np.ndarray) -> int:
        """Number of regions and of their complements that hold less than a tenth of their mass, of
        draws x [n, D]."""
        assert self.regions is not None and self.masses is not None
        found = self.regions(x).mean(0)
        return int((found < self.masses / 10).sum() + (1 - found < (1 - self.masses) / 10).sum())

    def __str__(self) -> str:
        known = "" if self.log_z is None else f"; log Z = {self.log_z:.5f}"
        return f"{self.size}-D: {self.definition}{known}"


def mixture_3x3(size: int = 2) -> Target:
    """Nine equal Gaussians of standard deviation 0.5477 on a grid of spacing 5, in the plane.

    Raises:
      UserError: a size other than 2.
    """
    return Target(
        "mixture_3x3",
        "nine Gaussians on a 3 x 3 grid of spacing 5, sd 0.5477, equal weights",
        _only(2, size, "mixture_3x3"),
        _log_mixture,
        6.0,
        0.0,
        lambda rng, n: _CENTRES[rng.integers(9, size=n)] + _SD * rng.normal(size=(n, 2)),
        lambda x: ((x[:, None] - _CENTRES) ** 2).sum(-1).argmin(1)[:, None] == np.arange(9),
        np.full(9, 1 / 9),
    )


def funnel(size: int = 10) -> Target:
    """Neal's funnel (Slice sampling, Neal 2003): x0 ~ N(0, 3^2), the others ~ N(0, e^x0).

    Raises:
      UserError: fewer than 2 dimensions.
    """
    if size < 2:
        raise UserError(f"the funnel has at least 2 dimensions, got {size}")
    return Target(
        "funnel",
        f"x0 ~ N(0, 3^2), x1 .. x{size - 1} ~ N(0, e^x0)",
        size,
        _log_funnel,
        3.0,
        0.0,
        lambda rng, n: _draw_funnel(rng, n, size),
        lambda x: x[:, :1] < -_NECK,  # the neck, one standard deviation below the middle
        np.array([0.5 * math.erfc(1 / math.sqrt(2))]),
    )


def many_well(size: int = 32) -> Target:
    """Pairs of a double well and a normal number (Midgley et al. 2023, after Noe et al. 2019):
    2^(size / 2) modes.

    Raises:
      UserError: an odd number of dimensions.
    """
    if size < 2 or size % 2:
        raise UserError(f"many_well has an even number of dimensions, got {size}")
    weights = np.exp(_log_well(_WELLS))
    right = weights[_WELLS > 0].sum() / weights.sum()
    of_pair = math.log(weights.sum() * (_WELLS[1] - _WELLS[0])) + 0.5 * math.log(2 * math.pi)
    return Target(
        "many_well",
        f"{size // 2} pairs (d, v), log density 0.5 d + 6 d^2 - d^4 - v^2 / 2 each",
        size,
        _log_many_well,
        2.0,
        size // 2 * of_pair,
        lambda rng, n: _draw_many_well(rng, n, size),
        lambda x: x[:, ::2] > 0,
        np.full(size // 2, right),
    )


def two_moons_ring(size: int = 2) -> Target:
    """Two arcs of a ring of radius 2 in the plane (the two moons of normflows, Stimper et al.
    2023).

    Raises:
      UserError: a size other than 2.
    """
    return Target(
        "two_moons_ring",
        "-((|x| - 2) / 0.2)^2 / 2 - ((|x1| - 2) / 0.3)^2 / 2 + log(1 + exp(-4 |x1| / 0.09))",
        _only(2, size, "two_moons_ring"),
        _log_ring,
        2.5,
        _ring_log_z(),
        _draw_ring,
        lambda x: x[:, :1] > 0,
        np.array([0.5]),
    )


_TARGETS = {each.__name__: each for each in (mixture_3x3, funnel, many_well, two_moons_ring)}


def names() -> list[str]:
    """The names of all targets."""
    return list(_TARGETS)


def get(name: str, size: int | None = None) -> Target:
    """The target of that name, in `size` dimensions where it has a choice.

    Raises:
      UserError: no such target, or not in these dimensions.
    """
    make = pick(_TARGETS, name, "target")
    return make() if size is None else make(size)


def describe(name: str) -> str:
    """One line about a target."""
    return str(get(name))


def _only(wanted: int, size: int, name: str) -> int:
    if size != wanted:
        raise UserError(f"{name} has {wanted} dimensions, got {size}")
    return size


def _log_mixture(x):
    tf = load_tensorflow()
    squares = tf.reduce_sum(tf.square(x[:, None] - tf.constant(_CENTRES, x.dtype)), -1)
    constant = math.log(9 * 2 * math.pi * _SD**2)
    return tf.reduce_logsumexp(-0.5 * squares / _SD**2, -1) - constant


def _log_funnel(x):
    tf = load_tensorflow()
    first, rest, count = x[:, 0], x[:, 1:], x.shape[1] - 1
    squares = tf.square(first / _NECK) + tf.reduce_sum(tf.square(rest), -1) * tf.exp(-first)
    constant = math.log(_NECK) + 0.5 * x.shape[1] * math.log(2 * math.pi)
    return -0.5 * (squares + count * first) - constant


def _draw_funnel(rng, n, size):
    first = _NECK * rng.normal(size=(n, 1))
    return np.concatenate([first, np.exp(first / 2) * rng.normal(size=(n, size - 1))], 1)


def _log_well(d):
    return 0.5 * d + 6 * d**2 - d**4


def _log_many_well(x):
    tf = load_tensorflow()
    d, v = x[:, ::2], x[:, 1::2]
    return tf.reduce_sum(_log_well(d) - 0.5 * v**2, -1)


def _draw_many_well(rng, n, size):
    """Double wells by their distribution function on a fine grid, which is linear between."""
    below = np.cumsum(np.exp(_log_well(_WELLS)))
    x = rng.normal(size=(n, size))
    x[:, ::2] = np.interp(rng.random((n, size // 2)), below / below[-1], _WELLS)
    return x


def _log_ring(x):
    return _ring(x, load_tensorflow().math)


def _ring(x, of):
    """By the functions of tf.math or of NumPy."""
    far, side = of.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 1e-12), abs(x[:, 0])
    arcs = -0.5 * ((far - 2) / 0.2) ** 2 - 0.5 * ((side - 2) / 0.3) ** 2
    return arcs + of.log1p(of.exp(-4 * side / 0.09))


@functools.cache
def _ring_log_z() -> float:
    """By the trapezoidal sum over [-4, 4]^2, as exact as the rounding of its terms."""
    axis = np.linspace(-4, 4, 1601)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return math.log(np.exp(_ring(grid, np)).sum() * (axis[1] - axis[0]) ** 2)


def _draw_ring(rng, n):
    """By rejection of uniform draws in a square; the density is at most 2."""
    kept = np.empty((0, 2))
    while len(kept) < n:
        x = rng.uniform(-3.5, 3.5, size=(20 * n + 100, 2))
        accepted = np.log(rng.random(len(x))) < _ring(x, np) - math.log(2)
        kept = np.concatenate([kept, x[accepted]])
    return kept[:n]
