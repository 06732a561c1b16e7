"""Autoregressive layers: the dimensions before i give the parameters that transform dimension i."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned
from flow_models.bijectors.networks import MaskedMLP


@dataclasses.dataclass(frozen=True)
class Autoregressive(Conditioned):
    """y_i = transform(x_i; network(x_1 .. x_(i-1))): one pass forward, `size` passes inverse.

    Masked Autoregressive Flow (Papamakarios, Pavlakou and Murray 2017). Its `Inverse` is the
    Inverse Autoregressive Flow (Kingma et al. 2016), which samples fast.
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
        """Pass i finds x_i with the parameters that x_1 .. x_(i-1) give."""
        found, log_slopes = [], []
        for i in range(self.size):
            x = tf.concat([*found, tf.zeros_like(y[:, i:])], 1)
            o = self.parameters(weights, x, condition)[:, i : i + 1]
            one, log_slope = self.transform.inverse_and_log_det(o, y[:, i : i + 1])
            found.append(one)
            log_slopes.append(log_slope)
        return tf.concat(found, 1), tf.reduce_sum(tf.concat(log_slopes, 1), 1)
