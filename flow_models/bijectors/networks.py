"""Conditioner networks: dense, convolutional, and masked (output i sees only inputs before i).
Their last layers start at zero."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable

ACTIVATIONS = {"relu": tf.nn.relu, "silu": tf.nn.silu, "tanh": tf.tanh, "gelu": tf.nn.gelu}
NARROW = 2  # up to so many columns, broadcast multiplies are faster than XLA's matrix product


@tf.custom_gradient
def dense(x, w, b):
    """x w + b, [B, I] x [I, O] + [O], written so that XLA is fast where I or O is small.

    Measured on two cores at batch 256: the gradient of a 128-to-2 layer takes 25 us instead of the
    106 us of plain matrix products.
    """
    inputs, outputs = w.shape
    if inputs <= NARROW:
        y = sum(x[:, i : i + 1] * w[i] for i in range(inputs)) + b
    else:
        y = x @ w + b

    def gradient(dy):
        if inputs <= NARROW:
            dx = tf.stack([tf.reduce_sum(dy * w[i], 1) for i in range(inputs)], 1)
        elif outputs <= NARROW:
            dx = sum(dy[:, o : o + 1] * w[:, o] for o in range(outputs))
        else:
            dx = tf.matmul(dy, w, transpose_b=True)
        if inputs > NARROW and outputs <= NARROW:
            dw = tf.transpose(tf.matmul(dy, x, transpose_a=True))
        else:
            dw = tf.matmul(x, dy, transpose_a=True)
        return dx, dw, tf.reduce_sum(dy, 0)

    return y, gradient


def of_channels(x, matrix):
    """x @ matrix over the last axis of x [..., C], computed as one product of two matrices."""
    return tf.reshape(
        tf.reshape(x, [-1, x.shape[-1]]) @ matrix, [-1, *x.shape[1:-1], matrix.shape[1]]
    )


def glorot(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    """Initial weights [inputs, outputs], uniform with variance 2 / (inputs + outputs), float32
    (Glorot and Bengio 2010)."""
    limit = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MLP(Serializable):
    """Multilayer perceptron [B, inputs] -> [B, outputs]. Its last layer starts at zero, so new
    couplings are the identity.

    Attributes:
      inputs, outputs: widths of the two ends.
      hidden: widths of the hidden layers.
      activation: relu, silu, tanh or gelu.
    """

    inputs: int
    outputs: int
    hidden: Sequence[int] = (128, 128)
    activation: str = "relu"

    def __post_init__(self):
        super().__post_init__()
        for width in (self.inputs, self.outputs, *self.hidden):
            if width < 1:
                raise UserError(
                    f"a network of hidden widths {list(self.hidden)}: widths must be at least 1"
                )
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f"no activation {self.activation!r}; there are {', '.join(ACTIVATIONS)}"
            )

    def _widths(self):
        return (self.inputs, *self.hidden, self.outputs)

    def init(self, rng):
        """Initial weights "w0", "b0", "w1", ...; those of the last layer are zero."""
        widths, weights = self._widths(), {}
        for i, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
            last = i == len(self.hidden)
            weights[f"w{i}"] = (
                np.zeros((fan_in, fan_out), np.float32) if last else glorot(rng, fan_in, fan_out)
            )
            weights[f"b{i}"] = np.zeros(fan_out, np.float32)
        return weights

    def __call__(self, weights, x):
        activation = ACTIVATIONS[self.activation]
        for i in range(len(self.hidden)):
            x = activation(dense(x, self._kernel(weights, i), weights[f"b{i}"]))
        last = len(self.hidden)
        return dense(x, self._kernel(weights, last), weights[f"b{last}"])

    def _kernel(self, weights, i):
        return weights[f"w{i}"]


def conv3x3(x, w, b):
    """3x3 convolution with zero padding, [B, H, W, I], w [9 I, O] -> [B, H, W, O], as one matrix
    product.

    The side with fewer channels is shifted nine times: the inputs before the product (rows of w in
    the order shift, channel) or the outputs after it. XLA's own convolutions take 1.4 times as long
    on two cores (`python benchmarks/convolutions.py`).
    """
    inputs, outputs = w.shape[0] // 9, w.shape[1]
    if inputs <= outputs:
        return of_channels(tf.concat(_shifts(x), -1), w) + b
    w = tf.reshape(
        tf.transpose(tf.reshape(w, [9, inputs, outputs]), [1, 0, 2]), [inputs, 9 * outputs]
    )
    products = _padded(of_channels(x, w))
    parts = [products[..., k * outputs : (k + 1) * outputs] for k in range(9)]
    return tf.add_n([_window(part, k, x.shape[1:3]) for k, part in enumerate(parts)]) + b


def _shifts(x):
    """Nine copies of x [B, H, W, C], shifted by -1, 0, 1 in both directions with zero padding."""
    padded = _padded(x)
    return [_window(padded, k, x.shape[1:3]) for k in range(9)]


def _padded(x):
    return tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])


def _window(padded, k, size):
    i, j = divmod(k, 3)
    return padded[:, i : i + size[0], j : j + size[1]]


@dataclasses.dataclass(frozen=True)
class ConvNet(MLP):
    """Convolutions [B, H, W, inputs] -> [B, H, W, outputs]: 3x3 first and last, 1x1 between.

    The conditioner of Glow (Kingma and Dhariwal 2018); one 3x3 convolution if `hidden` is empty.
    Attributes as in `MLP`.
    """

    def init(self, rng):
        """Initial weights "w0", "b0", "w1", ...; those of the last layer are zero."""
        widths, weights = self._widths(), {}
        for i, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
            last = i == len(self.hidden)
            fan_in *= 9 if last or i == 0 else 1
            weights[f"w{i}"] = (
                np.zeros((fan_in, fan_out), np.float32) if last else _small(rng, fan_in, fan_out)
            )
            weights[f"b{i}"] = np.zeros(fan_out, np.float32)
        return weights

    def __call__(self, weights, x):
        activation = ACTIVATIONS[self.activation]
        for i in range(len(self.hidden)):
            w, b = weights[f"w{i}"], weights[f"b{i}"]
            x = activation(conv3x3(x, w, b) if i == 0 else of_channels(x, w) + b)
        last = len(self.hidden)
        return conv3x3(x, weights[f"w{last}"], weights[f"b{last}"])


def _small(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    """Uniform weights with a third of the variance that preserves the scale of activations.

    With more, deep flows diverge: the first steps of Adam all have one sign and move the outputs of
    the last layer too far (measured at 8 steps of flow, 128 channels, a rate of 1e-3).
    """
    limit = np.sqrt(1.0 / inputs)
    return rng.uniform(-limit, limit, (inputs, outputs)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MaskedMLP(MLP):
    """MADE (Germain, Gregor, Murray and Larochelle 2015): the outputs for dimension i depend on
    x_1 .. x_(i-1) only.

    The first `size` inputs are x; all outputs see the further inputs, a condition. There are
    `outputs / size` numbers for dimension 1, then as many for 2, and so on.
    """

    size: int = 0

    def masks(self) -> list[np.ndarray]:
        """One 0/1 array [inputs, outputs] a kernel: unit j sees unit i where degree_j >= degree_i
        (> for outputs)."""
        free = self.inputs - self.size
        degrees = [np.concatenate([np.arange(1, self.size + 1), np.zeros(free, int)])]
        lowest = 1 if not free else 0
        span = max(self.size - lowest, 1)
        degrees += [lowest + np.arange(width) % span for width in self.hidden]
        out = np.repeat(np.arange(1, self.size + 1), self.outputs // self.size)
        pairs = [*zip(degrees, degrees[1:], [False] * len(self.hidden)), (degrees[-1], out, True)]
        return [
            ((b[None] > a[:, None]) if strict else (b[None] >= a[:, None])).astype(np.float32)
            for a, b, strict in pairs
        ]

    def _kernel(self, weights, i):
        kernel = weights[f"w{i}"]
        return kernel * tf.constant(self.masks()[i], kernel.dtype)
