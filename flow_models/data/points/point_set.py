"""A point set whose density is known exactly, so that a model can be compared with the truth.

    H = -E[log p(x)] in nats;  KL(p || q) = -E[log q(x)] - H

Names and descriptions need no TensorFlow; draws do. A draw is a pure function of its seed, the same
compiled or not.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flow_models.core.startup import load_tensorflow

LOG_2PI = math.log(2 * math.pi)
Entropy = tuple[float, float]  # nats, and an upper estimate of their numerical error


@dataclass(frozen=True)
class PointSet:
    """One named set. `noise` is the sd of the Gaussian noise in its definition, 0 without noise.

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
    density: Callable  # float64 [N, D] -> log density [N]
    quadrature: Callable  # density -> Entropy

    def draw(self, n: int, seed):
        """float32 tensor [n, D]; `seed` is a pair of integers or an int32 tensor [2]; n is
        static.

        Raises:
          UserError: n is no count.
        """
        tf = load_tensorflow()
        seed = tf.convert_to_tensor(seed, tf.int32)
        if seed.shape != (2,):
            raise ValueError(f"seed: a pair of integers is expected, not shape {tuple(seed.shape)}")
        return self.sampler(tf, *_random(tf, n, self.event_size, seed))

    def log_prob(self, x) -> np.ndarray:
        """Exact log density, float64 [N], nats, at x [N, D]; -inf outside a bounded support and at
        infinity.

        Raises:
          UserError: x is not [N, D].
        """
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
        """Entropy in nats, computed at first use where there is no closed form."""
        return self._entropy[0]

    @property
    def entropy_error(self) -> float:
        """Upper estimate of the numerical error of the entropy, nats; 0 for a closed form."""
        return self._entropy[1]

    @functools.cached_property
    def _entropy(self) -> Entropy:
        return self.quadrature(self.density)

    def __str__(self) -> str:
        return f"{self.event_size}-D: {self.definition}"


def closed_form(value: float) -> Callable[..., Entropy]:
    """An entropy known exactly."""
    return lambda *_: (float(value), 0.0)


def on_grid(log_density: Callable, lower, upper, step: float) -> Entropy:
    """The trapezoidal sum over a box, from corner `lower` [D] to `upper` [D], that holds all of p
    but a negligible part.

    The sum converges like exp(-2 pi^2 (sd / step)^2) for densities blurred with a standard
    deviation sd. The error given is the difference to the sum with twice the step, far above that
    of the sum itself.
    """
    counts = [2 * int(np.ceil((b - a) / (2 * step))) + 1 for a, b in zip(lower, upper)]
    axes = [np.linspace(a, b, count) for a, b, count in zip(lower, upper, counts)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    logs = log_density(grid.reshape(-1, len(axes))).reshape(counts)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    fine = _sum(logs, cell)
    coarse = _sum(logs[(slice(None, None, 2),) * len(axes)], cell * 2 ** len(axes))
    return fine, abs(fine - coarse)


def _sum(logs: np.ndarray, cell) -> float:
    with np.errstate(invalid="ignore"):
        return float(-np.nansum(np.exp(logs) * logs) * cell)


def _random(tf, n: int, size: int, seed):
    """Uniform numbers [n, 2] in [0, 1) and normal numbers [n, size] from one Philox stream.

    Normal numbers come in pairs, r (cos a, sin a) (Box and Muller 1958). TensorFlow's own floats
    differ between compiled and uncompiled code; its integers, from which these come, do not.
    """
    pairs = (size + 1) // 2
    bits = tf.random.stateless_uniform([n, 2 + 2 * pairs], seed, None, None, tf.uint32, "philox")
    uniform = tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2**-24
    radius = tf.sqrt(-2 * tf.math.log(1 - uniform[:, 2 : 2 + pairs]))
    angle = 2 * math.pi * uniform[:, 2 + pairs :]
    normal = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 1)
    return uniform[:, :2], normal[:, :size]
