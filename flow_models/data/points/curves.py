"""Curves blurred by Gaussian noise: draws, and their exact density by adaptive quadrature.

    x = r(t) + noise e,  t ~ w on [start, stop],  e ~ N(0, I)
    p(x) = integral of w(t) N(x; r(t), noise^2 I) dt

All values are relative to the peak of the integrand, so the logarithm is also right far from the
curve.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
# nats by which the integrand may vary within a panel; the 8-point rule is then right to 1e-9
_SMOOTH = 6.0
_NEGLIGIBLE = 36.0  # nats below the peak at which a panel is left out: e^-36 = 2e-16
_DEEPEST = 40  # halvings of a panel; float64 resolves no further
_CHUNK = 2048  # points at a time, which bounds the memory at some 10 MB


@dataclass(frozen=True)
class Curve:
    """A curve r(t) and the density w(t) of its parameter.

    `position(xp, t)` gives r(t) [..., D] with xp either numpy or tensorflow. `speed` is an upper
    bound of |r'(t)|. `quantile(xp, u)` maps u in [0, 1) to t ~ w, and `density(t)` is w; both
    default to the uniform one.
    """

    position: Callable
    start: float
    stop: float
    speed: float
    quantile: Callable | None = None
    density: Callable | None = None

    def parameter(self, xp, u):
        """t at the quantile u in [0, 1)."""
        if self.quantile:
            return self.quantile(xp, u)
        return self.start + (self.stop - self.start) * u

    def weight(self, t: np.ndarray) -> np.ndarray:
        """Density of the parameter, per unit of t."""
        if self.density:
            return self.density(t)
        return np.full_like(t, 1 / (self.stop - self.start))


def draw(tf, curves: Sequence[Curve], uniform, normal, noise: float):
    """TensorFlow points [n, D] from equally likely curves; uniform [n] in [0, 1), normal [n, D]."""
    scaled = uniform * len(curves)
    which = tf.floor(scaled)
    points = [curve.position(tf, curve.parameter(tf, scaled - which)) for curve in curves]
    chosen = points[0]
    for k in range(1, len(points)):
        chosen = tf.where((which == k)[:, None], points[k], chosen)
    return chosen + noise * normal


def log_density(x: np.ndarray, curves: Sequence[Curve], noise: float) -> np.ndarray:
    """log p(x) [N], nats, of an equal mixture of blurred curves at x float64 [N, D]; relative error
    of p about 1e-9."""
    parts = [_chunked(x, curve, noise) for curve in curves]
    return np.logaddexp.reduce(parts, axis=0) - np.log(len(curves))


def bounds(curves: Sequence[Curve], margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of a box that holds the curves with a margin."""
    points = np.concatenate([c.position(np, np.linspace(c.start, c.stop, 513)) for c in curves])
    return points.min(0) - margin, points.max(0) + margin


def _chunked(x: np.ndarray, curve: Curve, noise: float) -> np.ndarray:
    constant = -0.5 * x.shape[1] * np.log(2 * np.pi * noise**2)
    chunks = np.split(x, range(_CHUNK, len(x), _CHUNK))
    return constant + np.concatenate([_log_integral(chunk, curve, noise) for chunk in chunks])


def _log_integral(x: np.ndarray, curve: Curve, noise: float) -> np.ndarray:
    """log of the integral of w(t) exp(-|x - r(t)|^2 / (2 noise^2)) over t, for each row of x.

    Panels of two standard deviations at first; (point, panel) pairs that cannot matter are dropped,
    those on which the integrand is smooth are summed by Gauss-Legendre, the others are halved.
    """
    panels = int(np.ceil((curve.stop - curve.start) * curve.speed / (2 * noise)))
    half = 0.5 * (curve.stop - curve.start) / panels
    distance = _distances(x, curve.position(np, curve.start + half * (2 * np.arange(panels) + 1)))
    nearest = distance.min(1)
    point, panel = np.nonzero(_matters(distance, nearest[:, None], half * curve.speed, noise))
    points, logs = [], []
    for level in range(_DEEPEST + 1):
        used, place = np.unique(panel, return_inverse=True)
        nodes = curve.start + half * (2 * used[:, None] + 1 + _NODES)
        exponent = sum(
            (coordinate[point, None] - along[place]) ** 2
            for coordinate, along in zip(x.T, np.moveaxis(curve.position(np, nodes), -1, 0))
        ) * (-0.5 / noise**2)
        peak = exponent.max(1)
        done = (peak - exponent.min(1) <= _SMOOTH) | (level == _DEEPEST)
        integral = (
            np.exp(exponent[done] - peak[done, None]) * curve.weight(nodes)[place[done]]
        ) @ (half * _WEIGHTS)
        points.append(point[done])
        logs.append(peak[done] + np.log(integral))
        if done.all():
            break
        half /= 2
        point, panel = np.repeat(point[~done], 2), np.repeat(2 * panel[~done], 2)
        panel[1::2] += 1
        distance = np.linalg.norm(
            x[point] - curve.position(np, curve.start + half * (2 * panel + 1)), axis=1
        )
        np.minimum.at(nearest, point, distance)
        matters = _matters(distance, nearest[point], half * curve.speed, noise)
        point, panel = point[matters], panel[matters]
    return _log_sum(np.concatenate(points), np.concatenate(logs), len(x))


def _distances(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """|x_i - r_j| for all pairs."""
    return np.sqrt(sum((x[:, None, d] - r[:, d]) ** 2 for d in range(x.shape[1])))


def _matters(distance: np.ndarray, nearest: np.ndarray, reach: float, noise: float) -> np.ndarray:
    """Whether a panel within `reach` of a place at this distance can add to the integral."""
    return np.maximum(distance - reach, 0) ** 2 - nearest**2 <= 2 * noise**2 * _NEGLIGIBLE


def _log_sum(index: np.ndarray, logs: np.ndarray, count: int) -> np.ndarray:
    """log of the sum of exp(logs) over each value 0 .. count - 1 of index."""
    peak = np.full(count, -np.inf)
    np.maximum.at(peak, index, logs)
    return peak + np.log(np.bincount(index, np.exp(logs - peak[index]), count))
