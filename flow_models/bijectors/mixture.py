"""Mixtures of Gaussians and of flows as invertible maps, with a noise number that tells which."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors import intervals
from flow_models.bijectors.layer import Layer


class Mixture(Layer):
    """(x, e) -> (z, e') with log p(x) = log sum_k w_k p_k(x), exactly, whatever e is.

    x goes through component k, drawn by its responsibility p(k | x) with e ~ N(0, 1); e' tells k,
    in intervals of shares w_k. Subclasses define `of_each` and `inverse_of_each`.
    """

    size: int

    def of_each(self, weights, x, condition):
        """z [B, K, D] and log |det| [B, K] of x [B, D] under each component."""
        raise TypeError(f"{type(self).__name__} must define the method of_each")

    def inverse_of_each(self, weights, z, condition):
        """x [B, K, D] of z [B, D]."""
        raise TypeError(f"{type(self).__name__} must define the method inverse_of_each")

    def _shares(self, weights, z, log_det):
        """w [B, K] and p(k | x) [B, K]."""
        log_w = tf.nn.log_softmax(weights["logits"])
        log_p = log_w + tf.reduce_sum(intervals.log_normal(z), -1) + log_det
        return tf.zeros_like(log_p) + tf.exp(log_w), tf.nn.softmax(log_p)

    def forward_and_log_det(self, weights, x, condition=None):
        e = x[:, -1]
        z, log_det = self.of_each(weights, x[:, :-1], condition)
        prior, posterior = self._shares(weights, z, log_det)
        k = intervals.branch_of(e, posterior)
        source, target = (intervals.interval_of(each, k) for each in (posterior, prior))
        to = intervals.moved(e, source, target)
        slope = _of(log_det, k) + intervals.log_slope(e, to, source, target)
        return tf.concat([_of(z, k), to[:, None]], -1), slope

    def inverse_and_log_det(self, weights, y, condition=None):
        e = y[:, -1]
        prior = tf.zeros_like(y[:, :1]) + tf.nn.softmax(weights["logits"])
        k = intervals.branch_of(e, prior)
        x = _of(self.inverse_of_each(weights, y[:, :-1], condition), k)
        z, log_det = self.of_each(weights, x, condition)
        source, target = (
            intervals.interval_of(each, k) for each in (prior, self._shares(weights, z, log_det)[1])
        )
        to = intervals.moved(e, source, target)
        slope = intervals.log_slope(e, to, source, target) - _of(log_det, k)
        return tf.concat([x, to[:, None]], -1), slope


@dataclasses.dataclass(frozen=True)
class GaussianMixture(Mixture):
    """Learned Gaussians N(m_k, S_k) with weights w_k, as the last layer of a flow: a mixture for a
    base. Separated modes need no bridge then.

    z_k = U_k (x - m_k), U_k triangular. The components start at rows of the data.

    Attributes:
      size: D + 1.
      components: K.
    """

    size: int
    components: int = 10

    def init(self, rng):
        width, shape = self.size - 1, (self.components, self.size - 1)
        return {
            "logits": np.zeros(self.components, np.float32),
            "means": rng.normal(size=shape).astype(np.float32),
            "log_scales": np.full(shape, np.log(0.5), np.float32),
            "lower": np.zeros((*shape, width), np.float32),
        }

    def data_dependent_init(self, weights, x, condition=None):
        rows = x[:, :-1].numpy()
        parts, spread = [rows[part] for part in _clusters(rows, self.components)], rows.std(0)
        found = {
            "logits": np.log([len(part) for part in parts]),
            "means": [part.mean(0) for part in parts],
            "log_scales": [np.log(part.std(0) + 0.05 * spread + 1e-6) for part in parts],
        }
        weights = {**weights, **{name: tf.cast(v, x.dtype) for name, v in found.items()}}
        return weights, self.forward_and_log_det(weights, x, condition)[0]

    def _factors(self, weights):
        """U [K, D, D], with the diagonal 1 / scale."""
        strictly = tf.linalg.band_part(weights["lower"], -1, 0)
        strictly -= tf.linalg.diag(tf.linalg.diag_part(strictly))
        return strictly + tf.linalg.diag(tf.exp(-weights["log_scales"]))

    def of_each(self, weights, x, condition):
        away = x[:, None] - weights["means"]
        z = tf.einsum("kij,bkj->bki", self._factors(weights), away)
        log_det = -tf.reduce_sum(weights["log_scales"], -1)
        return z, tf.zeros_like(z[..., 0]) + log_det

    def inverse_of_each(self, weights, z, condition):
        every = tf.tile(tf.transpose(z)[None], [self.components, 1, 1])  # [K, D, B]
        away = tf.linalg.triangular_solve(self._factors(weights), every)
        return tf.transpose(away, [2, 0, 1]) + weights["means"]


@dataclasses.dataclass(frozen=True)
class FlowMixture(Mixture):
    """A mixture of flows: K layers, each with its own weights, and what each is worth.

    Attributes:
      size: D + 1.
      layers: of D dimensions.
    """

    size: int
    layers: Sequence[Layer]

    def init(self, rng):
        return {
            "logits": np.zeros(len(self.layers), np.float32),
            "layers": [layer.init(rng) for layer in self.layers],
        }

    def data_dependent_init(self, weights, x, condition=None):
        """Each flow starts from rows of its own cluster."""
        parts, started = _clusters(x[:, :-1].numpy(), len(self.layers)), []
        for layer, w, part in zip(self.layers, weights["layers"], parts, strict=True):
            given = None if condition is None else tf.gather(condition, part)
            own = tf.gather(x[:, :-1], part)
            started.append(layer.data_dependent_init(w, own, given)[0])
        log_counts = np.log([len(part) for part in parts])
        weights = {"logits": tf.cast(log_counts, x.dtype), "layers": started}
        return weights, self.forward_and_log_det(weights, x, condition)[0]

    def of_each(self, weights, x, condition):
        pairs = zip(self.layers, weights["layers"], strict=True)
        each = [layer.forward_and_log_det(w, x, condition) for layer, w in pairs]
        return tf.stack([z for z, _ in each], 1), tf.stack([log_det for _, log_det in each], 1)

    def inverse_of_each(self, weights, z, condition):
        pairs = zip(self.layers, weights["layers"], strict=True)
        return tf.stack([layer.inverse_and_log_det(w, z, condition)[0] for layer, w in pairs], 1)


def _clusters(rows: np.ndarray, count: int) -> list[np.ndarray]:
    """Numbers of the rows of each of `count` clusters; of all rows where one would be empty."""
    from sklearn.cluster import KMeans

    every = np.arange(len(rows))
    if len(rows) < count:
        return [every] * count
    labels = KMeans(count, n_init=4, random_state=0).fit_predict(rows.astype(np.float64))
    found = [np.flatnonzero(labels == k) for k in range(count)]
    return [part if len(part) else every for part in found]


def _of(values, k):
    """values [B, K, ...] of component k [B]."""
    return tf.gather(values, k, axis=1, batch_dims=1)
