"""The base of layers with a few parameters of their own, which a condition may move."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP


@dataclasses.dataclass(frozen=True)
class Amortised(Layer):
    """A layer of vectors whose parameters are o, or o + network(condition): amortised, as in the
    papers on variational autoencoders.

    Subclasses define `parts`, the names and shapes of the parameters.

    Attributes:
      size: number of dimensions.
      condition_size: width of a condition; 0 for none.
      hidden, activation: of the network that reads it.
    """

    size: int
    condition_size: int = 0
    hidden: Sequence[int] = (64,)
    activation: str = "relu"

    @property
    def parts(self) -> dict[str, int]:
        """Name -> how many numbers.

        Raises:
          TypeError: the subclass does not define it.
        """
        raise TypeError(f"{type(self).__name__} must define the property parts")

    def start(self, rng) -> dict[str, np.ndarray]:
        """The parts that do not start at 0, name -> [n]."""
        return {}

    @property
    def network(self) -> MLP:
        """From a condition to what is added to all parts."""
        return MLP(self.condition_size, sum(self.parts.values()), self.hidden, self.activation)

    def init(self, rng):
        zeros = {name: np.zeros(count, np.float32) for name, count in self.parts.items()}
        started = {name: value.astype(np.float32) for name, value in self.start(rng).items()}
        weights = {**zeros, **started}
        return weights | ({"network": self.network.init(rng)} if self.condition_size else {})

    def parameters(self, weights, condition) -> dict[str, tf.Tensor]:
        """Each part, [1, n], or [B, n] where there is a condition."""
        parts = {name: weights[name][None] for name in self.parts}
        if not self.condition_size:
            return parts
        moved = tf.split(self.network(weights["network"], condition), [*self.parts.values()], 1)
        return {name: parts[name] + o for name, o in zip(parts, moved, strict=True)}
