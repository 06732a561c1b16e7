"""A layer in coordinates that are learned: the invertible layer of i-RIM."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conv1x1 import Householder
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import of_channels


@dataclasses.dataclass(frozen=True)
class Rotated(Layer):
    """f(x) = g(x Q) Q^T over the last axis, with a learned orthogonal Q of Householder reflections;
    log |det| is that of g.

    With an additive coupling as g it is the invertible layer of Invert to learn to invert (Putzky
    and Welling 2019, section 3.2), whose training stores no activations (`Reversible`).

    Attributes:
      size: number of dimensions or channels.
      layer: g.
    """

    size: int
    layer: Layer

    def init(self, rng):
        return {"rotation": Householder(self.size).init(rng), "layer": self.layer.init(rng)}

    def _run(self, direction, weights, x, condition):
        q = Householder(self.size).matrix(weights["rotation"])
        y, log_det = direction(weights["layer"], of_channels(x, q), condition)
        return of_channels(y, tf.transpose(q)), log_det

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(self.layer.forward_and_log_det, weights, x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, weights, y, condition)

    def data_dependent_init(self, weights, x, condition=None):
        q = Householder(self.size).matrix(weights["rotation"])
        started, y = self.layer.data_dependent_init(weights["layer"], of_channels(x, q), condition)
        return {**weights, "layer": started}, of_channels(y, tf.transpose(q))
