"""Autoregressive layers: dimension i is transformed with parameters that depend on the dimensions
before it."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned
from flow_models.bijectors.networks import MaskedMLP


@dataclasses.dataclass(frozen=True)
class Autoregressive(Conditioned):
    """y_i = transform(x_i; network(x_1 .. x_(i-1))): one pass forward, `size` passes inverse.

    Masked Autoregressive Flow (Papamakarios, Pavlakou and Murray 2017). Its `Inverse` is the
    fast-sampling Inverse Autoregressive Flow (Kingma et al. 2016).
    """

    @property
    def network(self) -> MaskedMLP:
        outputs = self.transform.parameters * self.size
        return MaskedMLP(
            self.size + self.condition_size, outputs, self.hidden, self.activation, self.size
        )

    def forward_and_log_det(self, weights, x, condition=None):
        y, log_slopes = self.transform.forward_and_log_det(
            self.parameters(weights, x, condition), x
        )
        return y, tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        """Pass i finds x_1 .. x_i; the last pass's slopes, taken at the full x but for x_size, are
        those of the map."""
        x, log_slopes = tf.zeros_like(y), None
        for _ in range(self.size):
            x, log_slopes = self.transform.inverse_and_log_det(
                self.parameters(weights, x, condition), y
            )
        return x, tf.reduce_sum(log_slopes, 1)
