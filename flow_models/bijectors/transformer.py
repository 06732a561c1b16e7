"""Transformers as conditioner networks of patches: all at once, or one patch after the other."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.networks import ACTIVATIONS, MLP, glorot, of_channels
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Transformer(MLP):
    """Tokens [B, H, W, inputs] -> [B, H, W, outputs], a token a patch of an image.

    Learned positions, then blocks of attention between tokens and of a perceptron at each, as in
    the vision transformer (An image is worth 16x16 words, Dosovitskiy et al. 2021). The last layer
    starts at zero.

    Attributes:
      hidden: a block for each number, which is the width of the tokens; all are equal.
      grid: (H, W).
      heads: of attention; must divide the width.
      causal: a token sees those up to itself, row by row; otherwise all.

    Others as in `MLP`.
    """

    grid: Sequence[int] = (1, 1)
    heads: int = 4
    causal: bool = False

    def __post_init__(self):
        super().__post_init__()
        if len(set(self.hidden)) != 1:
            raise UserError(
                f"hidden is {list(self.hidden)}: a transformer has a block for each number, and"
                " all its blocks have one width"
            )
        if self.heads < 1 or self.width % self.heads:
            raise UserError(f"heads is {self.heads}, must divide the width {self.width}")

    @property
    def width(self) -> int:
        return self.hidden[0]

    @property
    def length(self) -> int:
        """Number of tokens."""
        return int(np.prod(self.grid))

    def init(self, rng):
        width = self.width
        return {
            "enter": glorot(rng, self.inputs, width),
            "places": rng.normal(0, width**-0.5, (self.length, width)).astype(np.float32),
            "blocks": [self._block(rng) for _ in self.hidden],
            "norm": _unit(width),
            "w": np.zeros((width, self.outputs), np.float32),
            "b": np.zeros(self.outputs, np.float32),
        }

    def _block(self, rng):
        width = self.width
        return {
            "norm": _unit(width),
            "queries_keys_values": np.concatenate(
                [glorot(rng, width, width) for _ in range(3)], axis=1
            ),
            "leave": glorot(rng, width, width),
            "norm_of_tokens": _unit(width),
            "w0": glorot(rng, width, 4 * width),
            "b0": np.zeros(4 * width, np.float32),
            "w1": glorot(rng, 4 * width, width),
            "b1": np.zeros(width, np.float32),
        }

    def __call__(self, weights, x):
        h = of_channels(tf.reshape(x, [-1, self.length, self.inputs]), weights["enter"])
        seen = np.ones((self.length, self.length), bool)
        seen = tf.constant(np.tril(seen) if self.causal else seen)
        h += weights["places"]
        for block in weights["blocks"]:
            h = self._attended(block, h, seen)[0]
        return tf.reshape(self._outputs(weights, h), [-1, *self.grid, self.outputs])

    def memory(self, count: int, dtype) -> list:
        """Keys and values of all tokens of `count` rows, a pair a block, before `step` has found
        any."""
        empty = tf.zeros([count, self.length, self.width], dtype)
        return [(empty, empty) for _ in self.hidden]

    def step(self, weights, x, i, memory):
        """The outputs of a causal transformer at token i, given that of the inputs there and what
        the tokens before left in memory.

        Args:
          x: [B, inputs], at token i.

        Returns:
          outputs [B, outputs], and the memory with token i in it.
        """
        places, kept = tf.range(self.length), []
        here, seen = (places == i)[:, None], (places <= i)[None]
        place = tf.reduce_sum(tf.where(here, weights["places"], 0.0), 0)
        h = (x @ weights["enter"] + place)[:, None]
        for block, known in zip(weights["blocks"], memory):
            h, known = self._attended(
                block, h, seen, lambda new, old: tf.where(here, new, old), known
            )
            kept.append(known)
        return self._outputs(weights, h)[:, 0], kept

    def _outputs(self, weights, h):
        return of_channels(_normed(h, weights["norm"]), weights["w"]) + weights["b"]

    def _attended(self, w, h, seen, stored=lambda new, old: new, known=(None, None)):
        """One block on tokens h [B, T, width]; its keys and values, those of h stored in known."""
        q, *found = tf.split(
            of_channels(_normed(h, w["norm"]), w["queries_keys_values"]), 3, axis=2
        )
        k, v = known = tuple(stored(new, old) for new, old in zip(found, known))
        q, k, v = (
            tf.reshape(each, [-1, each.shape[1], self.heads, self._size]) for each in (q, k, v)
        )
        scores = tf.einsum("bihd,bjhd->bhij", q, k) * self._size**-0.5
        shares = tf.nn.softmax(tf.where(seen, scores, tf.cast(-1e30, scores.dtype)))
        mixed = tf.reshape(tf.einsum("bhij,bjhd->bihd", shares, v), tf.shape(h))
        h += of_channels(mixed, w["leave"])
        bent = of_channels(_normed(h, w["norm_of_tokens"]), w["w0"]) + w["b0"]
        return h + of_channels(ACTIVATIONS[self.activation](bent), w["w1"]) + w["b1"], known

    @property
    def _size(self):
        """Numbers of a head."""
        return self.width // self.heads


def _unit(width):
    return {"scale": np.ones(width, np.float32), "shift": np.zeros(width, np.float32)}


def _normed(h, w):
    """Layer normalisation (Ba, Kiros and Hinton 2016)."""
    centred = h - tf.reduce_mean(h, -1, keepdims=True)
    deviation = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + 1e-5)
    return centred * deviation * w["scale"] + w["shift"]
