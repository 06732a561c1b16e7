"""Layers made of layers: in sequence, repeated, inverted, and trained by inversion."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from flow_models.bijectors.layer import Layer, floating, leaves, no_log_det, rebuild, refill, stack
from flow_models.bijectors.loops import loop, loop_of_inverses, loop_that_recomputes, of_round
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chain(Layer):
    """f = f_n o ... o f_2 o f_1: the first layer of the tuple sees the data first."""

    layers: Sequence[Layer] = ()

    def init(self, rng):
        return [layer.init(rng) for layer in self.layers]

    def forward_and_log_det(self, weights, x, condition=None):
        total = no_log_det(x)
        for layer, w in zip(self.layers, weights):
            x, log_det = layer.forward_and_log_det(w, x, condition)
            total += log_det
        return x, total

    def forward_of_each(self, weights, x, conditions):
        """The first layers that see no condition run once for all conditions."""
        free = next(
            (i for i, layer in enumerate(self.layers) if layer.sees_condition), len(self.layers)
        )
        if not 0 < free < len(self.layers):
            return super().forward_of_each(weights, x, conditions)
        x, total = Chain(self.layers[:free]).forward_and_log_det(weights[:free], x)
        last = self.layers[free] if free == len(self.layers) - 1 else Chain(self.layers[free:])
        y, log_det = last.forward_of_each(
            weights[free] if last is self.layers[free] else weights[free:], x, conditions
        )
        return y, log_det + tf.repeat(total, conditions.shape[0], 0)

    def inverse_and_log_det(self, weights, y, condition=None):
        total = no_log_det(y)
        for layer, w in reversed(list(zip(self.layers, weights))):
            y, log_det = layer.inverse_and_log_det(w, y, condition)
            total += log_det
        return y, total

    def inverse_and_gradient(self, weights, y, dy, d_log_det, condition=None):
        gradients, d_condition = [], None if condition is None else tf.zeros_like(condition)
        for layer, w in reversed(list(zip(self.layers, weights))):
            y, dy, dw, dc = layer.inverse_and_gradient(w, y, dy, d_log_det, condition)
            gradients = dw + gradients
            d_condition = d_condition if dc is None else d_condition + dc
        return y, dy, gradients, d_condition

    def data_dependent_init(self, weights, x, condition=None):
        started = []
        for layer, w in zip(self.layers, weights):
            w, x = layer.data_dependent_init(w, x, condition)
            started.append(w)
        return started, x

    def check(self, x):
        if self.layers:
            self.layers[0].check(x)


@dataclasses.dataclass(frozen=True)
class Repeat(Layer):
    """f = g_K o ... o g_1: K equal layers, each with its own weights, stacked [K, ...].

    Attributes:
      layer: g.
      depth: K.
      layers_per_loop_body: 0 runs the layers one after the other; n > 0 runs them in a compiled
        loop whose body holds n, so only n layers are compiled. n must divide `depth`.
      keep: what a loop stores for the backward pass. "inputs" stores the input of each round and
        computes the round again, which saves memory; "everything" is faster for wide layers.
    """

    layer: Layer
    depth: int
    layers_per_loop_body: int = 0
    keep: str = "inputs"

    def __post_init__(self):
        super().__post_init__()
        if self.depth < 1:
            raise UserError(f"depth is {self.depth}, must be at least 1")
        if self.keep not in ("inputs", "everything"):
            raise UserError(f"keep is {self.keep!r}, must be inputs or everything")
        if self.layers_per_loop_body < 0:
            raise UserError(
                f"layers_per_loop_body is {self.layers_per_loop_body}, must be at least 0"
            )
        if self.layers_per_loop_body and self.depth % self.layers_per_loop_body:
            raise UserError(
                f"layers_per_loop_body is {self.layers_per_loop_body}, must divide the depth"
                f" {self.depth}, or be 0 for no loop"
            )

    def init(self, rng):
        return stack([self.layer.init(rng) for _ in range(self.depth)])

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(
            self.layer.forward_and_log_det, weights, x, condition, list(range(self.depth))
        )

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(
            self.layer.inverse_and_log_det, weights, y, condition, list(reversed(range(self.depth)))
        )

    def data_dependent_init(self, weights, x, condition=None):
        started = []
        for k in range(self.depth):
            w, x = self.layer.data_dependent_init(of_round(weights, k), x, condition)
            started.append(w)
        return stack(started), x

    def _run(self, step, weights, x, condition, order):
        total = no_log_det(x)
        group = self.layers_per_loop_body or self.depth
        if group >= self.depth:
            for k in order:
                x, log_det = step(of_round(weights, k), x, condition)
                total += log_det
            return x, total

        rounds, backwards = self.depth // group, order[0] != 0

        def several(weights, x, condition):
            """One round: `group` layers in order, with weights [group, ...]."""
            total = no_log_det(x)
            for j in reversed(range(group)) if backwards else range(group):
                x, log_det = step(of_round(weights, j), x, condition)
                total += log_det
            return x, total

        run = loop if self.keep == "everything" else loop_that_recomputes
        return run(several, rounds, self._in_rounds(weights, group), x, condition, backwards)

    def _in_rounds(self, weights, group):
        """Reshapes weights [K, ...] to [K / group, group, ...]."""
        shape = (self.depth // group, group)
        return rebuild(
            weights, [tf.reshape(w, [*shape, *w.shape[1:]]) for w in leaves(weights).values()]
        )

    def inverse_and_gradient(self, weights, y, dy, d_log_det, condition=None):
        return loop_of_inverses(self.layer, self.depth, weights, y, dy, d_log_det, condition)


@dataclasses.dataclass(frozen=True)
class Inverse(Layer):
    """f = g^-1, with the weights of g."""

    layer: Layer

    def init(self, rng):
        return self.layer.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        return self.layer.inverse_and_log_det(weights, x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self.layer.forward_and_log_det(weights, y, condition)


@dataclasses.dataclass(frozen=True)
class Reversible(Layer):
    """The same layer, trained by inversion: training stores only its output, and the backward pass
    recovers its input from it.

    The Reversible Residual Network (Gomez, Ren, Urtasun and Grosse 2017) for any chain of
    invertible layers. Memory does not grow with depth; time does, as the layer is computed twice.
    Gradients are exact up to rounding.
    """

    layer: Layer

    def init(self, rng):
        return self.layer.init(rng)

    def forward_and_log_det(self, weights, x, condition=None):
        has_condition = condition is not None

        @tf.custom_gradient
        def run(x, *others):
            nest, c = refill(weights, others), others[-1] if has_condition else None
            y, log_det = self.layer.forward_and_log_det(nest, x, c)

            def gradient(dy, d_log_det):
                _, dx, dw, dc = self.layer.inverse_and_gradient(nest, y, dy, d_log_det, c)
                return dx, *dw, *([dc] if has_condition else [])

            return (y, log_det), gradient

        return run(x, *floating(weights), *([condition] if has_condition else []))

    def inverse_and_log_det(self, weights, y, condition=None):
        return self.layer.inverse_and_log_det(weights, y, condition)

    def inverse_and_gradient(self, weights, y, dy, d_log_det, condition=None):
        return self.layer.inverse_and_gradient(weights, y, dy, d_log_det, condition)

    def data_dependent_init(self, weights, x, condition=None):
        return self.layer.data_dependent_init(weights, x, condition)

    def check(self, x):
        self.layer.check(x)
