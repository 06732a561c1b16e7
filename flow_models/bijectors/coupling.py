"""Coupling layers: one half is transformed with parameters that a network reads off the other half."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.elementwise import Affine
from flow_models.bijectors.layer import Layer
from flow_models.described import Described
from flow_models.networks import MLP


@dataclasses.dataclass(frozen=True)
class Coupling(Layer):
    """(a, b) -> (transform(b; network(a)), a): a is the first size // 2 dimensions; the halves change places.

    Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio 2017). Swapping the halves is renaming: it
    costs nothing, and the next layer transforms what this one kept.

    Attributes:
      size: dimensions, at least 2.
      transform: an elementwise map (`Affine`, `RationalQuadratic`, ...).
      hidden, activation: of the conditioner.
      condition_size: width of a condition that the network also reads; 0 for none.
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
    def kept(self) -> int:
        return self.size // 2

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * (self.size - self.kept)
        return MLP(self.kept + self.condition_size, outputs, self.hidden, self.activation)

    def init(self, rng):
        return self.network.init(rng)

    def _parameters(self, weights, a, condition):
        """[B, transformed dimensions, parameters of each]."""
        o = self.network(weights, a if condition is None else tf.concat([a, condition], 1))
        return tf.reshape(o, [-1, self.size - self.kept, self.transform.parameters])

    def forward_and_log_det(self, weights, x, condition=None):
        a, b = x[:, : self.kept], x[:, self.kept :]
        b, log_slopes = self.transform.forward_and_log_det(self._parameters(weights, a, condition), b)
        return tf.concat([b, a], 1), tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        cut = self.size - self.kept
        b, a = y[:, :cut], y[:, cut:]
        b, log_slopes = self.transform.inverse_and_log_det(self._parameters(weights, a, condition), b)
        return tf.concat([a, b], 1), tf.reduce_sum(log_slopes, 1)
