"""Differential entropies in nats, each with an estimate of its numerical error from above.

H = -integral of p(x) log p(x) dx
"""

import itertools
from collections.abc import Callable

import numpy as np

from flow_models.data.points.curves import Curve

Entropy = tuple[float, float]


def closed_form(value: float) -> Callable[..., Entropy]:
    """An entropy known exactly."""
    return lambda *_: (float(value), 0.0)


def on_grid(log_density: Callable, lower: np.ndarray, upper: np.ndarray, step: float) -> Entropy:
    """The trapezoidal sum over a box that holds all of p but a negligible part.

    The sum converges like exp(-2 pi^2 (sd / step)^2) for densities blurred with a standard
    deviation sd; the error given is the difference to the sum with twice the step, far above that
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


def along_curve(log_density: Callable, curve: Curve, noise: float, period: float) -> Entropy:
    """H = -E[log p(r(t) + noise e)] for a closed curve with t uniform and log p of this period
    along it.

    Trapezoidal rule in t, Gauss-Hermite in e; the error given is the difference to the next coarser
    rule.
    """
    fine, coarse = (
        _hermite(log_density, curve, noise, period, *orders) for orders in ((32, 10), (24, 8))
    )
    return fine, abs(fine - coarse)


def _sum(logs: np.ndarray, cell: float) -> float:
    with np.errstate(invalid="ignore"):
        return float(-np.nansum(np.exp(logs) * logs) * cell)


def _hermite(
    log_density: Callable, curve: Curve, noise: float, period: float, steps: int, order: int
) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    centres = curve.position(np, curve.start + period * np.arange(steps) / steps)
    size = centres.shape[1]
    offsets = noise * np.array(list(itertools.product(nodes, repeat=size)))
    joint = np.prod(list(itertools.product(weights / weights.sum(), repeat=size)), axis=1)
    logs = log_density((centres[:, None] + offsets).reshape(-1, size)).reshape(steps, -1)
    return float(-(logs @ joint).mean())
