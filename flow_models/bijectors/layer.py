"""The contract of layers: a description, initial weights, and a pair of pure functions of (weights,
x, condition)."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.bijectors.jacobian import value_and_log_det
from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable

Weights = Any  # a nest of dictionaries and lists; leaves are arrays, variables or tensors


@dataclasses.dataclass(frozen=True)
class Frozen:
    """An initial weight that is saved and not trained, such as a permutation or a scale of the
    data."""

    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class Layer(Serializable):
    """An invertible map of vectors or images, without state of its own.

    Subclasses define either `forward_and_log_det` and `inverse_and_log_det`, or `forward` and
    `inverse` alone: automatic differentiation then gives the log-determinant, for events of at most
    256 numbers (`jacobian.MOST_NUMBERS`). Training compiles both with XLA.

    Shapes: x, y [B, D] or [B, H, W, C]; condition [B, C] or None; log-determinants [B], always of
    the direction that is run. Layers that act on the last axis alone serve both vectors and the
    channels of images. Every row of a result depends on the same row of x and condition alone.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Shift(Layer):
      ...     size: int
      ...
      ...     def init(self, rng):
      ...         return {"shift": np.zeros(self.size, np.float32)}
      ...
      ...     def forward(self, weights, x, condition=None):
      ...         return x - weights["shift"]
      ...
      ...     def inverse(self, weights, y, condition=None):
      ...         return y + weights["shift"]
    """

    sees_condition = True  # False: no condition changes what the layer does

    def init(self, rng: np.random.Generator) -> Weights:
        """Initial weights: a nest of float32 arrays, `Frozen` where they are not trained."""
        return {}

    def prepare(self, weights: Weights, condition):
        """The condition as the other methods take it, computed once however many x go with it.

        By default the condition itself. Only the outermost layer of a flow may change it.
        """
        return condition

    def forward(self, weights: Weights, x: tf.Tensor, condition=None) -> tf.Tensor:
        """y = f(x), [B, ...] -> [B, ...].

        Raises:
          UserError: the subclass does not define it.
        """
        raise _missing(self, "forward(self, weights, x, condition=None)")

    def inverse(self, weights: Weights, y: tf.Tensor, condition=None) -> tf.Tensor:
        """x = f^-1(y), [B, ...] -> [B, ...].

        Raises:
          UserError: the subclass does not define it.
        """
        raise _missing(self, "inverse(self, weights, y, condition=None)")

    def forward_and_log_det(
        self, weights: Weights, x: tf.Tensor, condition=None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """y = f(x) [B, ...] and log |det df/dx| [B]."""
        return value_and_log_det(lambda x, c: self.forward(weights, x, c), x, condition)

    def inverse_and_log_det(
        self, weights: Weights, y: tf.Tensor, condition=None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """x = f^-1(y) [B, ...] and log |det df^-1/dy| [B], which is -log |det df/dx| at this x."""
        x = self.inverse(weights, y, condition)
        return x, -self.forward_and_log_det(weights, x, condition)[1]

    def forward_of_each(self, weights: Weights, x: tf.Tensor, conditions: tf.Tensor):
        """y and log |det df/dx| of every row x [B, ...] under each of M conditions [M, C]:
        [B M, ...], the M rows of one x together."""
        repeated, count = tf.repeat(x, conditions.shape[0], 0), tf.shape(x)[0]
        return self.forward_and_log_det(weights, repeated, tf.tile(conditions, [count, 1]))

    def inverse_and_gradient(
        self, weights: Weights, y: tf.Tensor, dy: tf.Tensor, d_log_det: tf.Tensor, condition=None
    ):
        """x = f^-1(y), and gradients at x, the weights and the condition.

        Training by inversion uses it (see `Reversible`). This form inverts and runs forward again;
        layers whose two directions share work, such as couplings, have a cheaper one.

        Args:
          dy, d_log_det: gradients of the objective at the outputs of forward, like y and [B].

        Returns:
          x [B, ...]; its gradient dx; the gradients of the floating weights, a list in the order
            of `leaves`; the gradient of the condition, or None.
        """
        x = self.inverse_and_log_det(weights, y, condition)[0]
        inputs = [x, *floating(weights), *([] if condition is None else [condition])]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            outputs = self.forward_and_log_det(refill(weights, inputs[1:]), x, condition)
        dx, *rest = tape.gradient(outputs, inputs, [dy, d_log_det], unconnected_gradients="zero")
        d_condition = None if condition is None else rest.pop()
        return x, dx, rest, d_condition

    def data_dependent_init(self, weights: Weights, x: tf.Tensor, condition=None):
        """Weights that suit the data x [B, ...], and f(x) with them; runs once, before training.
        Layers that need no data return their weights unchanged."""
        return weights, self.forward_and_log_det(weights, x, condition)[0]

    def check(self, x: np.ndarray) -> None:
        """Raises UserError if rows of x [N, ...] lie outside the domain, by default the whole
        space."""


def _missing(layer: Layer, method: str) -> UserError:
    kind = type(layer).__name__
    return UserError(f"the layer {kind} is not complete: write its method {method}")


def no_log_det(x: tf.Tensor) -> tf.Tensor:
    """Zeros [B] for x [B, ...]."""
    return tf.zeros(tf.shape(x)[:1], x.dtype)


def sum_event(values: tf.Tensor) -> tf.Tensor:
    """[B, ...] -> [B]: the sum over all axes but the batch."""
    return tf.reduce_sum(values, list(range(1, values.shape.rank)))


def positions(x: tf.Tensor) -> int:
    """Number of channel vectors in an event: H W for images [B, H, W, C], 1 for vectors [B, D]."""
    return int(np.prod(x.shape[1:-1], dtype=int))


def make_variables(initial: Weights, dtype: tf.DType, name: str = "") -> Weights:
    """A nest of variables from a nest of initial arrays. Floating ones take `dtype`; `Frozen` ones
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
    """Flat dictionary "0/network/w1" -> leaf, in a fixed order. Weights are saved by these
    names."""
    if isinstance(weights, dict):
        items = list(weights.items())
    elif isinstance(weights, (list, tuple)):
        items = list(enumerate(weights))
    else:
        return {path: weights}
    return {
        k: v
        for key, value in items
        for k, v in leaves(value, f"{path}/{key}" if path else str(key)).items()
    }


def rebuild(weights: Weights, values: list) -> Weights:
    """The nest `weights` with `values` in place of its leaves, in the order of `leaves`."""
    remaining = iter(values)

    def fill(nest):
        if isinstance(nest, dict):
            return {key: fill(value) for key, value in nest.items()}
        if isinstance(nest, (list, tuple)):
            return [fill(value) for value in nest]
        return next(remaining)

    return fill(weights)


def floating(weights: Weights) -> list:
    """The floating leaves, which have gradients; integer leaves are permutations."""
    return [leaf for leaf in leaves(weights).values() if leaf.dtype.is_floating]


def refill(weights: Weights, values: list) -> Weights:
    """The nest `weights` with `values` in place of its floating leaves, in the order of `floating`;
    surplus values are ignored."""
    given = iter(values)
    return rebuild(
        weights,
        [next(given) if leaf.dtype.is_floating else leaf for leaf in leaves(weights).values()],
    )
