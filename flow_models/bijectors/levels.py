"""From pixel levels to numbers that suit a network, and learned dequantisation noise."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.coupling import CheckerboardCoupling
from flow_models.bijectors.layer import Layer, no_log_det, sum_event
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Levels(Layer):
    """y = x / levels - 1/2 for dequantised levels x in [0, levels), or
    y = logit(a/2 + (1 - a) x / levels).

    Attributes:
      levels: 256 for 8 bits.
      logit: a; 0 for the linear map. Real NVP takes 0.05 (Dinh, Sohl-Dickstein and Bengio 2017,
        section 4.1).
    """

    levels: int = 256
    logit: float = 0.0
    sees_condition = False

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.logit < 1:
            raise UserError(f"logit is {self.logit}, must be in [0, 1); 0 for none")

    def _linear_log_det(self, x):
        return no_log_det(x) - math.prod(x.shape[1:]) * math.log(self.levels)

    def forward_and_log_det(self, weights, x, condition=None):
        u = x / self.levels
        if not self.logit:
            return u - 0.5, self._linear_log_det(x)
        u = 0.5 * self.logit + (1 - self.logit) * u
        y, slopes = tf.math.log(u) - tf.math.log1p(-u), -tf.math.log(u) - tf.math.log1p(-u)
        return y, sum_event(slopes + math.log(1 - self.logit)) + self._linear_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        if not self.logit:
            return (y + 0.5) * self.levels, -self._linear_log_det(y)
        log_slopes = tf.math.log_sigmoid(y) + tf.math.log_sigmoid(-y) - math.log(1 - self.logit)
        u = (tf.sigmoid(y) - 0.5 * self.logit) / (1 - self.logit)
        return u * self.levels, sum_event(log_slopes) - self._linear_log_det(y)


@dataclasses.dataclass(frozen=True)
class Dequantisation(Layer):
    """x = k + e -> k + g(e; k): a flow g that sees the image k transforms the uniform noise e.

    Variational dequantisation (Flow++, Ho et al. 2019) as a layer. For uniform e, u = g(e; k) has
    the density q(u | k) = 1 / |det dg/de|, and log p(k + u) - log q(u | k) is the log-density of
    k + e under the network with this layer in front. g is two checkerboard couplings of splines
    from [0, 1] to itself, so noise never leaves its level.

    Attributes:
      channels, levels: of the images.
      bins: of the splines.
      hidden, activation: of the networks of the couplings.
    """

    channels: int
    levels: int = 256
    bins: int = 4
    hidden: Sequence[int] = (32, 32)
    activation: str = "relu"
    sees_condition = False

    @property
    def flow(self) -> Chain:
        """g, the flow of the noise."""
        options: dict[str, Any] = {
            "hidden": self.hidden,
            "activation": self.activation,
            "condition_size": self.channels,
        }
        spline = RationalQuadratic(self.bins, bound=0.5)
        return Chain(
            [CheckerboardCoupling(self.channels, spline, **options, colour=c) for c in (0, 1)]
        )

    def init(self, rng):
        return self.flow.init(rng)

    def _run(self, direction, weights, x):
        k = tf.floor(x)
        bent, log_det = direction(weights, x - k - 0.5, k / self.levels - 0.5)
        return k + bent + 0.5, log_det

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(self.flow.forward_and_log_det, weights, x)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(self.flow.inverse_and_log_det, weights, y)
