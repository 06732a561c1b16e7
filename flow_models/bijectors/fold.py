"""Folds of the line: maps of several branches to one, with a noise number that tells the branch."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors import intervals
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP

NEVER = -30.0  # log-probability of a branch that does not reach a number
APART = 4.0  # standard deviations within, between the halves of a column that falls in two
LITTLE = 0.02  # of a standard deviation: b where a column does not


@dataclasses.dataclass(frozen=True)
class Fold(Layer):
    """(x_1 .. x_D, e) -> (fold(x_1), x_2 .. x_D, e'), with e ~ N(0, 1) beside the data.

    The branch of x_1 has probabilities that a network reads off the other outputs; e' keeps it, so
    nothing is lost. The density of x does not depend on e: it is exact. Subclasses define
    `branches`, `_fold` and `_unfold`.

    Attributes:
      size: D + 1.
      hidden, activation: of the network.
      condition_size: width of a condition that it also reads.
    """

    size: int
    hidden: Sequence[int] = (64,)
    activation: str = "relu"
    condition_size: int = 0

    @property
    def branches(self) -> int:
        raise TypeError(f"{type(self).__name__} must define the property branches")

    @property
    def network(self) -> MLP:
        seen = self.size - 1 + self.condition_size
        return MLP(seen, self.branches, self.hidden, self.activation)

    def init(self, rng):
        return {"network": self.network.init(rng)}

    def _fold(self, weights, x):
        """The folded column [B], the branch [B] of x [B], and log |slope| [B]."""
        raise TypeError(f"{type(self).__name__} must define the method _fold")

    def _unfold(self, weights, y, branch):
        """The column x [B] of a branch [B], and log |slope| [B] of the fold there."""
        raise TypeError(f"{type(self).__name__} must define the method _unfold")

    def _log_reach(self, weights, y):
        """[B, K]: added to the log-probabilities of the branches at y [B]."""
        return tf.zeros([tf.shape(y)[0], self.branches], y.dtype)

    def _shares(self, weights, y, rest, condition):
        """Probabilities [B, K] of the branches at folded columns y [B]."""
        seen = [y[:, None], rest, *([] if condition is None else [condition])]
        logits = self.network(weights["network"], tf.concat(seen, -1))
        return tf.nn.softmax(logits + self._log_reach(weights, y))

    def forward_and_log_det(self, weights, x, condition=None):
        first, rest, e = x[:, 0], x[:, 1:-1], x[:, -1]
        y, branch, slope = self._fold(weights, first)
        kept = intervals.interval_of(self._shares(weights, y, rest, condition), branch)
        source = intervals.whole(e)
        to = intervals.moved(e, source, kept)
        log_det = slope + intervals.log_slope(e, to, source, kept)
        return tf.concat([y[:, None], rest, to[:, None]], -1), log_det

    def inverse_and_log_det(self, weights, y, condition=None):
        first, rest, e = y[:, 0], y[:, 1:-1], y[:, -1]
        shares = self._shares(weights, first, rest, condition)
        branch = intervals.branch_of(e, shares)
        x, slope = self._unfold(weights, first, branch)
        kept, target = intervals.interval_of(shares, branch), intervals.whole(e)
        to = intervals.moved(e, kept, target)
        log_det = intervals.log_slope(e, to, kept, target) - slope
        return tf.concat([x[:, None], rest, to[:, None]], -1), log_det


@dataclasses.dataclass(frozen=True)
class Absolute(Fold):
    """The absolute value, |x|, as a surjection (SurVAE flows, Nielsen et al. 2020).

    |x| is carried from the half line to the whole one by Phi^-1(2 Phi(|x|) - 1), which makes
    N(0, 1) of the absolute value of N(0, 1): a density may be positive at 0.
    """

    @property
    def branches(self):
        return 2

    def _fold(self, weights, x):
        inside, outside = (f(tf.abs(x) * np.sqrt(0.5)) for f in (tf.math.erf, tf.math.erfc))
        y = intervals.normal_of(inside, outside)
        return y, tf.cast(x > 0, tf.int32), self._slope(x, y)

    def _unfold(self, weights, y, branch):
        lower, upper = intervals.tails(y)
        # 2 Phi(|x|) - 1 = Phi(y); where Phi(y) is small it is sqrt(2 / pi) |x|
        near = tf.math.erfinv(tf.minimum(lower, 0.5)) * np.sqrt(2.0)
        size = tf.where(lower < 0.5, near, intervals.normal_of(1 - upper / 2, upper / 2))
        x = size * (2 * tf.cast(branch, y.dtype) - 1)
        return x, self._slope(x, y)

    def _slope(self, x, y):
        return np.log(2.0) + intervals.log_normal(x) - intervals.log_normal(y)


@dataclasses.dataclass(frozen=True)
class ThreeBranches(Fold):
    """The line folded in three, -x between -b and b and x -+ 2 b outside: real and discrete (RAD,
    Dinh, Sohl-Dickstein, Larochelle and Pascanu 2019).

    Two modes that lie about 4 b apart, or three, come to lie on one another, so no bridge joins
    them. Where a branch ends the density may jump.
    """

    @property
    def branches(self):
        return 3

    def init(self, rng):
        start = {"centre": np.zeros(1, np.float32), "log_b": np.full(1, np.log(0.5), np.float32)}
        return {**super().init(rng), **start}

    def data_dependent_init(self, weights, x, condition=None):
        """Folds a column that falls in two parts between them, and hardly another one."""
        column = x[:, 0].numpy().astype(np.float64)
        low, high = halves(column)
        within = np.sqrt((low.var() * len(low) + high.var() * len(high)) / len(column))
        apart = high.mean() - low.mean()
        b = apart / 4 if apart > APART * within else LITTLE * column.std()
        middle = (low.mean() + high.mean()) / 2
        found = {"centre": [middle], "log_b": [np.log(b)]}
        weights = {**weights, **{name: tf.cast(value, x.dtype) for name, value in found.items()}}
        return weights, self.forward_and_log_det(weights, x, condition)[0]

    def _fold(self, weights, x):
        b, x = tf.exp(weights["log_b"]), x - weights["centre"]
        branch = tf.cast(x > -b, tf.int32) + tf.cast(x > b, tf.int32)
        y = tf.where(branch == 1, -x, x - 2 * b * (tf.cast(branch, x.dtype) - 1))
        return y, branch, tf.zeros_like(x)

    def _unfold(self, weights, y, branch):
        b = tf.exp(weights["log_b"])
        x = tf.where(branch == 1, -y, y + 2 * b * (tf.cast(branch, y.dtype) - 1))
        return x + weights["centre"], tf.zeros_like(x)

    def _log_reach(self, weights, y):
        b = tf.exp(weights["log_b"])
        left, right = y < b, y > -b
        reached = tf.stack([left, left & right, right], -1)
        return tf.where(reached, tf.zeros([], y.dtype), tf.constant(NEVER, y.dtype))


def halves(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of a column [B], split where they differ least within (Otsu 1979)."""
    ordered = np.sort(column)
    count = np.arange(1, len(ordered))
    below = np.cumsum(ordered)[:-1]
    gap = below / count - (ordered.sum() - below) / (len(ordered) - count)
    cut = int(np.argmax(count * (len(ordered) - count) * gap**2)) + 1
    return ordered[:cut], ordered[cut:]
