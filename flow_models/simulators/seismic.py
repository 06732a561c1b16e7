"""Seismograms of a layered medium: velocities from plane waves reflected at several angles, with
all multiples.

    ln v_i = ln(1.8 + 0.028 (i + 1/2)) + delta_i,  delta ~ N(0, 0.08^2 exp(-|i - j| / 2))
    density ~ v^(1/4) (Gardner),  Z = density / q,  q = sqrt(1 / v^2 - p^2)
    r_i = (Z_i - Z_(i-1)) / (Z_i + Z_(i-1))
    R_i = (r_i + R_(i+1) E_i) / (1 + r_i R_(i+1) E_i)
    E_i = exp(-i w phi_i),  phi_i = tau cos(theta_i)

(Kennett, Seismic Wave Propagation in Stratified Media, 1983). The frequency is complex, w - i
alpha: what a finite transform wraps around is damped by exp(-alpha T), and exp(alpha t) undoes the
damping. Velocities in km/s, times in s, ray parameters in s/km.
"""

import dataclasses
import functools
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.simulators.karhunen_loeve import KarhunenLoeve, exponential, karhunen_loeve
from flow_models.simulators.reflectivity import Spectrum, reflect, reflect_and_differentiate
from flow_models.simulators.simulator import Simulator, log_uniform

TOP, GRADIENT = 1.8, 0.028  # km/s, of the half-space above, and per layer
SPREAD, CORRELATION = 0.08, 2.0  # of delta; in layers
NOISE_CORRELATION = 0.6  # between neighbouring samples of a trace
SIGMA_RANGE = (0.004, 0.04)  # log-uniform; the traces' rms is about 0.05
_GARDNER = 0.25  # density ~ v^0.25; its factor 1.741 cancels in r


