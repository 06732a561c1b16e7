"""Steps of Markov chains as volume-preserving maps of a state and its noise."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors import intervals
from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.core.serializable import Serializable, imported


@dataclasses.dataclass(frozen=True)
class Energy(Serializable):
    """log p(x) up to a constant, between a standard normal and a density:

        (1 - s) log N(x; 0, I) + s log p(c x)

    Attributes:
      function: "module:function" of x [B, D], which gives log p [B].
      share: s, from 0 to 1; with 0 there is no function.
      scale: c.
    """

    function: str
    share: float = 1.0
    scale: float = 1.0

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p of x [B, D], up to a constant, in nats [B]."""
        normal = tf.reduce_sum(intervals.log_normal(x), -1)
        if not self.share:
            return normal
        log_p = imported(self.function)(self.scale * x)
        return (1 - self.share) * normal + self.share * log_p


@dataclasses.dataclass(frozen=True)
class Langevin(Layer):
    """(x, v) -> (y, v') with y = x + t grad log p(x) + sqrt(2 t) v: a step of Langevin's chain.

    v' is the noise of the step back, v' = (x - y - t grad log p(y)) / sqrt(2 t), so that volume is
    kept and log N(v') - log N(v) is the path weight of stochastic normalizing flows (Wu, Koehler
    and Noe 2020). Behind noise v ~ N(0, I) the pair is an ordinary layer of a flow.

    Attributes:
      size: 2 D.
      energy: log p, in the coordinates of this layer.
      step: t at first; it is learned, one a column.
    """

    size: int
    energy: Energy
    step: float = 0.01

    def init(self, rng):
        return {"log_step": np.full(self.size // 2, np.log(self.step), np.float32)}

    def _drifted(self, weights, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_p = self.energy.log_prob(x)
        return x + tf.exp(weights["log_step"]) * tape.gradient(log_p, x)

    def forward_and_log_det(self, weights, x, condition=None):
        state, v = tf.split(x, 2, -1)
        scale = tf.sqrt(2 * tf.exp(weights["log_step"]))
        moved = self._drifted(weights, state) + scale * v
        back = (state - self._drifted(weights, moved)) / scale
        return tf.concat([moved, back], -1), no_log_det(x)

    inverse_and_log_det = forward_and_log_det


@dataclasses.dataclass(frozen=True)
class Metropolis(Layer):
    """(x, v, e) -> (x + t v, -v, e') where the step is accepted, else (x, v, e): Metropolis' chain.

    With u = Phi(e) the step is accepted if u < r = p(x + t v) / p(x), and u becomes u / r, as of
    the step back (Non-reversibly updating a uniform [0, 1] value for Metropolis accept/reject
    decisions, Neal 2020): the map is its own inverse, and its log-determinant is the path weight of
    stochastic normalizing flows (Wu, Koehler and Noe 2020).

    Attributes:
      size: 2 D + 1.
      energy: log p, in the coordinates of this layer.
      step: t, not learned: what is accepted has no gradient.
    """

    size: int
    energy: Energy
    step: float = 0.3

    def forward_and_log_det(self, weights, x, condition=None):
        state, v, e = tf.split(x, [self.size // 2, self.size // 2, 1], -1)
        proposed, e = state + self.step * v, e[:, 0]
        log_r = self.energy.log_prob(proposed) - self.energy.log_prob(state)
        lower = intervals.tails(e)[0]
        shrunk = lower * tf.exp(-tf.maximum(log_r, tf.math.log(lower)))
        to = intervals.normal_of(shrunk, 1 - shrunk)
        accepted = tf.math.log(lower) < tf.minimum(log_r, 0.0)
        slope = intervals.log_normal(e) - intervals.log_normal(to) - log_r
        moved = tf.concat([proposed, -v, to[:, None]], -1)
        return tf.where(accepted[:, None], moved, x), tf.where(accepted, slope, 0.0)

    inverse_and_log_det = forward_and_log_det
