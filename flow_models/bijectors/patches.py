"""Flows of the patches of an image, which stand as channels on a grid [B, H, W, C] (`Squeeze` makes
them), with transformers as conditioners."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned, everywhere
from flow_models.bijectors.coupling import CheckerboardCoupling, Coupling
from flow_models.bijectors.layer import Layer, no_log_det, sum_event
from flow_models.bijectors.transformer import Transformer


@dataclasses.dataclass(frozen=True)
class OnPatches(Conditioned):
    """A layer whose network is a transformer of patches.

    Attributes:
      size: channels C of a patch.
      hidden, heads: of the transformer.
      grid: (H, W).

    Others as in `Conditioned`.
    """

    grid: Sequence[int] = (1, 1)
    heads: int = 4

    def transformer(self, seen: int, causal: bool = False) -> Transformer:
        """The network of so many channels and of the condition."""
        inputs, outputs = seen + self.condition_size, self.transform.parameters * self.transformed
        return Transformer(
            inputs, outputs, self.hidden, self.activation, self.grid, self.heads, causal
        )


@dataclasses.dataclass(frozen=True)
class PatchCoupling(OnPatches, Coupling):
    """A coupling of the channels of patches (Jet, Kolesnikov, Pinto and Tschannen 2024)."""

    @property
    def network(self):
        return self.transformer(self.kept)


@dataclasses.dataclass(frozen=True)
class PatchCheckerboard(OnPatches, CheckerboardCoupling):
    """Transforms the patches of one colour of a checkerboard with parameters read off the other,
    as Jet does between its couplings of channels (Kolesnikov, Pinto and Tschannen 2024)."""

    @property
    def network(self):
        return self.transformer(self.size)


@dataclasses.dataclass(frozen=True)
class PatchAutoregressive(OnPatches):
    """y_i = transform(x_i; network(x_1 .. x_(i-1))) of the patches i, row by row: one pass forward;
    inverse, a patch at a time, with the keys and values of those before kept.

    The block of TarFlow (Normalizing flows are capable generative models, Zhai et al. 2024). Here
    the first patch is transformed too, with numbers of its own.
    """

    @property
    def network(self):
        return self.transformer(self.size, causal=True)

    def forward_and_log_det(self, weights, x, condition=None):
        patches = tf.reshape(x, [-1, self.network.length, self.size])
        before = tf.reshape(tf.pad(patches[:, :-1], [[0, 0], [1, 0], [0, 0]]), tf.shape(x))
        before.set_shape(x.shape)
        o = self.parameters(weights, before, condition)
        y, log_slopes = self.transform.forward_and_log_det(o, x)
        return y, sum_event(log_slopes)

    def inverse_and_log_det(self, weights, y, condition=None):
        """The gradient through the loop stores the keys and values of every round."""
        length, network = self.network.length, self.network
        patches = tf.transpose(tf.reshape(y, [-1, length, self.size]), [1, 0, 2])

        def body(i, before, x, total, memory):
            seen = (
                before
                if condition is None
                else tf.concat([before, everywhere(condition, before)], 1)
            )
            o, memory = network.step(weights, seen, i, memory)
            o = tf.reshape(o, [-1, self.size, self.transform.parameters])
            found, log_slopes = self.transform.inverse_and_log_det(o, tf.gather(patches, i))
            return i + 1, found, x.write(i, found), total + sum_event(log_slopes), memory

        first = tf.zeros_like(patches[0])
        memory = network.memory(tf.shape(y)[0], y.dtype)
        all = tf.TensorArray(y.dtype, length, element_shape=first.shape)
        _, _, x, total, _ = tf.while_loop(
            lambda i, *_: i < length,
            body,
            (0, first, all, no_log_det(y), memory),
            maximum_iterations=length,
        )
        x = tf.reshape(tf.transpose(x.stack(), [1, 0, 2]), tf.shape(y))
        x.set_shape(y.shape)
        return x, total


@dataclasses.dataclass(frozen=True)
class HalfTurn(Layer):
    """Images [B, H, W, C] turned by half a turn: the last patch comes first. Its own inverse."""

    sees_condition = False

    def forward_and_log_det(self, weights, x, condition=None):
        return tf.reverse(x, [1, 2]), no_log_det(x)

    inverse_and_log_det = forward_and_log_det


@dataclasses.dataclass(frozen=True)
class Roll(Layer):
    """Images [B, H, W, C] moved on by one column, the last one comes first: a checkerboard then
    takes the other colour."""

    sees_condition = False

    def forward_and_log_det(self, weights, x, condition=None):
        return tf.roll(x, 1, 2), no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        return tf.roll(y, -1, 2), no_log_det(y)
