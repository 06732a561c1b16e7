"""Samples of data without noise, brought onto the data where the network misses them.

A network that is trained on draws of the prior sees a rare observation rarely. The exact likelihood
says where that shows: the effective share of the importance weights of its samples is small.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from flow_models.applications.inverse import study
from flow_models.models.posteriors import log_prob_whitened
from flow_models.references.correction import gauss_newton

CHOICES = ("auto", "always", "never")
LOW = 0.1  # effective share, below which "auto" corrects an observation
ENOUGH = 50.0  # effective samples that are resampled; fewer are moved alone
ARRIVED = 1.0  # misfit of a sample on the data, in the noise that training ended with
ROUNDS = 6  # of three Gauss-Newton steps, from as far as a rare observation may be off
ROUNDED = 2.0**22  # nats, beyond which 32 bits do not know a density to half a nat
ROWS = 2**15  # samples whose weights are computed at once


@dataclasses.dataclass(frozen=True)
class Corrected:
    """Samples theta [B, S, P], the effective shares [B] of those given, none where they were not
    asked for, and which observations [B] were corrected."""

    theta: np.ndarray
    shares: np.ndarray
    corrected: np.ndarray

    def metrics(self) -> dict[str, float]:
        """How many observations were corrected, and the effective shares of all."""
        found = {"observations_corrected": float(self.corrected.sum())}
        if len(self.shares):
            quantiles = np.quantile(self.shares, (0.01, 0.5))
            found |= {"ess_fraction_1_percent": quantiles[0], "ess_fraction_median": quantiles[1]}
        return found


def correct(model, theta: np.ndarray, y: np.ndarray, choice: str = "auto") -> Corrected:
    """Samples theta [B, S, P] of the model for data y [B, M], corrected where their effective share
    is below LOW ("auto"), everywhere ("always") or nowhere ("never").

    Importance resampling first, where enough samples are effective; then Gauss-Newton steps onto
    the data, which need a simulator that has slopes. Samples that do not arrive there give way to
    those that do; where none does, as for data that nothing makes, all stay as they are.
    """
    if choice == "never":
        return Corrected(theta, np.empty(0), np.zeros(len(y), bool))
    shares = effective_shares(model, theta, y)
    chosen = shares < (LOW if choice == "auto" else np.inf)
    theta = theta.copy()
    for i in np.flatnonzero(chosen):
        some = theta[i : i + 1]
        if shares[i] * study.OVERSAMPLED * theta.shape[1] >= ENOUGH:
            some = study.corrected(model, y[i : i + 1], theta.shape[1])[0]
        theta[i] = _moved(model.simulator, some, y[i : i + 1], theta[i])
    return Corrected(theta, shares, chosen)


def _moved(simulator, theta: np.ndarray, y: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Samples [S, P] on the data y [1, M] from theta [1, S, P]; `otherwise` where none arrives."""
    moved = theta
    for _ in range(ROUNDS):
        moved = gauss_newton(simulator, moved, y)
    near = (np.abs(moved[0]) < study.FARTHEST).all(-1)
    arrived = np.flatnonzero(near & (study.misfit(simulator, moved, y)[0] < ARRIVED))
    if not len(arrived):
        return otherwise
    chosen = np.random.default_rng(0).choice(arrived, len(near))
    return moved[0, np.where(np.isin(np.arange(len(near)), arrived), np.arange(len(near)), chosen)]


def effective_shares(model, theta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(sum w)^2 / (S sum w^2) [B] of weights w = p(theta, y) / q(theta | y), samples [B, S, P]."""
    exact, size = _log_posterior(model.simulator), theta.shape[1]
    most = max(ROWS // size, 1)
    found = []
    for first in range(0, len(y), most):
        some, data = theta[first : first + most], y[first : first + most]
        rows = tf.constant(some.reshape(-1, some.shape[-1]))
        log_p = exact(rows, tf.constant(np.repeat(data, size, 0))).numpy().reshape(-1, size)
        log_w = log_p.astype(np.float64) - log_prob_whitened(model, some, data[:, None])
        log_w[~(np.abs(log_p) < ROUNDED) | np.isnan(log_w)] = -np.inf
        w = np.exp(log_w - np.maximum(log_w.max(1, keepdims=True), -1e300))
        total = np.maximum(w.sum(1), 1e-300)
        found.append(total**2 / np.maximum(size * np.square(w).sum(1), 1e-300))
    return np.minimum(np.concatenate(found), 1.0)


@functools.lru_cache(maxsize=8)
def _log_posterior(simulator):
    return tf.function(
        simulator.log_posterior,
        jit_compile=simulator.by_xla,
        autograph=False,
        reduce_retracing=True,
    )
