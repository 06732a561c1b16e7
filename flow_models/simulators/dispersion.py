"""Surface-wave dispersion: S velocities of layers from phase velocities of Rayleigh waves, as in
Zhang and Curtis (2021, JGR 126, e2021JB022320).

    ln v_i = ln(2.0 + 0.073 z_i) + delta_i,  delta ~ N(0, 0.1^2 exp(-|z_i - z_j| / 8 km))
    vp = 1.75 v,  density = 1.741 vp^(1/4)
    y_k = c(T_k) + sigma e_k,  e ~ N(0, I)

z_i is the middle of layer i; for the half-space it is its top. The forward model is the package
disba (see `rayleigh`). Where no fundamental mode is bound to the surface, the prior is cut off.
Velocities in km/s, depths in km, periods in s.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.simulators.karhunen_loeve import KarhunenLoeve, exponential, karhunen_loeve
from flow_models.simulators.simulator import Simulator, log_uniform

TOP, GRADIENT = 2.0, 0.073  # km/s at the surface, and km/s per km
SPREAD, CORRELATION = 0.1, 8.0  # of delta; km
SIGMA_RANGE = (0.005, 0.05)  # km/s, log-uniform; prior phase velocities scatter by 0.2 to 0.3
_FAR = 1e4  # residual, in sigma, of a medium without the mode: its likelihood is zero


@dataclasses.dataclass(frozen=True)
class Dispersion(Simulator):
    """S velocities [B, P] of layers over a half-space, and y [B, T + 1]: fundamental-mode phase
    velocities, then log sigma.

    The forward model runs in NumPy. Noise-free data are NaN in rows without such a mode.

    Raises:
      UserError: numbers that describe no experiment.
    """

    thickness: tuple[float, ...] = (1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0)
    """km, of the layers above the half-space"""
    periods: tuple[float, ...] = tuple(round(2 * 15 ** (k / 19), 2) for k in range(20))
    """s, rising"""
    sigma: float = 0.0
    """km/s, of the noise; 0: log-uniform in [0.005, 0.05], drawn for each row"""

    def __post_init__(self):
        super().__post_init__()
        wrong = [
            (
                len(self.thickness) < 1 or not all(0 < h < math.inf for h in self.thickness),
                f"thickness is {self.thickness}, must be numbers above 0 (km)",
            ),
            (
                len(self.periods) < 2
                or not all(0 < a < b < math.inf for a, b in zip(self.periods, self.periods[1:])),
                f"periods are {self.periods}, must be at least two, rising from above 0 (s)",
            ),
            (
                not 0 <= self.sigma < math.inf,
                f"sigma is {self.sigma}, must be at least 0 (0: drawn for each row)",
            ),
        ]
        for is_wrong, message in wrong:
            if is_wrong:
                raise UserError(message)

    noise_varies = True  # the last column of y is log sigma
    by_xla = False
    packages = ("disba", "numba")  # a served model needs them too
    # with longer steps, chains stay long in the tail of some posteriors
    sampling = {"acceptance": 0.93, "leapfrogs": 10}

    @property
    def edges(self) -> np.ndarray:
        """Depths [P] of the tops of the layers and of the half-space, km."""
        return np.append(0.0, np.cumsum(self.thickness))

    @property
    def trend(self) -> np.ndarray:
        """Median velocities [P], km/s."""
        return TOP + GRADIENT * _middle(self.thickness)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"vs_{i + 1}_km_s" for i in range(len(self.thickness) + 1))

    @property
    def data_names(self) -> tuple[str, ...]:
        return tuple(f"c_{period:g}_s_km_s" for period in self.periods) + ("log_sigma",)

    def physical(self, theta: tf.Tensor) -> tf.Tensor:
        """S velocities [B, P], km/s."""
        theta = tf.convert_to_tensor(theta)
        return tf.exp(
            _prior(self.thickness).colour(theta) + tf.constant(np.log(self.trend), theta.dtype)
        )

    def whiten(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """theta [B, P] of positive velocities, and log |det dtheta/dx| [B]."""
        log_v, prior = tf.math.log(x), _prior(self.thickness)
        theta = prior.whiten(log_v - tf.constant(np.log(self.trend), log_v.dtype))
        return theta, -tf.reduce_sum(log_v, -1) - prior.log_det

    def forward(self, theta: tf.Tensor) -> tf.Tensor:
        """Phase velocities [B, T], km/s."""
        theta = tf.convert_to_tensor(theta)
        curves = tf.numpy_function(
            lambda v: self._search(v).astype(v.dtype), [self.physical(theta)], theta.dtype
        )
        return tf.ensure_shape(curves, [theta.shape[0], len(self.periods)])

    def observe(self, clean: tf.Tensor, seed, log_sigma: tf.Tensor | None = None) -> tf.Tensor:
        """y [B, T + 1]; log sigma [B] is drawn unless it or the field `sigma` is given."""
        seeds = tf.random.split(tf.cast(seed, tf.int32), 2)
        if log_sigma is None:
            log_sigma = log_uniform(
                tf.shape(clean)[0],
                (self.sigma,) * 2 if self.sigma else SIGMA_RANGE,
                seeds[0],
                clean.dtype,
            )
        white = tf.random.stateless_normal(tf.shape(clean), seeds[1], dtype=clean.dtype)
        return tf.concat([clean + tf.exp(log_sigma)[:, None] * white, log_sigma[:, None]], -1)

    def residual(self, theta: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """r [B, T] in units of sigma."""
        return _misfit(self.forward(theta), y)

    def residual_and_jacobian(self, theta: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """r [B, T] and dr/dtheta [B, T, P]."""
        theta = tf.convert_to_tensor(theta)
        curves, slopes = tf.numpy_function(
            self._search_and_differentiate, [self.physical(theta)], [theta.dtype] * 2
        )
        curves = tf.ensure_shape(curves, [theta.shape[0], len(self.periods)])
        slopes = tf.ensure_shape(slopes, [*curves.shape, self.size])
        jacobian = tf.linalg.matmul(slopes, tf.constant(_prior(self.thickness).matrix, theta.dtype))
        return _misfit(curves, y), jacobian * tf.exp(-y[:, -1])[:, None, None]

    def decorrelated(self, y: tf.Tensor) -> tf.Tensor:
        """The phase velocities [B, T]: their noise is independent."""
        return y[:, : len(self.periods)]

    def _search(self, velocity):
        return loaded_package().phase_velocities(
            velocity, np.append(self.thickness, 0.0), np.array(self.periods)
        )

    def _search_and_differentiate(self, velocity):
        curves = self._search(velocity)
        slopes = loaded_package().slopes(
            velocity, curves, np.append(self.thickness, 0.0), np.array(self.periods)
        )
        return curves.astype(velocity.dtype), slopes.astype(velocity.dtype)


def loaded_package():
    """The forward model, loaded at its first use: Numba takes seconds.

    Raises:
      UserError: its package is missing, or Numba cannot write its cache.
    """
    try:
        from flow_models.simulators import rayleigh
    except ModuleNotFoundError as error:
        raise UserError(
            f"dispersion curves need the package {error.name}: pip install disba numba"
        ) from None
    except RuntimeError as error:  # raised by Numba's decorators
        raise UserError(
            f"dispersion curves: {error}; name a folder that can be written to in NUMBA_CACHE_DIR"
        ) from None
    return rayleigh


def _misfit(curves, y):
    residual = (curves - y[:, : curves.shape[1]]) * tf.exp(-y[:, -1:])
    return tf.where(tf.math.is_finite(residual), residual, tf.constant(_FAR, residual.dtype))


def _middle(thickness) -> np.ndarray:
    """Depths [P] that represent the layers; for the half-space its top."""
    edges = np.append(0.0, np.cumsum(thickness))
    return np.append((edges[1:] + edges[:-1]) / 2, edges[-1])


@functools.lru_cache(maxsize=16)
def _prior(thickness: tuple[float, ...]) -> KarhunenLoeve:
    return karhunen_loeve(SPREAD**2 * exponential(_middle(thickness), CORRELATION))
