"""A conditional layer at one condition: a flow of its own, which starts where the conditional one
is."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.frames import Framed
from flow_models.bijectors.layer import Frozen, Layer


@dataclasses.dataclass(frozen=True)
class Given(Layer):
    """f(x) = layer(x; condition) for one condition, which is kept and not trained.

    Attributes:
      layer: the conditional layer; a frame in front is prepared once, and is not trained.
      shapes: of the arrays that are kept: "condition" [1, C], or the state of a frame by name.
    """

    layer: Layer
    shapes: dict[str, tuple[int, ...]]

    sees_condition = False

    def init(self, rng):
        kept = {name: Frozen(np.zeros(shape, np.float32)) for name, shape in self.shapes.items()}
        return {"layer": self.layer.init(rng), "kept": kept}

    def _condition(self, weights, x):
        kept = weights["kept"]
        if not isinstance(self.layer, Framed):
            condition = tf.repeat(kept["condition"], tf.shape(x)[0], 0)
            return self.layer.prepare(weights["layer"], condition)
        flow = weights["layer"]["layer"]
        return {"state": kept, "context": self.layer.layer.prepare(flow, kept["context"])}

    def forward_and_log_det(self, weights, x, condition=None):
        return self.layer.forward_and_log_det(weights["layer"], x, self._condition(weights, x))

    def inverse_and_log_det(self, weights, y, condition=None):
        return self.layer.inverse_and_log_det(weights["layer"], y, self._condition(weights, y))
