"""Bijectors of TensorFlow Probability as layers: trained, saved and loaded like our own."""

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.core.errors import UserError
from flow_models.core.serializable import import_name, imported


@dataclasses.dataclass(frozen=True)
class FromTFP(Layer):
    """y = bijector.forward(x): a `tfb.Bijector` as a layer, which carries data to latents.

    TFP's models run the other way: where they use `b`, use `tfb.Invert(b)` or
    `Inverse(FromTFP(...))` here. The bijector is built anew for each use from what is saved: its
    class or a function, and its arguments.

    Attributes:
      builder: a class of `tfb`, or a function at the top level of a file whose signature ends in
        `-> tfb.Bijector`. Saved as "module:name".
      options: keyword arguments that stay: numbers, strings, tuples.
      trained: keyword arguments that are trained, by their initial values; in `builder` they are
        tensors of the model's dtype.

    Events are those of the model, of vectors or images: a bijector of scalars acts on every number,
    one of vectors on the last axis. It must keep the shape of an event. TFP caches results across
    equal bijectors; a cached inverse would have no gradient, so no cached one is used here.

    Raises:
      UserError: the builder is something else.

    Example:
      >>> FromTFP(tfb.SoftClip, {"low": 0.0, "high": 1.0})
      >>> FromTFP(tfb.Scale, trained={"scale": np.ones(3)})
      >>> def positive() -> tfb.Bijector:
      ...     return tfb.Invert(tfb.Chain([tfb.Shift(1.0), tfb.Softplus()]))
      >>> FromTFP(positive)
    """

    builder: str | Callable[..., tfb.Bijector]
    options: dict = dataclasses.field(default_factory=dict)
    trained: dict = dataclasses.field(default_factory=dict)
    sees_condition = False

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.builder, tfb.Bijector):
            name = type(self.builder).__name__
            raise UserError(f"give the class and its arguments, FromTFP(tfb.{name}, {{...}})")
        if not isinstance(self.builder, str):
            object.__setattr__(self, "builder", import_name(self.builder))
        try:
            inspect.signature(self._function()).bind(**self.options, **self.trained)
        except TypeError as error:
            raise UserError(f"{self.builder} does not take these arguments: {error}") from None

    def _function(self):
        """The class or function that `builder` names; refuses what builds no bijector."""
        function = imported(self.builder)
        made = function if isinstance(function, type) else _return_type(function)
        if not (isinstance(made, type) and issubclass(made, tfb.Bijector)):
            raise UserError(
                f"{self.builder} is neither a class of bijectors nor a function annotated with"
                " -> tfb.Bijector"
            )
        return function

    def init(self, rng):
        weights = {name: np.asarray(value, np.float32) for name, value in self.trained.items()}
        if self.bijector({name: tf.constant(value) for name, value in weights.items()}).variables:
            raise UserError(
                f"{self.builder} creates variables of its own, which would not be trained: let it"
                " take them as arguments, and give their initial values in `trained`"
            )
        return weights

    def bijector(self, weights, dtype: tf.DType = tf.float32) -> tfb.Bijector:
        """The bijector with these weights; numbers with decimals among its options take `dtype`."""
        options = {name: _tensor(value, dtype) for name, value in self.options.items()}
        return self._function()(**options, **weights)

    def forward_and_log_det(self, weights, x, condition=None):
        bijector, x = self.bijector(weights, x.dtype), tf.identity(x)  # unknown to TFP's cache
        log_det = bijector.forward_log_det_jacobian(x, x.shape.rank - 1)
        return self._of_shape(bijector.forward(x), x), no_log_det(x) + log_det

    def inverse_and_log_det(self, weights, y, condition=None):
        bijector, y = self.bijector(weights, y.dtype), tf.identity(y)
        log_det = bijector.inverse_log_det_jacobian(y, y.shape.rank - 1)
        return self._of_shape(bijector.inverse(y), y), no_log_det(y) + log_det

    def _of_shape(self, result, argument):
        if result.shape[1:] != argument.shape[1:]:
            raise UserError(
                f"{self.builder} maps events of shape {argument.shape[1:]} to {result.shape[1:]};"
                " a layer keeps the shape"
            )
        return result


def _return_type(function):
    """What a function says it returns, or None."""
    try:
        return inspect.signature(function, eval_str=True).return_annotation
    except (TypeError, ValueError, NameError):
        return None


def _tensor(value, dtype):
    """Numbers with decimals, and tuples of them, as tensors; all else as it is."""
    decimals = any(isinstance(number, float) for number in tf.nest.flatten(value))
    return tf.constant(value, dtype) if decimals else value
