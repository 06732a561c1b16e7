"""Coupling layers: one half is transformed with parameters that a network reads off the other half."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned
from flow_models.networks import MLP


@dataclasses.dataclass(frozen=True)
class Coupling(Conditioned):
    """(a, b) -> (transform(b; network(a)), a): a is the first size // 2 dimensions; the halves change places.

    Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio 2017). Swapping the halves is renaming: it
    costs nothing, and the next layer transforms what this one kept.

    Attributes: see `Conditioned`; `size` is at least 2.
    """

    @property
    def kept(self) -> int:
        return self.size // 2

    @property
    def transformed(self) -> int:
        return self.size - self.kept

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.transformed
        return MLP(self.kept + self.condition_size, outputs, self.hidden, self.activation)

    def forward_and_log_det(self, weights, x, condition=None):
        a, b = x[:, : self.kept], x[:, self.kept :]
        b, log_slopes = self.transform.forward_and_log_det(self.parameters(weights, a, condition), b)
        return tf.concat([b, a], 1), tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        b, a = y[:, : self.transformed], y[:, self.transformed :]
        b, log_slopes = self.transform.inverse_and_log_det(self.parameters(weights, a, condition), b)
        return tf.concat([a, b], 1), tf.reduce_sum(log_slopes, 1)
