"""A flow of rows with missing cells: beside it, a flow that proposes the missing cells."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import CDF
from flow_models.bijectors.domain import bound, unbound
from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.layer import Frozen, Layer
from flow_models.bijectors.networks import MLP
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable


@dataclasses.dataclass(frozen=True)
class Proposal(Serializable):
    """q(missing cells | observed cells, which are observed), a flow of the missing cells alone.

        log q = sum over missing cells i of  log N(z_i; 0, 1) + log |dz_i/dx_i|

    Every column is made roughly normal by itself: by its CDF, or by its bounds, mean and standard
    deviation. Spline couplings follow. Each moves about half of the columns, of these the missing
    cells only; its network sees all other cells, and which cells are observed.

    Attributes:
      columns: a CDF a column, None for a number.
      lower, upper: bounds of the numbers, one a column.
      depth: couplings.
      hidden, activation: of their networks.
      bins: of their splines.
    """

    columns: Sequence[CDF | None]
    lower: Sequence[float | None]
    upper: Sequence[float | None]
    depth: int = 4
    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    bins: int = 8

    @property
    def size(self) -> int:
        return len(self.columns)

    @property
    def _transform(self) -> Composed:
        return Composed(Affine(), RationalQuadratic(self.bins, 4.0))

    def _moved(self, step: int) -> list[int]:
        """The columns that a coupling moves: a random half, then the others."""
        order = np.random.default_rng(step // 2).permutation(self.size)
        return sorted(order[self.size // 2 :] if step % 2 == 0 else order[: self.size // 2])

    def _network(self, step: int) -> MLP:
        outputs = max(len(self._moved(step)), 1) * self._transform.parameters
        return MLP(2 * self.size, outputs, self.hidden, self.activation)

    def init(self, rng):
        return {
            "mean": Frozen(np.zeros(self.size, np.float32)),
            "sd": Frozen(np.ones(self.size, np.float32)),
            "couplings": [self._network(step).init(rng) for step in range(self.depth)],
        }

    def fitted(self, weights, x):
        """Weights with the mean and standard deviation of each number's observed cells, of rows x
        [N, D] with NaN where cells are missing."""
        mean, sd = np.zeros(self.size, np.float32), np.ones(self.size, np.float32)
        for i in (i for i, cdf in enumerate(self.columns) if cdf is None):
            known = x[~np.isnan(x[:, i]), i]
            values = unbound(tf.constant(known), self.lower[i], self.upper[i])[0].numpy()
            mean[i], sd[i] = values.mean(dtype=np.float64), values.std(dtype=np.float64) or 1.0
        kind = weights["mean"].dtype
        return {**weights, "mean": tf.constant(mean, kind), "sd": tf.constant(sd, kind)}

    def sample(self, weights, x, noise):
        """Rows x [B, D] with their missing cells drawn, from N(0, 1) noise [B, D], and log q of
        the draws [B]; 0 for complete rows."""
        known = ~tf.math.is_nan(x)
        u = tf.where(known, self._normal(weights, self._filled(weights, x))[0], noise)
        log_q = _log_normal(noise)
        for step in reversed(range(self.depth)):
            u, log_det = self._coupled(weights, step, u, known, inverse=True)
            log_q -= log_det
        drawn = tf.where(known, x, self._back(weights, u))
        return drawn, _over(~known, log_q + self._normal(weights, drawn)[1])

    def log_prob(self, weights, x, known):
        """log q of the cells of complete rows x [B, D] that are not `known`, [B]."""
        u, log_q = self._normal(weights, x)
        for step in range(self.depth):
            u, log_det = self._coupled(weights, step, u, known, inverse=False)
            log_q += log_det
        return _over(~known, log_q + _log_normal(u))

    def _coupled(self, weights, step, u, known, inverse):
        """One coupling, or its inverse, and its log-derivatives [B, D]."""
        moved, columns = self._moved(step), tf.unstack(u, axis=1)
        slopes = [tf.zeros_like(column) for column in columns]
        if not moved:  # one column alone has no other half
            return u, tf.stack(slopes, 1)
        free = ~tf.stack([known[:, i] for i in moved], 1)
        half = tf.constant([i in moved for i in range(self.size)])
        seen = tf.where(half & ~known, 0.0, u)
        seen = tf.concat([seen, tf.cast(known, u.dtype)], 1)
        o = self._network(step)(weights["couplings"][step], seen)
        o = tf.reshape(o, [-1, len(moved), self._transform.parameters])
        x, run = tf.stack([columns[i] for i in moved], 1), self._transform
        direction = run.inverse_and_log_det if inverse else run.forward_and_log_det
        y, log_slopes = direction(o, x)
        y, log_slopes = tf.where(free, y, x), tf.where(free, log_slopes, 0.0)
        for place, i in enumerate(moved):
            columns[i], slopes[i] = y[:, place], log_slopes[:, place]
        return tf.stack(columns, 1), tf.stack(slopes, 1)

    def _filled(self, weights, x):
        """Missing cells replaced by the middle of their columns."""
        middle = self._back(weights, tf.zeros([1, self.size], x.dtype))
        return tf.where(tf.math.is_nan(x), middle, x)

    def _normal(self, weights, x):
        """Each column of complete rows made roughly normal, and log-derivatives, [B, D] both."""
        found = []
        for i, cdf in enumerate(self.columns):
            if cdf is None:
                y, log_slope = unbound(x[:, i], self.lower[i], self.upper[i])
                mean, sd = weights["mean"][i], weights["sd"][i]
                found.append(((y - mean) / sd, log_slope - tf.math.log(sd)))
            else:
                found.append(cdf.forward_and_log_det(_rows(cdf.start(), x), x[:, i]))
        y, log_slopes = zip(*found, strict=True)
        return tf.stack(y, 1), tf.stack(log_slopes, 1)

    def _back(self, weights, u):
        """The inverse of `_normal`."""
        columns = []
        for i, cdf in enumerate(self.columns):
            if cdf is None:
                y = u[:, i] * weights["sd"][i] + weights["mean"][i]
                columns.append(bound(y, self.lower[i], self.upper[i])[0])
            else:
                columns.append(cdf.inverse(_rows(cdf.start(), u), u[:, i]))
        return tf.stack(columns, 1)


@dataclasses.dataclass(frozen=True)
class WithMissing(Layer):
    """A flow of complete rows, and the proposal of missing cells that is trained and saved with it.

    On complete rows it is the flow. Rows with NaN start both, see `models.missing` for the rest.

    Attributes:
      layer: the flow.
      proposal: of the same columns.
    """

    layer: Layer
    proposal: Proposal

    @property
    def size(self) -> int:
        return self.proposal.size

    def init(self, rng):
        return {"layer": self.layer.init(rng), "proposal": self.proposal.init(rng)}

    def forward_and_log_det(self, weights, x, condition=None):
        return self.layer.forward_and_log_det(weights["layer"], x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self.layer.inverse_and_log_det(weights["layer"], y, condition)

    def data_dependent_init(self, weights, x, condition=None):
        x = np.asarray(x)
        complete = tf.constant(hot_deck(x))
        layer, z = self.layer.data_dependent_init(weights["layer"], complete, condition)
        return {"layer": layer, "proposal": self.proposal.fitted(weights["proposal"], x)}, z

    def check(self, x):
        self.layer.check(hot_deck(x))


def hot_deck(x: np.ndarray) -> np.ndarray:
    """Rows [N, D] whose missing cells hold observed values of the same column, of other rows.

    Raises:
      UserError: a column has no value.
    """
    x = np.array(x)
    for i, column in enumerate(x.T):
        missing = np.isnan(column)
        known = column[~missing]
        if not len(known):
            raise UserError(f"column {i} has no value in any row: leave it out")
        column[missing] = np.resize(known, missing.sum())
    return x


def _rows(numbers: np.ndarray, like):
    """Parameters [P] as rows [B, P]."""
    return tf.tile(tf.constant(numbers, like.dtype)[None], [tf.shape(like)[0], 1])


def _log_normal(z):
    return -0.5 * (z * z + math.log(2 * math.pi))


def _over(cells, values):
    """The sum [B] of values [B, D] over some cells."""
    return tf.reduce_sum(tf.where(cells, values, 0.0), 1)
