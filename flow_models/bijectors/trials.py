"""Several trials of one observation: a frame that knows which are there, and a network that does
not mind their order."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors import repeats
from flow_models.bijectors.frames import Frame
from flow_models.bijectors.layer import Frozen, no_log_det
from flow_models.bijectors.networks import MLP
from flow_models.core.serializable import Serializable


@dataclasses.dataclass(frozen=True)
class TrialsFrame(Frame):
    """z = theta; the context has the trials, standardised, each with 1 where it is there: y and
    the context are [B, T (M + 1)], with zeros for trials that are missing.

    Attributes:
      trials: T, at most.
      columns: M of a trial.
    """

    trials: int
    columns: int

    @property
    def context_size(self):
        return self.trials * (self.columns + 1)

    def init(self, rng):
        return {
            "mean": Frozen(np.zeros(self.columns, np.float32)),
            "scale": Frozen(np.ones(self.columns, np.float32)),
        }

    def measure(self, theta, y):
        """Mean and scale of each column over all trials that are there, in float64."""
        rows = np.asarray(y, np.float64).reshape(-1, self.columns + 1)
        there = rows[rows[:, -1] > 0, :-1]
        scale = there.std(0)
        return {"mean": there.mean(0), "scale": np.where(scale > 0, scale, 1.0)}

    def prepare(self, weights, condition):
        rows = tf.reshape(condition, [-1, self.trials, self.columns + 1])
        there = rows[..., -1:]
        values = there * (rows[..., :-1] - weights["mean"]) / weights["scale"]
        context = tf.concat([values, there], -1)
        return {"context": tf.reshape(context, [-1, self.context_size])}

    def forward_and_log_det(self, weights, x, condition=None):
        return x, no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        return y, no_log_det(y)


@dataclasses.dataclass(frozen=True)
class DeepSet(Serializable):
    """s = rho(mean_t phi(y_t), log n) of the n trials that are there, and their moments:
    [B, T (M + 1)] -> [B, K].

    Deep sets (Zaheer, Kottur, Ravanbakhsh, Poczos, Salakhutdinov and Smola 2017).

    Attributes:
      trials, columns: T and M.
      outputs: of rho.
      hidden: widths of the hidden layers of phi and rho.
      activation: as in `MLP`.
      moments: whether the moments of the trials (see `repeats.moments`) stand behind them.
    """

    trials: int
    columns: int
    outputs: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "silu"
    moments: bool = False

    @property
    def places(self) -> int:
        """T."""
        return self.trials

    @property
    def width(self) -> int:
        """K."""
        return self.outputs + (repeats.width(self.columns) if self.moments else 0)

    @property
    def _networks(self) -> dict[str, MLP]:
        hidden, width = tuple(self.hidden), self.hidden[-1]
        return {
            "phi": MLP(self.columns, width, hidden, self.activation),
            "rho": MLP(width + 1, self.outputs, hidden, self.activation),
        }

    def init(self, rng):
        """As `MLP`, but for last layers that do not start at zero: nothing would be learned."""
        weights = {name: network.init(rng) for name, network in self._networks.items()}
        last = f"w{len(self.hidden)}"
        for each in weights.values():
            spread = each[last].shape[0] ** -0.5
            each[last] = (spread * rng.normal(size=each[last].shape)).astype(np.float32)
        return weights

    def __call__(self, weights, x):
        rows = tf.reshape(x, [-1, self.columns + 1])
        networks, there = self._networks, rows[:, -1:]
        width = self.hidden[-1]
        seen = there * networks["phi"](weights["phi"], rows[:, :-1])
        total = tf.reduce_sum(tf.reshape(seen, [-1, self.trials, width]), 1)
        count = tf.reduce_sum(tf.reshape(there, [-1, self.trials, 1]), 1)
        count = tf.maximum(count, 1.0)
        summary = networks["rho"](weights["rho"], tf.concat([total / count, tf.math.log(count)], 1))
        if not self.moments:
            return summary
        each = tf.reshape(x, [-1, self.trials, self.columns + 1])
        return tf.concat([summary, repeats.moments(each[..., :-1], each[..., -1:])], 1)
