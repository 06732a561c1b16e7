"""What couplings and autoregressive layers share: an elementwise map whose parameters a network
gives."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.elementwise import Affine
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP
from flow_models.core.serializable import Described


@dataclasses.dataclass(frozen=True)
class Conditioned(Layer):
    """A layer that transforms `transformed` dimensions with parameters from `network`, which
    subclasses define.

    Attributes:
      size: dimensions.
      transform: an elementwise map (`Affine`, `RationalQuadratic`, ...).
      hidden, activation: of the network.
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
    def transformed(self) -> int:
        return self.size

    @property
    def network(self) -> MLP:
        raise AssertionError(f"{type(self).__name__} does not define its network")

    def init(self, rng):
        return self.network.init(rng)

    def parameters(self, weights, seen, condition):
        """What the network makes of the dimensions it sees: [B, ..., transformed, parameters of the
        map]."""
        if condition is not None:
            seen = tf.concat([seen, everywhere(condition, seen)], -1)
        o = self.network(weights, seen)
        return tf.reshape(o, [-1, *seen.shape[1:-1], self.transformed, self.transform.parameters])


def everywhere(condition, x):
    """A condition [B, C] at every position of x: [B, C] for vectors, [B, H, W, C] for images, which
    may also be given."""
    condition = tf.convert_to_tensor(condition, x.dtype)
    if condition.shape.rank == x.shape.rank:
        return condition
    condition = tf.reshape(condition, [-1, *[1] * (x.shape.rank - 2), condition.shape[-1]])
    return tf.broadcast_to(condition, tf.concat([tf.shape(x)[:-1], tf.shape(condition)[-1:]], 0))
