"""Layers made of layers: one after the other, the same one many times, and the other way round."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.layer import Layer, leaves, rebuild, stack
from flow_models.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chain(Layer):
    """f = f_n o ... o f_2 o f_1: the first layer of the tuple meets the data first."""

    layers: tuple[Layer, ...] = ()

    def init(self, rng):
        return [layer.init(rng) for layer in self.layers]

    def forward_and_log_det(self, weights, x, condition=None):
        total = tf.zeros_like(x[:, 0])
        for layer, w in zip(self.layers, weights):
            x, log_det = layer.forward_and_log_det(w, x, condition)
            total += log_det
        return x, total

    def inverse_and_log_det(self, weights, y, condition=None):
        total = tf.zeros_like(y[:, 0])
        for layer, w in reversed(list(zip(self.layers, weights))):
            y, log_det = layer.inverse_and_log_det(w, y, condition)
            total += log_det
        return y, total

    def start(self, weights, x, condition=None):
        started = []
        for layer, w in zip(self.layers, weights):
            w, x = layer.start(w, x, condition)
            started.append(w)
        return started, x

    def check(self, x):
        if self.layers:
            self.layers[0].check(x)


@dataclasses.dataclass(frozen=True)
class Repeat(Layer):
    """f = g_K o ... o g_1: `depth` equal layers with weights of their own, stacked [K, ...].

    The layers run in a compiled loop whose body holds `unroll` of them (0: all, no loop). A loop compiles one body
    instead of K and runs a tenth slower (measured for eight couplings), so few layers unroll and many loop.
    """

    layer: Layer
    depth: int
    unroll: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.depth < 1:
            raise UserError(f"depth is {self.depth}, must be at least 1")
        if self.unroll < 0:
            raise UserError(f"unroll is {self.unroll}, must be at least 0")

    def init(self, rng):
        return stack([self.layer.init(rng) for _ in range(self.depth)])

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(self.layer.forward_and_log_det, weights, x, condition, list(range(self.depth)))

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, weights, y, condition, list(reversed(range(self.depth))))

    def start(self, weights, x, condition=None):
        started = []
        for k in range(self.depth):
            w, x = self.layer.start(_slice(weights, k), x, condition)
            started.append(w)
        return stack(started), x

    def _run(self, step, weights, x, condition, order):
        total = tf.zeros_like(x[:, 0])
        group = self.unroll or self.depth
        if group >= self.depth or self.depth % group:
            for k in order:
                x, log_det = step(_slice(weights, k), x, condition)
                total += log_det
            return x, total

        def body(i, x, total):
            for j in range(group):
                position = i * group + j
                k = position if order[0] == 0 else self.depth - 1 - position
                x, log_det = step(_slice(weights, k), x, condition)
                total += log_det
            return i + 1, x, total

        rounds = self.depth // group
        return tf.while_loop(lambda i, *_: i < rounds, body, (0, x, total), maximum_iterations=rounds)[1:]


def _slice(weights, k):
    """The weights of layer k out of stacked ones; k is a number or a scalar tensor."""
    return rebuild(weights, [tf.gather(w, k) if tf.is_tensor(k) else w[k] for w in leaves(weights).values()])


@dataclasses.dataclass(frozen=True)
class Inverse(Layer):
    """f = g^-1."""

    layer: Layer

    def init(self, rng):
        return self.layer.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        return self.layer.inverse_and_log_det(weights, x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self.layer.forward_and_log_det(weights, y, condition)
