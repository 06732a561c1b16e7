"""A frame that takes from each parameter what a linear regression on the data says of it."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.frames import PriorFrame, for_rows
from flow_models.bijectors.layer import Frozen

MOST = 10_000  # rows that a regression is made from
WORTH = 0.3  # share of the variance that a regression must explain of rows it has not seen


@dataclasses.dataclass(frozen=True)
class RegressionFrame(PriorFrame):
    """z = (theta - m(y)) / s, m linear in the standardised data, s the spread that is left; the
    context is that of `PriorFrame`.

    A posterior that is nearly Gaussian is nearly N(0, I) then, before anything is learned. The
    regression is measured once, with the ridge and for the parameters that explain rows left out;
    other parameters stay as they are.
    """

    def init(self, rng):
        data, size = self.columns, self.simulator.size
        return {
            **super().init(rng),
            "slopes": Frozen(np.zeros((data, size), np.float32)),
            "spread": Frozen(np.ones(size, np.float32)),
            "centre": Frozen(np.zeros(size, np.float32)),
        }

    def measure(self, theta, y):
        found = super().measure(theta, y)
        rows = np.random.default_rng(0).permutation(len(y))[:MOST]
        y = np.asarray(self.with_moments(tf.constant(y[rows], tf.float64)))
        y = (y - found["mean"]) / found["scale"]
        theta = np.asarray(theta[rows], np.float64)
        slopes, left = regression(y - y.mean(0), theta - theta.mean(0))
        centre = np.where(slopes.any(0), theta.mean(0) - y.mean(0) @ slopes, 0.0)
        return {**found, "slopes": slopes, "spread": np.sqrt(left), "centre": centre}

    def prepare(self, weights, condition):
        state = super().prepare(weights, condition)
        standardised = state["context"][:, : self.columns]
        return {**state, "centre": standardised @ weights["slopes"] + weights["centre"]}

    def forward_and_log_det(self, weights, x, condition=None):
        z = (x - for_rows(condition["centre"], x)) / weights["spread"]
        log_det = -tf.reduce_sum(tf.math.log(weights["spread"]))
        return z, tf.fill(tf.shape(x)[:1], log_det)

    def inverse_and_log_det(self, weights, y, condition=None):
        x = y * weights["spread"] + for_rows(condition["centre"], y)
        log_det = tf.reduce_sum(tf.math.log(weights["spread"]))
        return x, tf.fill(tf.shape(y)[:1], log_det)


def regression(y: np.ndarray, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes [M, P] and what is left of the variance [P] of theta [N, P] given y [N, M], both
    centred: by the ridge that leaves least in rows left out one by one, 0 and 1 where that is more
    than 1 - WORTH of the variance."""
    u, s, v = np.linalg.svd(y, full_matrices=False)
    projected, total = u.T @ theta, theta.var(0)
    slopes, left = np.zeros((y.shape[1], theta.shape[1])), np.full(theta.shape[1], np.inf)
    for ridge in len(y) * 10.0 ** np.arange(-6, 2):
        shrunk = s**2 / (s**2 + ridge)
        leverage = (u**2 @ shrunk)[:, None]
        residual = (theta - u @ (shrunk[:, None] * projected)) / np.maximum(1 - leverage, 1e-6)
        error = (residual**2).mean(0)
        better = error < left
        found = v.T @ ((s / (s**2 + ridge))[:, None] * projected)
        slopes[:, better], left[better] = found[:, better], error[better]
    useless = left > (1 - WORTH) * total
    slopes[:, useless], left[useless] = 0.0, 1.0
    return slopes, left
