"""What every layer is: a description, initial weights, and a pair of pure functions of (weights, x,
condition)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.core.serializable import Described

Weights = Any  # a nest of dictionaries and lists; leaves are arrays, variables or tensors


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Marks an initial weight that is saved with the model and not trained: a permutation, a scale
    of the data."""

    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class Layer(Described):
    """An invertible map of vectors or images, without state of its own.

    Shapes: x, y [B, D] or [B, H, W, C]; condition [B, C] or None; log-determinants [B], always of
    the direction that is run. What acts on the last axis alone serves vectors and the channels of
    images alike.
    """

    sees_condition = True  # whether a condition may change what it does

    def init(self, rng: np.random.Generator) -> Weights:
        """Initial weights: a nest of float32 arrays, `Frozen` where they are not trained."""
        return {}

    def forward_and_log_det(self, weights: Weights, x: tf.Tensor, condition=None):
        """y = f(x) and log |det df/dx|."""
        raise AssertionError(f"{type(self).__name__} does not define its forward direction")

    def forward_of_each(self, weights: Weights, x: tf.Tensor, conditions: tf.Tensor):
        """y and log |det df/dx| of every row x [B, ...] under each of M conditions [M, C], rows of
        one x together: [B M, ...]."""
        repeated, count = tf.repeat(x, conditions.shape[0], 0), tf.shape(x)[0]
        return self.forward_and_log_det(weights, repeated, tf.tile(conditions, [count, 1]))

    def inverse_and_log_det(self, weights: Weights, y: tf.Tensor, condition=None):
        """x = f^-1(y) and log |det df^-1/dy|."""
        raise AssertionError(f"{type(self).__name__} does not define its inverse direction")

    def inverse_and_gradient(
        self, weights: Weights, y: tf.Tensor, dy: tf.Tensor, d_log_det: tf.Tensor, condition=None
    ):
        """x = f^-1(y), and the gradient of whatever has the gradients dy and d_log_det [B] at the
        outputs of forward.

        What training by inversion needs of a layer (see `Reversible`). Layers whose two directions
        share work, as the network of a coupling, have a cheaper form than this one, which inverts
        and then runs forward again.

        Returns:
          x; its gradient dx; those of the weights with decimals, a list in the order of `leaves`;
          that of the condition.
        """
        x = self.inverse_and_log_det(weights, y, condition)[0]
        inputs = [x, *floating(weights), *([] if condition is None else [condition])]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = self.forward_and_log_det(refill(weights, inputs[1:]), x, condition)
        dx, *rest = tape.gradient(outputs, inputs, [dy, d_log_det], unconnected_gradients="zero")
        d_condition = None if condition is None else rest.pop()
        return x, dx, rest, d_condition

    def start(self, weights: Weights, x: tf.Tensor, condition=None):
        """Weights that suit the data x [B, D], and f(x) with them; layers that need no data return
        theirs unchanged."""
        return weights, self.forward_and_log_det(weights, x, condition)[0]

    def check(self, x: np.ndarray) -> None:
        """Raises UserError where rows of x [N, D] lie outside the domain; layers of the whole space
        accept all."""


def no_log_det(x: tf.Tensor) -> tf.Tensor:
    """Zeros [B] for x [B, ...]."""
    return tf.zeros(tf.shape(x)[:1], x.dtype)


def sum_event(values: tf.Tensor) -> tf.Tensor:
    """[B, ...] -> [B]: the sum over all that is not the batch."""
    return tf.reduce_sum(values, list(range(1, values.shape.rank)))


def positions(x: tf.Tensor) -> int:
    """How many vectors of channels an event has: H W for images [B, H, W, C], 1 for vectors [B,
    D]."""
    return int(np.prod(x.shape[1:-1], dtype=int))


def make_variables(initial: Weights, dtype: tf.DType, name: str = "") -> Weights:
    """A nest of variables from a nest of initial arrays; floating ones take `dtype`, `Frozen` ones
    are not trainable."""
    if isinstance(initial, dict):
        return {
            key: make_variables(value, dtype, f"{name}/{key}") for key, value in initial.items()
        }
    if isinstance(initial, (list, tuple)):
        return [make_variables(value, dtype, f"{name}/{i}") for i, value in enumerate(initial)]
    frozen = isinstance(initial, Frozen)
    value = np.asarray(initial.value if frozen else initial)
    value = (
        value.astype(dtype.as_numpy_dtype) if value.dtype.kind == "f" else value.astype(np.int32)
    )
    return tf.Variable(
        value, trainable=not frozen, name=(name.lstrip("/").replace("/", "_") or "w")
    )


def stack(nests: list[Weights]) -> Weights:
    """One nest with leaves [K, ...] from K nests of equal structure."""
    first = nests[0]
    if isinstance(first, dict):
        return {key: stack([nest[key] for nest in nests]) for key in first}
    if isinstance(first, (list, tuple)):
        return [stack(list(values)) for values in zip(*nests)]
    if isinstance(first, Frozen):
        return Frozen(np.stack([nest.value for nest in nests]))
    return tf.stack(nests) if tf.is_tensor(first) else np.stack(nests)


def leaves(weights: Weights, path: str = "") -> dict[str, Any]:
    """Flat dictionary "0/network/w1" -> leaf, in a fixed order; the names under which weights are
    saved."""
    if isinstance(weights, dict):
        items = weights.items()
    elif isinstance(weights, (list, tuple)):
        items = enumerate(weights)
    else:
        return {path: weights}
    return {
        k: v
        for key, value in items
        for k, v in leaves(value, f"{path}/{key}" if path else str(key)).items()
    }


def rebuild(weights: Weights, values: list) -> Weights:
    """The nest `weights` with its leaves replaced, in the order of `leaves`, by `values`."""
    remaining = iter(values)

    def fill(nest):
        if isinstance(nest, dict):
            return {key: fill(value) for key, value in nest.items()}
        if isinstance(nest, (list, tuple)):
            return [fill(value) for value in nest]
        return next(remaining)

    return fill(weights)


def floating(weights: Weights) -> list:
    """The leaves with decimals, those that gradients are taken for; whole numbers are
    permutations."""
    return [leaf for leaf in leaves(weights).values() if leaf.dtype.is_floating]


def refill(weights: Weights, values: list) -> Weights:
    """The nest `weights` with its floating leaves replaced, in the order of `floating`; more values
    than those are left."""
    given = iter(values)
    return rebuild(
        weights,
        [next(given) if leaf.dtype.is_floating else leaf for leaf in leaves(weights).values()],
    )
