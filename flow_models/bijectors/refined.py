"""A measured density in front of a flow, which learns what is left."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer
from flow_models.bijectors.mixture_cdf import MixtureCDF


@dataclasses.dataclass(frozen=True)
class Refined(Layer):
    """f = layer o mixture: the flow starts at the density of the mixture.

    The mixture is measured, not trained. `fit` takes the training rows through
    them once, each row through a mixture that has not seen it: through its own, a row would lie
    nearer to 0 than a new one, and the flow would learn that.

    Attributes:
      mixture: what the flow starts at.
      layer: the flow of the latents at `places`, which starts as a rotation.
      places: columns of the flow; whole numbers, whose latents are noise in part, are none.
    """

    mixture: MixtureCDF
    layer: Layer
    places: Sequence[int]

    @property
    def size(self) -> int:
        return self.mixture.size

    def init(self, rng):
        return {"mixture": self.mixture.init(rng), "layer": self.layer.init(rng)}

    def forward_and_log_det(self, weights, x, condition=None):
        z, log_det = self.start(weights, x)
        v, more = self.refine(weights, z)
        return v, log_det + more

    def inverse_and_log_det(self, weights, y, condition=None):
        z, log_det = self._at_places(self.layer.inverse_and_log_det, weights, y)
        x, more = self.mixture.inverse_and_log_det(weights["mixture"], z)
        return x, log_det + more

    def start(self, weights, x):
        """Latents of the mixture [B, D], and log-determinants."""
        return self.mixture.forward_and_log_det(weights["mixture"], x)

    def refine(self, weights, z):
        """What the flow makes of them."""
        return self._at_places(self.layer.forward_and_log_det, weights, z)

    def _at_places(self, run, weights, z):
        if len(self.places) == self.size:
            return run(weights["layer"], z)
        moved, log_det = run(weights["layer"], tf.gather(z, self.places, axis=1))
        columns = tf.unstack(z, axis=1)
        for place, column in zip(self.places, tf.unstack(moved, axis=1), strict=True):
            columns[place] = column
        return tf.stack(columns, 1), log_det

    def cross_fitted(self, weights, x) -> tuple[np.ndarray, np.ndarray]:
        """`start` of training rows x [N, D], of each row as if it were new."""
        return self.mixture.cross_fitted(weights["mixture"], x)

    def data_dependent_init(self, weights, x, condition=None):
        mixture, z = self.mixture.data_dependent_init(weights["mixture"], x)
        seen = tf.gather(z, self.places, axis=1)
        layer = self.layer.data_dependent_init(weights["layer"], seen)[0]
        started = {"mixture": mixture, "layer": layer}
        return started, self.refine(started, z)[0]
