"""Inverse problems whose posteriors are known: pairs from a simulator, and reference samples.

Two moons, a linear Gaussian and SLCP are those of "Benchmarking simulation-based inference"
(Lueckmann, Boelts, Greenberg, Goncalves and Macke 2021), written from their definitions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Problem:
    """A prior, a simulator, and exact or long-run draws of the posterior.

    Attributes:
      prior: (n, rng) -> x [n, P].
      simulate: (x [n, P], rng) -> y [n, M].
      reference: (y [M], n, rng) -> draws of p(x | y), [n, P].
      lower, upper: of all parameters; None where the prior is Gaussian.
      trials: shape [T, M / T] of data that are trials, independent and alike; None for others.
      deviation: of a Gaussian prior.
      components: of the data, that a flow behind a Gauss-Newton frame sees; 0: there is none.
    """

    prior: Callable
    simulate: Callable
    reference: Callable
    lower: float | None = None
    upper: float | None = None
    trials: tuple[int, int] | None = None
    deviation: float = 1.0
    components: int = 0

    def references(self, observed, n: int, rng) -> list[np.ndarray]:
        """Two sets of n draws for each of the data [B, M], [B, n, P] each."""
        return [np.stack([self.reference(y, n, rng) for y in observed]) for _ in range(2)]

    def pairs(self, n: int, seed) -> tuple[np.ndarray, np.ndarray]:
        """n pairs (x, y)."""
        rng = np.random.default_rng(seed)
        x = self.prior(n, rng)
        return x, self.simulate(x, rng)

    def outside(self, x) -> float:
        """Share of samples outside the prior."""
        if self.lower is None:
            return 0.0
        return float(((x < self.lower) | (x > self.upper)).any(-1).mean())


def _box(size: int, half: float) -> Callable:
    return lambda n, rng: rng.uniform(-half, half, (n, size))


def _crescent(n, rng):
    """Noise of the two moons [n, 2]."""
    angle, radius = rng.uniform(-np.pi / 2, np.pi / 2, n), rng.normal(0.1, 0.01, n)
    return np.stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)], 1)


def _moons(x, rng):
    turned = np.stack([-np.abs(x.sum(1)), x[:, 1] - x[:, 0]], 1) / np.sqrt(2)
    return _crescent(len(x), rng) + turned


def _moons_reference(y, n, rng):
    """Noise is drawn and the parameters solved for, on either side; those outside are rejected."""
    found = np.empty((0, 2))
    while len(found) < n:
        turned = y - _crescent(4 * n, rng)
        turned = turned[turned[:, 0] < 0] * np.sqrt(2)
        total = turned[:, 0] * rng.choice([-1, 1], len(turned))
        x = np.stack([total - turned[:, 1], total + turned[:, 1]], 1) / 2
        found = np.concatenate([found, x[(np.abs(x) < 1).all(1)]])
    return found[:n]


def _shift(x, rng):
    return x + np.sqrt(0.1) * rng.normal(size=x.shape)


def _shift_reference(y, n, rng):
    return y / 2 + np.sqrt(0.05) * rng.normal(size=(n, len(y)))


def _slcp_moments(x):
    """Mean [N, 2], deviations [N] twice, and correlation [N]."""
    return x[:, :2], x[:, 2] ** 2, x[:, 3] ** 2, np.tanh(x[:, 4])


def _slcp(x, rng):
    """Four draws of a Gaussian with two dimensions."""
    mean, s1, s2, rho = _slcp_moments(x)
    e = rng.normal(size=(len(x), 4, 2))
    second = rho[:, None] * e[..., 0] + np.sqrt(1 - rho**2)[:, None] * e[..., 1]
    draws = np.stack([s1[:, None] * e[..., 0], s2[:, None] * second], 2) + mean[:, None]
    return draws.reshape(len(x), 8)


def _slcp_log_posterior(x, y):
    """log p(x | y) of the box but for a constant, -inf outside of it."""
    mean, s1, s2, rho = _slcp_moments(x)
    away = (y.reshape(4, 2)[None] - mean[:, None]) / np.stack([s1, s2], 1)[:, None]
    u, v, rest = away[..., 0], away[..., 1], np.maximum(1 - rho**2, 1e-12)
    squares = ((u * u + v * v - 2 * rho[:, None] * u * v) / rest[:, None]).sum(1)
    log_p = -0.5 * squares - 4 * np.log(s1 * s2) - 2 * np.log(rest)
    return np.where((np.abs(x) < 3).all(1), log_p, -np.inf)


def _slcp_reference(y, n, rng, steps: int = 600):
    """The last states of n chains with moves along the differences of others (ter Braak 2006),
    from the best of many draws of the prior; signs of the deviations are drawn."""
    x = rng.uniform(-3, 3, (1_000_000, 5))
    log_p = _slcp_log_posterior(x, y)
    weights = np.exp(log_p - log_p.max())
    x = x[rng.choice(len(x), n, p=weights / weights.sum())]
    log_p = _slcp_log_posterior(x, y)
    for step in range(steps):
        first, second = (rng.permutation(n) for _ in range(2))
        # sometimes a whole difference: from mode to mode
        scale = 1.0 if step % 10 == 0 else 2.38 / np.sqrt(10) * rng.choice([1.0, 0.4])
        proposed = x + scale * (x[first] - x[second]) + 1e-4 * rng.normal(size=x.shape)
        value = _slcp_log_posterior(proposed, y)
        accepted = np.log(rng.random(n)) < value - log_p
        x = np.where(accepted[:, None], proposed, x)
        log_p = np.where(accepted, value, log_p)
    x[:, 2:4] *= rng.choice([-1, 1], (n, 2))
    return x


PROBLEMS = {
    "two_moons": Problem(_box(2, 1.0), _moons, _moons_reference, -1.0, 1.0),
    "gaussian_linear": Problem(
        lambda n, rng: np.sqrt(0.1) * rng.normal(size=(n, 10)),
        _shift,
        _shift_reference,
        deviation=math.sqrt(0.1),
    ),
    "slcp": Problem(_box(5, 3.0), _slcp, _slcp_reference, -3.0, 3.0, (4, 2)),
}
