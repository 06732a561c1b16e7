"""The base of coupling and autoregressive layers: a network gives the parameters of an elementwise
map."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.bijectors.elementwise import Affine
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Conditioned(Layer):
    """A layer that transforms `transformed` dimensions with parameters from `network`.

    Subclasses define `network`, the conditioner.

    Attributes:
      size: number of dimensions.
      transform: an elementwise map (`Affine`, `RationalQuadratic`, ...).
      hidden: widths of the hidden layers of the network.
      activation: relu, silu, tanh or gelu.
      condition_size: width of a condition that the network also reads; 0 for none.
    """

    size: int
    transform: Any = Affine()
    hidden: Sequence[int] = (128, 128)
    activation: str = "relu"
    condition_size: int = 0

    def __post_init__(self):
        super().__post_init__()
        _ = self.network  # refuses wrong widths now rather than during training

    @property
    def transformed(self) -> int:
        """Dimensions that the map changes."""
        return self.size

    @property
    def network(self) -> MLP:
        """The conditioner: what the map is not applied to [B, ...] -> its parameters.

        Raises:
          UserError: the subclass does not define it.
        """
        raise UserError(f"the layer {type(self).__name__} is not complete: write its network")

    def init(self, rng):
        return self.network.init(rng)

    def parameters(self, weights, seen, condition):
        """Parameters of the map, [B, ..., transformed, parameters], from the dimensions that the
        network sees."""
        if condition is not None:
            seen = tf.concat([seen, everywhere(condition, seen)], -1)
        o = self.network(weights, seen)
        return tf.reshape(o, [-1, *seen.shape[1:-1], self.transformed, self.transform.parameters])


@dataclasses.dataclass(frozen=True)
class Given(Conditioned):
    """y = transform(x; network(condition)): what is given alone tells the parameters.

    Attributes:
      spread: about the standard deviation of the parameters at first; 0: the identity. Of noise
        that starts independent of the data neither learns anything of the other.

    Others as in `Conditioned`.
    """

    spread: float = 0.0

    def init(self, rng):
        weights, last = super().init(rng), f"w{len(self.hidden)}"
        shape = weights[last].shape
        start = (self.spread / shape[0] ** 0.5 * rng.normal(size=shape)).astype(np.float32)
        return {**weights, last: start}

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.transformed
        return MLP(self.condition_size, outputs, self.hidden, self.activation)

    def forward_and_log_det(self, weights, x, condition=None):
        o = self.parameters(weights, x[:, :0], condition)
        y, log_slopes = self.transform.forward_and_log_det(o, x)
        return y, tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        o = self.parameters(weights, y[:, :0], condition)
        x, log_slopes = self.transform.inverse_and_log_det(o, y)
        return x, tf.reduce_sum(log_slopes, 1)


def everywhere(condition, x):
    """Repeats a condition [B, C] at every position of x: [B, C] for vectors, [B, H, W, C] for
    images. A condition that has this rank already is returned as it is."""
    condition = tf.convert_to_tensor(condition, x.dtype)
    if condition.shape.rank == x.shape.rank:
        return condition
    condition = tf.reshape(condition, [-1, *[1] * (x.shape.rank - 2), condition.shape[-1]])
    return tf.broadcast_to(condition, tf.concat([tf.shape(x)[:-1], tf.shape(condition)[-1:]], 0))
