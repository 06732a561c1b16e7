"""A model as a Keras layer, for training loops and networks written in Keras."""

import tensorflow as tf
import tf_keras

from flow_models.bijectors.layer import leaves
from flow_models.core.errors import UserError


class LogProb(tf_keras.layers.Layer):
    """log p(x) of a model, rows [B, *event] -> [B] in nats; see `keras_layer`."""

    def __init__(self, model, **options):
        super().__init__(dtype=model.dtype.name, **options)
        model.refuse_kinds("a Keras layer")
        if "y" in model.partition.outputs:
            raise UserError("y is among the outputs of this model: a Keras layer needs it given")
        self.model = model
        self.variables_of_model = list(leaves(model.bijector.weights).values())  # Keras tracks them

    def call(self, x: tf.Tensor, condition: tf.Tensor | None = None) -> tf.Tensor:
        return self._log_prob(x, None if condition is None else tf.cast(condition, x.dtype))

    @tf.autograph.experimental.do_not_convert  # which layers do not need
    def _log_prob(self, x, condition):
        bijector = self.model.bijector
        condition = bijector.layer.prepare(bijector.weights, condition)
        z, log_det = bijector.layer.forward_and_log_det(bijector.weights, x, condition)
        return self.model.partition.base_log_prob(z) + log_det

    def adapt(self, x, condition=None) -> None:
        """Sets data-dependent starting values from rows [N, *event], as `fit` does by itself."""
        rows = (
            None if v is None else tf.convert_to_tensor(v, self.model.dtype) for v in (x, condition)
        )
        self.model.bijector.data_dependent_init(*rows)
        self.model.started = True


def keras_layer(model, **options) -> LogProb:
    """A `tf_keras` layer whose call gives log p(x) and which trains every weight of the model.

    The variables are the model's own: after `fit` of Keras, `model.sample` and `model.save` have
    the trained weights. Call `adapt` with training rows first: layers that standardise or normalise
    start from the data, and Keras does not know them.

    Args:
      model: a `Model`. Rows are vectors in the user's units, or dequantised levels of images in the
        padded shape that the network sees. What is given is the second argument of the layer.
      **options: of a Keras layer, such as `name`.

    Raises:
      UserError: the model has y among its outputs.

    Example:
      >>> log_prob = fm.keras_layer(model)
      >>> log_prob.adapt(rows)
      >>> x = tf_keras.Input((2,))
      >>> network = tf_keras.Model(x, log_prob(x))
      >>> network.compile("adam", loss=lambda _, log_prob: -log_prob)
      >>> network.fit(rows, rows, epochs=10)
    """
    return LogProb(model, **options)
