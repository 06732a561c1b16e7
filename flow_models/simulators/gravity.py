"""Gravity over a sediment-filled valley: depths of columns from vertical gravity along a profile.

    d_j = sqrt(sin(pi x_j / X)) softplus(2.0 + 1.2 g_j),  g a Matern-5/2 process of length 5 km
    g(s) = c sum_j [x ln(1 + d_j^2 / x^2) + 2 d_j atan2(x, d_j)]
           from x = x_j - s to x = x_(j+1) - s,  c = G rho

(two-dimensional rectangles: Telford, Geldart and Sheriff, Applied Geophysics, 1990). Depths and
distances in km, gravity in mGal, densities in kg/m^3.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.simulators.karhunen_loeve import KarhunenLoeve, karhunen_loeve, matern_five_halves
from flow_models.simulators.simulator import Simulator

# G in mGal/km per kg/m^3: 6.6743e-11 m^3/(kg s^2), 1e3 m per km, 1e5 mGal per m/s^2
MGAL_PER_KM = 6.6743e-3
_OFFSET, _SCALE = 2.0, 1.2  # of the Gaussian process before the softplus
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclasses.dataclass(frozen=True)
class Gravity(Simulator):
    """Depths [B, P] of P columns, and gravity [B, M] at M stations on the surface, with a fixed
    tolerance.

    Raises:
      UserError: stations, tolerance or geometry that make no profile.
    """

    stations: tuple[float, ...] = tuple(range(1, 40, 2))
    """positions, km from the left edge; they may repeat and lie outside the valley"""
    tolerance: float | tuple[float, ...] = 0.5
    """standard deviation of the data, mGal: one number, or one per station"""
    contrast: float = -400.0
    """density of the sediment less that of the rock, kg/m^3, at the surface"""
    decay: float = 0.0
    """depth over which the contrast falls to 1/e, km; 0: it is constant"""
    columns: int = 40
    """P, columns of equal width"""
    width: float = 40.0
    """of the valley, km"""
    correlation: float = 5.0
    """length of the prior's Gaussian process, km"""

    def __post_init__(self):
        super().__post_init__()
        spread = np.atleast_1d(np.asarray(self.tolerance, float))
        wrong = [
            (len(self.stations) < 1, "gravity needs at least one station"),
            (
                not np.all(np.isfinite(self.stations)),
                f"stations are {self.stations}, must be finite (km)",
            ),
            (
                not np.all((spread > 0) & np.isfinite(spread)),
                f"tolerance is {self.tolerance}, must be above 0 (mGal)",
            ),
            (
                isinstance(self.tolerance, tuple) and len(self.tolerance) != len(self.stations),
                (
                    f"{spread.size} tolerances for {len(self.stations)} stations, give one number"
                    " or one a station"
                ),
            ),
            (
                self.contrast == 0 or not np.isfinite(self.contrast),
                f"contrast is {self.contrast}, must not be 0 (kg/m^3)",
            ),
            (
                not 0 <= self.decay < np.inf,
                f"decay is {self.decay}, must be at least 0 (km; 0: constant contrast)",
            ),
            (self.columns < 2, f"columns is {self.columns}, must be at least 2"),
            (not 0 < self.width < np.inf, f"width is {self.width}, must be above 0 (km)"),
            (
                not 0 < self.correlation < np.inf,
                f"correlation is {self.correlation}, must be above 0 (km)",
            ),
        ]
        for is_wrong, message in wrong:
            if is_wrong:
                raise UserError(message)

    @property
    def edges(self) -> np.ndarray:
        """Edges of the columns, km [P + 1]."""
        return np.linspace(0, self.width, self.columns + 1)

    @property
    def centres(self) -> np.ndarray:
        """Middles of the columns, km [P]."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def sigma(self) -> np.ndarray:
        """Standard deviation of each datum, mGal [M]."""
        return np.broadcast_to(np.asarray(self.tolerance, float), [len(self.stations)])

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"depth_{x:g}_km" for x in self.centres)

    @property
    def data_names(self) -> tuple[str, ...]:
        return tuple(f"gravity_{s:g}_km_mgal" for s in self.stations)

    def physical(self, theta: tf.Tensor) -> tf.Tensor:
        """Depths [B, P], km."""
        theta = tf.convert_to_tensor(theta)
        return self._envelope(theta.dtype) * tf.math.softplus(self._process(theta))

    def whiten(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """theta [B, P] of positive depths, and log |det dtheta/dx| [B]."""
        x = tf.convert_to_tensor(x)
        envelope, prior = (
            self._envelope(x.dtype),
            _prior(self.columns, self.width, self.correlation),
        )
        thickness = x / envelope
        log_slope = tf.math.log(
            -tf.math.expm1(-thickness)
        )  # of the softplus, at the value that gave this thickness
        theta = prior.whiten((thickness + log_slope - _OFFSET) / _SCALE)
        constant = prior.log_det + self.columns * math.log(_SCALE)
        return theta, -tf.reduce_sum(log_slope + tf.math.log(envelope), -1) - constant

    def forward(self, theta: tf.Tensor) -> tf.Tensor:
        """Gravity [B, M], mGal."""
        return self.gravity(self.physical(theta))

    def gravity(self, depth: tf.Tensor) -> tf.Tensor:
        """Gravity [B, M], mGal, of depths [B, P], km."""
        depth = tf.convert_to_tensor(depth)
        columns = self._decaying(depth) if self.decay else self._attraction(depth)
        return MGAL_PER_KM * self.contrast * tf.reduce_sum(columns, -1)

    def observe(self, clean: tf.Tensor, seed) -> tf.Tensor:
        """Gravity [B, M] with noise of the given tolerance."""
        noise = tf.random.stateless_normal(tf.shape(clean), seed, dtype=clean.dtype)
        return clean + tf.constant(self.sigma, clean.dtype) * noise

    def residual(self, theta: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """(g - y) / sigma, [B, M]."""
        clean = self.forward(theta)
        return (clean - y) / tf.constant(self.sigma, clean.dtype)

    def residual_and_jacobian(self, theta: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """r [B, M] and dr/dtheta [B, M, P], from dg/dd = 2 c exp(-d / decay) [atan2(x, d)]."""
        theta = tf.convert_to_tensor(theta)
        jacobian = self._gravity_jacobian(self.physical(theta)) * self._slope(theta)[..., None, :]
        prior = _prior(self.columns, self.width, self.correlation)
        jacobian = tf.linalg.matmul(jacobian, tf.constant(prior.matrix, theta.dtype))
        return self.residual(theta, y), jacobian / tf.constant(self.sigma, theta.dtype)[:, None]

    def _process(self, theta):
        return _OFFSET + _SCALE * _prior(self.columns, self.width, self.correlation).colour(theta)

    def _slope(self, theta):
        """dd_j/dg_j [B, P]."""
        return _SCALE * self._envelope(theta.dtype) * tf.math.sigmoid(self._process(theta))

    def _envelope(self, dtype):
        return tf.constant(np.sqrt(np.sin(np.pi * self.centres / self.width)), dtype)

    def _offsets(self, dtype):
        """Left and right edges minus the stations, [M, P] each."""
        offset = self.edges - np.asarray(self.stations, float)[:, None]
        return tf.constant(offset[:, :-1], dtype), tf.constant(offset[:, 1:], dtype)

    def _gravity_jacobian(self, depth):
        """dg/dd [B, M, P], mGal/km."""
        near, far = self._offsets(depth.dtype)
        d = depth[..., None, :]
        slope = 2 * MGAL_PER_KM * self.contrast * (tf.math.atan2(far, d) - tf.math.atan2(near, d))
        return slope * tf.exp(-d / self.decay) if self.decay else slope

    def _attraction(self, depth):
        """F [B, M, P]: the attraction of each column with c = 1."""
        near, far = self._offsets(depth.dtype)
        return _side(far, depth[..., None, :]) - _side(near, depth[..., None, :])

    def _decaying(self, depth):
        """Integral of exp(-z / decay) dF/dz over [0, d] of each column, [B, M, P].

        By parts: exp(-d / decay) F(d) + (1 / decay) times the integral of exp(-z / decay) F(z). F
        is smoother than its slope near an edge, so 16 Gauss-Legendre nodes suffice.
        """
        decayed = lambda z: tf.exp(-z / self.decay)[..., None, :] * self._attraction(z)
        nodes = zip(0.5 + 0.5 * _NODES, 0.5 * _WEIGHTS)
        integral = (
            sum(weight * decayed(node * depth) for node, weight in nodes) * depth[..., None, :]
        )
        return decayed(depth) + integral / self.decay


def _side(x, d):
    """x ln(1 + d^2 / x^2) + 2 d atan2(x, d), 0 at x = 0."""
    # within a mm of an edge the term is below 1e-7 mGal
    safe = tf.where(tf.abs(x) < 1e-6, tf.ones_like(x) * 1e-6, x)
    return x * tf.math.log1p(tf.square(d / safe)) + 2 * d * tf.math.atan2(x, d)


@functools.lru_cache(maxsize=16)
def _prior(columns: int, width: float, correlation: float) -> KarhunenLoeve:
    centres = (np.arange(columns) + 0.5) * width / columns
    return karhunen_loeve(matern_five_halves(centres, correlation))
