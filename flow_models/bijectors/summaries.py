"""Networks that summarise a series or an image: convolutions, or attention between all places."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.networks import ACTIVATIONS, MLP
from flow_models.bijectors.transformer import Transformer
from flow_models.core.serializable import Serializable

KERNEL = 5  # places an axis
FEWEST = 4  # places an axis that a perceptron takes


@dataclasses.dataclass(frozen=True)
class Convolutions(Serializable):
    """s = perceptron(convolutions(y, there)): [B, T (M + 1)] -> [B, K], T places on a grid.

    Convolutions of stride 2 until each axis has at most four places; the perceptron sees these in
    their order. Places that are missing are zero and say so.

    Attributes:
      grid: (T,) of a series, (H, W) of an image.
      columns: M.
      outputs: K.
      channels: of the first convolution; the others have twice as many.
      hidden: widths of the hidden layers of the perceptron.
      activation: as in `MLP`.
    """

    grid: Sequence[int]
    columns: int
    outputs: int
    channels: int = 32
    hidden: Sequence[int] = (64,)
    activation: str = "silu"

    @property
    def places(self) -> int:
        """T."""
        return math.prod(self.grid)

    @property
    def width(self) -> int:
        """K."""
        return self.outputs

    @property
    def _grids(self) -> list[tuple[int, ...]]:
        """Places an axis, before the first convolution and after each."""
        grids = [tuple(self.grid)]
        while max(grids[-1]) > FEWEST:
            grids.append(tuple(-(-n // 2) if n > FEWEST else n for n in grids[-1]))
        return grids

    @property
    def _channels(self) -> list[int]:
        """Before the first convolution and after each."""
        return [self.columns + 1, self.channels, *[2 * self.channels] * len(self._grids)][
            : len(self._grids)
        ]

    @property
    def _perceptron(self) -> MLP:
        inputs = math.prod(self._grids[-1]) * self._channels[-1]
        return MLP(inputs, self.outputs, tuple(self.hidden), self.activation)

    def init(self, rng):
        """Of unit variance from layer to layer, the last one included: from zero nothing would be
        learned."""
        channels, kernel = self._channels, (KERNEL,) * len(self.grid)
        weights = {
            f"w{i}": _normal(rng, (*kernel, inputs, outputs))
            for i, (inputs, outputs) in enumerate(zip(channels, channels[1:]))
        }
        biases = {f"b{i}": np.zeros(c, np.float32) for i, c in enumerate(channels[1:])}
        return {**weights, **biases, "perceptron": _started(self._perceptron, rng)}

    def __call__(self, weights, x):
        h = tf.reshape(x, [-1, *self.grid, self.columns + 1])
        for i, (before, after) in enumerate(zip(self._grids, self._grids[1:])):
            strides = [1 if n == m else 2 for n, m in zip(before, after)]
            h = tf.nn.convolution(h, weights[f"w{i}"], strides, "SAME") + weights[f"b{i}"]
            h = ACTIVATIONS[self.activation](h)
        perceptron = self._perceptron
        return perceptron(weights["perceptron"], tf.reshape(h, [-1, perceptron.inputs]))


@dataclasses.dataclass(frozen=True)
class Attention(Serializable):
    """s = mean_t transformer(y, there)_t of the places that are there: [B, T (M + 1)] -> [B, K].

    A place is a token, and knows where it is. Time and memory grow with T^2.

    Attributes:
      places, columns: T and M.
      outputs: K.
      hidden, heads: as in `Transformer`.
    """

    places: int
    columns: int
    outputs: int
    hidden: Sequence[int] = (32, 32)
    heads: int = 4

    @property
    def width(self) -> int:
        """K."""
        return self.outputs

    @property
    def _network(self) -> Transformer:
        hidden, grid = tuple(self.hidden), (self.places,)
        return Transformer(
            self.columns + 1, self.outputs, hidden, "gelu", grid=grid, heads=self.heads
        )

    def init(self, rng):
        """As `Transformer`, but for the last layer, which does not start at zero."""
        weights = self._network.init(rng)
        return {**weights, "w": _normal(rng, weights["w"].shape)}

    def __call__(self, weights, x):
        tokens = tf.reshape(x, [-1, self.places, self.columns + 1])
        there = tokens[..., -1:]
        total = tf.reduce_sum(there * self._network(weights, tokens), 1)
        return total / tf.maximum(tf.reduce_sum(there, 1), 1.0)


def _started(network: MLP, rng) -> dict[str, np.ndarray]:
    """Initial weights of a perceptron whose last layer does not start at zero."""
    weights, last = network.init(rng), f"w{len(network.hidden)}"
    return {**weights, last: _normal(rng, weights[last].shape)}


def _normal(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Weights [..., inputs, outputs] of variance one over all inputs, float32."""
    return (math.prod(shape[:-1]) ** -0.5 * rng.normal(size=shape)).astype(np.float32)
