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
    instead of K and takes less memory, but computes forward passes twice in training (`loop_that_recomputes`).
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
        if self.unroll and self.depth % self.unroll:
            raise UserError(f"unroll is {self.unroll}, must divide the depth {self.depth}, or be 0 for no loop")

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
        if group >= self.depth:
            for k in order:
                x, log_det = step(_slice(weights, k), x, condition)
                total += log_det
            return x, total

        rounds, backwards = self.depth // group, order[0] != 0

        def several(weights, x, condition):
            """One round: `group` layers, in order, with weights [group, ...]."""
            total = tf.zeros_like(x[:, 0])
            for j in reversed(range(group)) if backwards else range(group):
                x, log_det = step(_slice(weights, j), x, condition)
                total += log_det
            return x, total

        stacked = [tf.reshape(w, [rounds, group, *w.shape[1:]]) for w in leaves(weights).values()]
        return loop_that_recomputes(several, rounds, rebuild(weights, stacked), x, condition, backwards)


def loop_that_recomputes(step, rounds: int, weights, x, condition=None, backwards: bool = False):
    """x and the sum of log-dets after step(weights of a round, x, condition), round after round, as compiled loops.

    The forward loop keeps only the input of each round, and the backward one computes the round again to differentiate
    it. Keeping what TensorFlow would keep, every intermediate value of every round, compiles slower and takes memory in
    proportion to the width of the networks.

    Args:
      weights: nest of tensors [rounds, ...].
      backwards: last round first.
    """
    place = (lambda i: rounds - 1 - i) if backwards else (lambda i: i)
    stacked = list(leaves(weights).values())
    trained = [w for w in stacked if w.dtype.is_floating]

    def of_round(k, trained):
        """The nest of weights of round k, given those that a gradient is wanted for."""
        given = iter(trained)
        return rebuild(weights, [next(given) if w.dtype.is_floating else tf.gather(w, k) for w in stacked])

    @tf.custom_gradient
    def run(x, condition, *trained):
        def body(i, x, total, inputs):
            y, log_det = step(of_round(place(i), [tf.gather(w, place(i)) for w in trained]), x, condition)
            return i + 1, y, total + log_det, inputs.write(i, x)

        state = (0, x, tf.zeros_like(x[:, 0]), tf.TensorArray(x.dtype, rounds, element_shape=x.shape))
        _, y, total, inputs = tf.while_loop(lambda i, *_: i < rounds, body, state, maximum_iterations=rounds)
        inputs = inputs.stack()

        def gradient(dy, d_total):
            def body(i, dy, d_condition, d_trained):
                here = [tf.gather(inputs, i), condition, *[tf.gather(w, place(i)) for w in trained]]
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(here)
                    y, log_det = step(of_round(place(i), here[2:]), *here[:2])
                dx, dc, *dw = tape.gradient([y, log_det], here, [dy, d_total], unconnected_gradients="zero")
                return i - 1, dx, d_condition + dc, [all.write(place(i), d) for all, d in zip(d_trained, dw)]

            arrays = [tf.TensorArray(w.dtype, rounds, element_shape=w.shape[1:]) for w in trained]
            state = (rounds - 1, dy, tf.zeros_like(condition), arrays)
            _, dx, dc, dw = tf.while_loop(lambda i, *_: i >= 0, body, state, maximum_iterations=rounds)
            return dx, dc, *[d.stack() for d in dw]

        return (y, total), gradient

    if condition is None:
        unconditional, nothing = step, tf.zeros([0], x.dtype)
        step = lambda weights, x, _: unconditional(weights, x, None)  # noqa: E731
    return run(x, nothing if condition is None else condition, *trained)


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
