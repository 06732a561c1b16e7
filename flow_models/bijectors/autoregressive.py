"""Autoregressive layers: dimension i is transformed with parameters that depend on the dimensions before it."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.elementwise import Affine
from flow_models.bijectors.layer import Layer
from flow_models.described import Described
from flow_models.networks import MaskedMLP


@dataclasses.dataclass(frozen=True)
class Autoregressive(Layer):
    """y_i = transform(x_i; network(x_1 .. x_(i-1))): one pass forward, `size` passes inverse.

    Masked Autoregressive Flow (Papamakarios, Pavlakou and Murray 2017). Its `Inverse` is the fast-sampling Inverse
    Autoregressive Flow (Kingma et al. 2016).
    """

    size: int
    transform: Described = Affine()
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    condition_size: int = 0

    def __post_init__(self):
        super().__post_init__()
        _ = self.network  # refuses wrong widths now, not in the middle of a run

    @property
    def network(self) -> MaskedMLP:
        outputs = self.transform.parameters * self.size
        return MaskedMLP(self.size + self.condition_size, outputs, self.hidden, self.activation, self.size)

    def init(self, rng):
        return self.network.init(rng)

    def _parameters(self, weights, x, condition):
        """[B, size, parameters of each]."""
        o = self.network(weights, x if condition is None else tf.concat([x, condition], 1))
        return tf.reshape(o, [-1, self.size, self.transform.parameters])

    def forward_and_log_det(self, weights, x, condition=None):
        y, log_slopes = self.transform.forward_and_log_det(self._parameters(weights, x, condition), x)
        return y, tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        """Pass i finds x_1 .. x_i; the last pass's slopes, taken at the full x but for x_size, are those of the map."""
        x, log_slopes = tf.zeros_like(y), None
        for _ in range(self.size):
            x, log_slopes = self.transform.inverse_and_log_det(self._parameters(weights, x, condition), y)
        return x, tf.reduce_sum(log_slopes, 1)