@dataclasses.dataclass(frozen=True)
class Seismograms(Simulator):
    """Velocities [B, P] of P layers, the last a half-space, and y [B, traces * samples + 1] whose
    last column is log sigma.

    A trace is the Ricker wavelet reflected for one ray parameter. y holds trace after trace, the
    samples of each in order. The noise of a trace has covariance sigma^2 0.6^|i - j|.

    Raises:
      UserError: numbers that describe no experiment.
    """

    layers: int = 20
    """P, the half-space below included"""
    layer_time: float = 0.034
    """two-way time tau of a layer at vertical incidence, s"""
    layer_thickness: float = 0.0
    """km; above 0, layers have this thickness in place of equal time (posteriors become curved,
    with several modes)"""
    ray_parameters: tuple[float, ...] = tuple(0.18 * math.sqrt(k / 3) for k in range(4))
    """one a trace, s/km"""
    samples: int = 48
    """a trace"""
    interval: float = 0.02
    """between samples, s"""
    frequency: float = 6.0
    """peak of the Ricker wavelet, Hz"""
    delay: float = 0.16
    """of the wavelet's middle, s"""
    sigma: float = 0.0
    """of the noise; 0: drawn log-uniformly in [0.004, 0.04] for each row"""

    def __post_init__(self):
        super().__post_init__()
        positive = {
            name: getattr(self, name) for name in ("layer_time", "interval", "frequency", "delay")
        }
        wrong = [
            (not 0 < value < math.inf, f"{name} is {value}, must be above 0")
            for name, value in positive.items()
        ] + [
            (self.layers < 2, f"layers is {self.layers}, must be at least 2"),
            (self.samples < 2, f"samples is {self.samples}, must be at least 2"),
            (
                not 0 <= self.layer_thickness < math.inf,
                f"layer_thickness is {self.layer_thickness}, must be at least 0 (km)",
            ),
            (
                not 0 <= self.sigma < math.inf,
                f"sigma is {self.sigma}, must be at least 0 (0: drawn for each row)",
            ),
            (len(self.ray_parameters) < 1, "seismograms need at least one ray parameter"),
            (
                not all(0 <= p < 1 / (1.5 * self.trend.max()) for p in self.ray_parameters),
                (
                    f"ray_parameters are {self.ray_parameters}, must be at least 0 and below"
                    f" {1 / (1.5 * self.trend.max()):.3f} s/km, beyond which waves are refracted"
                ),
            ),
        ]
        for is_wrong, message in wrong:
            if is_wrong:
                raise UserError(message)

    noise_varies = True  # the last column of y is log sigma

    @property
    def trend(self) -> np.ndarray:
        """Median velocities [P], km/s."""
        return TOP + GRADIENT * (np.arange(self.layers) + 0.5)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"velocity_{i + 1}_km_s" for i in range(self.layers))

    @property
    def data_names(self) -> tuple[str, ...]:
        times = np.arange(self.samples) * self.interval
        return tuple(f"p_{p:.3f}_t_{t:.2f}_s" for p in self.ray_parameters for t in times) + (
            "log_sigma",
        )

    def physical(self, theta: tf.Tensor) -> tf.Tensor:
        """Velocities [B, P], km/s."""
        theta = tf.convert_to_tensor(theta)
        return tf.exp(
            _prior(self.layers).colour(theta) + tf.constant(np.log(self.trend), theta.dtype)
        )

    def whiten(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """theta [B, P] of positive velocities, and log |det dtheta/dx| [B]."""
        log_v = tf.math.log(x)
        prior = _prior(self.layers)
        theta = prior.whiten(log_v - tf.constant(np.log(self.trend), log_v.dtype))
        return theta, -tf.reduce_sum(log_v, -1) - prior.log_det

    def forward(self, theta: tf.Tensor) -> tf.Tensor:
        """Noise-free traces [B, traces * samples]."""
        theta = tf.convert_to_tensor(theta)
        return self._traces(theta, tf.constant(self._spectrum.synthesis(), theta.dtype))

    def observe(self, clean: tf.Tensor, seed, log_sigma: tf.Tensor | None = None) -> tf.Tensor:
        """y [B, M] with correlated noise; log sigma [B] is drawn unless it or the field `sigma` is
        given."""
        seeds = tf.random.split(tf.cast(seed, tf.int32), 2)
        rows = tf.shape(clean)[0]
        if log_sigma is None:
            log_sigma = log_uniform(
                rows, (self.sigma,) * 2 if self.sigma else SIGMA_RANGE, seeds[0], clean.dtype
            )
        shape = [rows, len(self.ray_parameters), self.samples]
        white = tf.random.stateless_normal(shape, seeds[1], dtype=clean.dtype)
        noise = tf.linalg.matmul(white, tf.constant(self._noise_factor.T, clean.dtype))
        noisy = clean + tf.exp(log_sigma)[:, None] * tf.reshape(noise, [rows, -1])
        return tf.concat([noisy, log_sigma[:, None]], -1)

    def residual(self, theta: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """r [B, traces * samples], decorrelated, in units of sigma."""
        theta = tf.convert_to_tensor(theta)
        return self._misfit(self._traces(theta, self._white_synthesis(theta.dtype)), y)

    def residual_and_jacobian(self, theta: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """r [B, traces * samples] and dr/dtheta [B, traces * samples, P]."""
        theta = tf.convert_to_tensor(theta)
        synthesis = self._white_synthesis(theta.dtype)
        velocity = self.physical(theta)
        contrast, phase = self._medium(velocity)
        own, above, phase_slope = self._slopes(velocity, contrast, phase)
        reflection, jacobian = reflect_and_differentiate(
            self._spectrum, contrast, phase, own, above, phase_slope, synthesis
        )
        jacobian = tf.einsum(
            "ptrb,pq->brtq", jacobian, tf.constant(_prior(self.layers).matrix, theta.dtype)
        )
        jacobian = (
            tf.reshape(jacobian, [-1, self.data_size - 1, self.layers])
            * tf.exp(-y[:, -1])[:, None, None]
        )
        return self._misfit(_rows(tf.tensordot(synthesis, reflection, 1)), y), jacobian

    @property
    def _noise_factor(self) -> np.ndarray:
        """Lower Cholesky factor [T, T] of the covariance of a trace's noise, unit variance."""
        return np.linalg.cholesky(
            exponential(np.arange(self.samples), -1 / np.log(NOISE_CORRELATION))
        )

    @property
    def _whitener(self) -> np.ndarray:
        """w_0 = n_0, w_j = (n_j - 0.6 n_(j-1)) / sqrt(1 - 0.36)."""
        scale = np.full(self.samples, 1 / np.sqrt(1 - NOISE_CORRELATION**2))
        scale[0] = 1
        return scale[:, None] * (
            np.eye(self.samples) - NOISE_CORRELATION * np.eye(self.samples, k=-1)
        )

    @property
    def _spectrum(self) -> Spectrum:
        return Spectrum(self.samples, self.interval, self.frequency, self.delay)

    def _white_synthesis(self, dtype):
        return tf.constant(self._whitener @ self._spectrum.synthesis(), dtype)

    def _traces(self, theta, synthesis):
        reflection = reflect(self._spectrum, *self._medium(self.physical(theta)))
        return _rows(tf.tensordot(synthesis, reflection, 1))

    def _misfit(self, white_traces, y):
        data = tf.reshape(y[:, :-1], [-1, len(self.ray_parameters), self.samples])
        white = tf.linalg.matmul(data, tf.constant(self._whitener.T, y.dtype))
        return (white_traces - tf.reshape(white, tf.shape(white_traces))) * tf.exp(-y[:, -1:])

    def _cosine(self, velocity):
        """cos^2 of the angle in every layer for every ray [P, R, B]; bounded where waves would
        turn, over 8 sd off the prior."""
        p = tf.constant(self.ray_parameters, velocity.dtype)[:, None]
        return tf.maximum(1 - tf.square(p * tf.transpose(velocity)[:, None]), 1e-3)

    def _medium(self, velocity):
        """Reflection coefficients [P, R, B] and two-way times phi [P - 1, R, B], s."""
        squared = self._cosine(velocity)
        log_impedance = (1 + _GARDNER) * tf.math.log(tf.transpose(velocity))[
            :, None
        ] - 0.5 * tf.math.log(squared)
        p = np.asarray(self.ray_parameters)
        top = (1 + _GARDNER) * np.log(TOP) - 0.5 * np.log(1 - (p * TOP) ** 2)
        top = tf.broadcast_to(
            tf.constant(top, velocity.dtype)[:, None], tf.shape(log_impedance)[1:]
        )
        difference = log_impedance - tf.concat([top[None], log_impedance[:-1]], 0)
        vertical = self.layer_time
        if self.layer_thickness:
            vertical = 2 * self.layer_thickness / tf.transpose(velocity)[:-1, None]
        return tf.tanh(0.5 * difference), vertical * tf.sqrt(squared[:-1])

    def _slopes(self, velocity, contrast, phase):
        """Derivatives with respect to ln v: of r_i by layers i and i - 1, [P, R, B] each, and of
        phi_i by layer i, [P - 1, R, B]."""
        squared = self._cosine(velocity)
        impedance = _GARDNER + 1 / squared  # d ln Z / d ln v
        half = 0.5 * (1 - tf.square(contrast))
        above = -half * tf.concat([impedance[:1], impedance[:-1]], 0)
        # d ln phi / d ln v
        power = -1 / squared[:-1] if self.layer_thickness else 1 - 1 / squared[:-1]
        return half * impedance, above, phase * power


def _rows(traces):
    """[T, R, B] as [B, R T]."""
    return tf.reshape(tf.transpose(traces, [2, 1, 0]), [-1, traces.shape[0] * traces.shape[1]])


@functools.lru_cache(maxsize=16)
def _prior(layers: int) -> KarhunenLoeve:
    return karhunen_loeve(SPREAD**2 * exponential(np.arange(layers), CORRELATION))
