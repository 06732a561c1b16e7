"""Flows of angles: circular splines on tori."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import LOG_TWO_PI, CircularQuadratic
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.elementwise import Elementwise
from flow_models.bijectors.layer import Layer, sum_event
from flow_models.bijectors.networks import MLP
from flow_models.core.errors import UserError

HARMONICS = 2  # whose cosines and sines a network sees of an angle
NEAREST = 1e-7  # to the seam, in turns, that a normal score tells: |z| = 5.2


@dataclasses.dataclass(frozen=True)
class CircularSpline(Elementwise):
    """A rotation and a rational-quadratic spline of the circle onto itself, x and y in turns, whose
    slopes agree at the seam: densities are continuous there.

    Normalizing flows on tori and spheres (Rezende et al. 2020, section 2.1.2).

    Attributes:
      bins: of the spline.
    """

    bins: int = 8

    @property
    def _curve(self) -> CircularQuadratic:
        return CircularQuadratic(self.bins, 1.0)

    @property
    def parameters(self) -> int:
        return 2 + self._curve.parameters

    def _rotation(self, o):
        return tf.math.atan2(o[..., 1], 1 + o[..., 0]) / (2 * math.pi)

    def forward_and_log_det(self, o, x):
        turned = _fraction(x - self._rotation(o))
        y, log_slope = self._curve.forward_and_log_det(o[..., 2:], 2 * turned - 1)
        return 0.5 * (1 + y), log_slope

    def inverse_and_log_det(self, o, y):
        x, log_slope = self._curve.inverse_and_log_det(o[..., 2:], 2 * _fraction(y) - 1)
        return _fraction(0.5 * (1 + x) + self._rotation(o)), log_slope


@dataclasses.dataclass(frozen=True)
class CircularCoupling(Coupling):
    """A coupling of angles in turns, whose network sees cosines and sines: a map of the torus onto
    itself (Rezende et al. 2020, section 2.2). Attributes as in `Coupling`."""

    transform: CircularSpline = CircularSpline()

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.transformed
        inputs = 2 * HARMONICS * self.kept + self.condition_size
        return MLP(inputs, outputs, self.hidden, self.activation)

    def parameters(self, weights, seen, condition):
        turns = 2 * math.pi * seen
        waves = [w(n * turns) for n in range(1, HARMONICS + 1) for w in (tf.cos, tf.sin)]
        return super().parameters(weights, tf.concat(waves, -1), condition)


@dataclasses.dataclass(frozen=True)
class OnTorus(Layer):
    """Angles to normal latents: z = Phi^-1(layer(x / period)), where the layer maps turns to turns.

    The density is periodic and continuous: uniform turns have the density of the circle, whatever
    latents a seam has. Angles outside [0, period) are the angles that they are equal to.

    Attributes:
      layer: such as `CircularCoupling`.
      period: of all angles.
    """

    layer: Layer
    period: float = 2 * math.pi

    def __post_init__(self):
        super().__post_init__()
        if not self.period > 0:
            raise UserError(f"period is {self.period}, must be above 0")

    def init(self, rng):
        return self.layer.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        turns = _fraction(x * (1.0 / self.period))
        u, log_det = self.layer.forward_and_log_det(weights, turns, condition)
        z = tf.math.ndtri(tf.clip_by_value(u, NEAREST, 1 - NEAREST))
        return z, log_det + self._volume(z)

    def inverse_and_log_det(self, weights, y, condition=None):
        u = _fraction(0.5 * tf.math.erfc(-math.sqrt(0.5) * y))
        turns, log_det = self.layer.inverse_and_log_det(weights, u, condition)
        return self.period * _fraction(turns), log_det - self._volume(y)

    def _volume(self, z):
        """log |dz/dx| of the two ends, [B]."""
        return sum_event(0.5 * (z * z + LOG_TWO_PI) - math.log(self.period))

    def check(self, x):
        if not np.isfinite(x).all():
            raise UserError("angles must be finite")


def _fraction(x):
    """x modulo 1; where rounding gives 1, the seam."""
    return x - tf.floor(x)
