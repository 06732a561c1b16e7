"""A layer with its variables as a `tfb.Bijector`, for TFP and all that composes with it."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from flow_models.bijectors.layer import Layer, Weights, leaves, make_variables
from flow_models.core.errors import UserError


class _NoCache:
    """Takes the place of TFP's cache of results, and always computes."""

    def __init__(self, bijector):
        self.forward, self.inverse = bijector._forward, bijector._inverse

    def forward_attributes(self, x, **kwargs):
        return {}

    inverse_attributes = forward_attributes


class FlowBijector(tfb.Bijector):
    """A layer with its variables as a TFP bijector of vectors or images; forward is data to latent.

    >>> f = FlowBijector(Coupling(2), seed=0)
    >>> base = tfd.MultivariateNormalDiag(tf.zeros(2))
    >>> density = tfd.TransformedDistribution(base, tfb.Invert(f))
    >>> density.log_prob(x)        # trains through density.trainable_variables

    Args:
      layer: the pure functions that it runs.
      seed: of the initial weights and permutations.
      dtype: of the weights and of the data.
      event_ndims: number of axes of an event x and of its latent z: (1, 1) for vectors, (3, 3) for
        images, (3, 1) from images to latent vectors; one number stands for both.

    Conditional layers take the condition as a keyword: `f.forward(x, condition=c)`.
    """

    def __init__(
        self,
        layer: Layer,
        seed: int = 0,
        dtype: tf.DType = tf.float32,
        event_ndims=1,
        name: str = "flow",
    ):
        parameters = dict(locals())
        self.event_ndims = (
            (event_ndims, event_ndims) if isinstance(event_ndims, int) else tuple(event_ndims)
        )
        forward, inverse = self.event_ndims
        with tf.name_scope(name):
            super().__init__(
                forward_min_event_ndims=forward,
                inverse_min_event_ndims=inverse,
                dtype=dtype,
                parameters=parameters,
                name=name,
            )
        self.layer = layer
        self.weights: Weights = make_variables(
            layer.init(np.random.default_rng(seed)), tf.as_dtype(dtype)
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    # TFP's cache would return values from before a variable changed, and hide a wrong inverse.
    _cache = property(lambda self: _NoCache(self))

    def named_weights(self) -> dict[str, tf.Variable]:
        """All variables by path, frozen ones too, as they are saved."""
        return leaves(self.weights)

    def data_dependent_init(self, x: tf.Tensor, condition=None) -> None:
        """Gives the variables the values that suit rows x [N, *event]; see `Layer`."""
        started, _ = self.layer.data_dependent_init(self.weights, x, condition)
        for variable, value in zip(leaves(self.weights).values(), leaves(started).values()):
            if value is not variable:
                variable.assign(value)

    def _run(self, method, x, condition, ndims):
        """Runs a pure function over any leading batch shape: [..., *event of one side] to
        [..., *event of the other side] and [...]."""
        if _is_of_keras(x) or _is_of_keras(condition):
            raise UserError(
                "Keras would not train a bijector that is called with its symbolic tensors: use the"
                " layer fm.keras_layer(model), which gives log p(x) and trains every weight"
            )
        x = tf.convert_to_tensor(x)
        lead, event = tf.shape(x)[: x.shape.rank - ndims], x.shape[x.shape.rank - ndims :]
        if condition is not None:
            condition = tf.convert_to_tensor(condition, x.dtype)
            shape = tf.concat([lead, tf.shape(condition)[-1:]], 0)
            condition = tf.reshape(tf.broadcast_to(condition, shape), [-1, condition.shape[-1]])
            condition = self.layer.prepare(self.weights, condition)
        y, log_det = method(self.weights, tf.reshape(x, [-1, *event]), condition)
        result = tf.reshape(y, tf.concat([lead, tf.shape(y)[1:]], 0))
        result.set_shape([*x.shape[: x.shape.rank - ndims], *y.shape[1:]])
        return result, tf.reshape(log_det, lead)

    def _forward(self, x, condition=None):
        return self._run(self.layer.forward_and_log_det, x, condition, self.event_ndims[0])[0]

    def _inverse(self, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, y, condition, self.event_ndims[1])[0]

    def _forward_log_det_jacobian(self, x, condition=None):
        return self._run(self.layer.forward_and_log_det, x, condition, self.event_ndims[0])[1]

    def _inverse_log_det_jacobian(self, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, y, condition, self.event_ndims[1])[1]

    def _forward_event_shape(self, shape):
        return self._other_shape(self.layer.forward_and_log_det, shape)

    def _inverse_event_shape(self, shape):
        return self._other_shape(self.layer.inverse_and_log_det, shape)

    def _other_shape(self, method, shape):
        """Shape of an event on the other side, from a trace that never runs; the same for
        vectors."""
        if self.event_ndims == (1, 1) or not shape.is_fully_defined():
            return shape if self.event_ndims == (1, 1) else tf.TensorShape(None)
        run = tf.function(lambda x: method(self.weights, x, None)[0], autograph=False)
        return run.get_concrete_function(
            tf.TensorSpec([1, *shape], self.dtype)
        ).structured_outputs.shape[1:]


def _is_of_keras(x) -> bool:
    """Whether x is a symbolic input or output of Keras, told by its class: Keras is not loaded."""
    return any(kind.__name__ == "KerasTensor" for kind in type(x).__mro__)
