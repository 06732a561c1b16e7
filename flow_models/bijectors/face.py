"""The outer face of a layer: a `tfb.Bijector` with variables, for TFP and everything that composes with it."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from flow_models.bijectors.layer import Layer, Weights, leaves, make_variables


class _NoCache:
    """Stands where TFP keeps its cache of results, and always computes."""

    def __init__(self, bijector):
        self.forward, self.inverse = bijector._forward, bijector._inverse

    def forward_attributes(self, x, **kwargs):
        return {}

    inverse_attributes = forward_attributes


class FlowBijector(tfb.Bijector):
    """A layer with its variables as a TFP bijector of vectors; forward is data to latent.

    >>> f = FlowBijector(Coupling(2), seed=0)
    >>> density = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(2)), tfb.Invert(f))
    >>> density.log_prob(x)        # trains through density.trainable_variables

    Args:
      layer: what it computes.
      seed: of the initial weights and permutations.
      dtype: of the weights and of the data.

    Conditional layers take the condition as a keyword: `f.forward(x, condition=c)`.
    """

    def __init__(self, layer: Layer, seed: int = 0, dtype: tf.DType = tf.float32, name: str = "flow"):
        parameters = dict(locals())
        with tf.name_scope(name):
            super().__init__(forward_min_event_ndims=1, dtype=dtype, parameters=parameters, name=name)
        self.layer = layer
        self.weights: Weights = make_variables(layer.init(np.random.default_rng(seed)), tf.as_dtype(dtype))

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    # TFP's cache would answer with values from before a variable changed, and hide a wrong inverse.
    _cache = property(lambda self: _NoCache(self))

    def named_weights(self) -> dict[str, tf.Variable]:
        """Variables by path, frozen ones too: what is saved."""
        return leaves(self.weights)

    def _run(self, method, x, condition):
        """Runs a pure function over any leading batch shape: [..., D] -> [..., D] and [...]."""
        x = tf.convert_to_tensor(x)
        lead = tf.shape(x)[:-1]
        if condition is not None:
            condition = tf.convert_to_tensor(condition, x.dtype)
            shape = tf.concat([lead, tf.shape(condition)[-1:]], 0)
            condition = tf.reshape(tf.broadcast_to(condition, shape), [-1, condition.shape[-1]])
        y, log_det = method(self.weights, tf.reshape(x, [-1, x.shape[-1]]), condition)
        y, log_det = tf.reshape(y, tf.shape(x)), tf.reshape(log_det, lead)
        y.set_shape(x.shape)
        return y, log_det

    def _forward(self, x, condition=None):
        return self._run(self.layer.forward_and_log_det, x, condition)[0]

    def _inverse(self, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, y, condition)[0]

    def _forward_log_det_jacobian(self, x, condition=None):
        return self._run(self.layer.forward_and_log_det, x, condition)[1]

    def _inverse_log_det_jacobian(self, y, condition=None):
        return self._run(self.layer.inverse_and_log_det, y, condition)[1]
