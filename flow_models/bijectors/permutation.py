"""Fixed permutations of dimensions, saved with the model."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.layer import Frozen, Layer, no_log_det


@dataclasses.dataclass(frozen=True)
class Permutation(Layer):
    """y_i = x_(permutation_i) over the last axis.

    Attributes:
      size: length of the last axis.
      kind: reverse, or random, drawn with the seed of the model.
    """

    size: int
    kind: str = "reverse"

    def init(self, rng):
        if self.kind == "reverse":
            return {}
        return {"permutation": Frozen(rng.permutation(self.size))}

    def forward_and_log_det(self, weights, x, condition=None):
        if self.kind == "reverse":
            return x[..., ::-1], no_log_det(x)
        return tf.gather(x, weights["permutation"], axis=-1), no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        if self.kind == "reverse":
            return y[..., ::-1], no_log_det(y)
        return tf.gather(y, tf.argsort(weights["permutation"]), axis=-1), no_log_det(y)
