"""Measures of posteriors against simulators and reference samplers."""

from __future__ import annotations

import dataclasses
import functools
import sys

import numpy as np
import tensorflow as tf

from flow_models.applications.inverse.problem import draw
from flow_models.core.errors import warn
from flow_models.diagnostics import two_sample
from flow_models.diagnostics.posterior import importance_resample, misspecification
from flow_models.models import posteriors
from flow_models.models.model import Model
from flow_models.references import laplace
from flow_models.simulators.simulator import Simulator

AT_MODES = 500  # validation pairs whose modes are found
OVERSAMPLED = 8  # samples drawn for one that importance resampling keeps
FARTHEST = 12.0  # prior standard deviations of a whitened parameter
ALARM_DRAWS = 2000  # fresh data that the rate of false warnings is counted on
ALARM = 0.01  # rate of false warnings that data lie outside what the simulator makes
SHOWN = 10  # rows that such a warning names


@functools.lru_cache(maxsize=8)
def _compiled_log_posterior(simulator: Simulator):
    return tf.function(simulator.log_posterior, jit_compile=simulator.by_xla, autograph=False)


@functools.lru_cache(maxsize=8)
def _compiled_residual(simulator: Simulator):
    return tf.function(simulator.residual, jit_compile=simulator.by_xla, autograph=False)


def validation_nll(history) -> float:
    """-log p of the validation pairs where the objective was least, without the terms that settings
    add to it by weight."""
    best = int(np.argmin(history["val_objective"]))
    return history["val_latent"][best] - history["val_log_det"][best]


def simulated_scores(model, seed: int) -> np.ndarray:
    """Anomaly scores of fresh data, among which those of the user's are judged."""
    return model.anomaly_score(draw(model.simulator, ALARM_DRAWS, seed, 3).y)


def alarm(scores: np.ndarray) -> float:
    """The rate of false warnings among so many scores of simulated data: ALARM, or what few scores
    can say."""
    return max(ALARM, 1 / (len(scores) + 1))


def p_values(model, observed: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of data [B, M] among the scores of simulated data; a warning names those that are unlike all
    that is simulated."""
    found, rate = misspecification(model.anomaly_score(observed), scores), alarm(scores)
    strange = np.flatnonzero(found <= rate)
    if len(strange):
        rows = ", ".join(str(i + 1) for i in strange[:SHOWN]) + (
            ", ..." if len(strange) > SHOWN else ""
        )
        warn(
            f"the data{f' of rows {rows}' if len(found) > 1 else ''} lie outside what the"
            f" simulator makes (p = {found.min():.4f}; one in {1 / rate:.0f} data sets that it"
            " makes gets this warning): do not trust their posterior"
        )
    return found


def misfit(simulator, theta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Root mean square of the whitened residuals of samples [B, S, P] against y [B, M]: 1 is the
    noise; [B, S]."""
    return np.sqrt(np.mean(np.square(residuals(simulator, theta, y)), -1))


def residuals(simulator, theta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """forward(theta) - y, decorrelated, in units of the noise, of samples [B, S, P] and data [B,
    M]: [B, S, M']."""
    size = theta.shape[1]
    most = min(max(2**14 // size, 1), len(y))
    residual, found = _compiled_residual(simulator), []
    for first in range(0, len(y), most):
        rows = np.resize(theta[first : first + most], (most, *theta.shape[1:])).reshape(
            -1, theta.shape[2]
        )
        data = np.repeat(np.resize(y[first : first + most], (most, y.shape[1])), size, 0)
        values = residual(tf.constant(rows), tf.constant(data)).numpy()
        found.append(values.reshape(most, size, -1)[: len(y) - first])
    return np.concatenate(found)


def laplace_entropy(model: Model, y: np.ndarray, log_det: np.ndarray) -> float:
    """Mean entropy, nats, of the Laplace approximations of data y [N, M]: what the validation loss
    of a perfect Gaussian posterior would be.

    From the frame for all rows, with log_det [N] of its map, brought to the modes by what some
    hundred of them say.
    """
    size, some = model.simulator.size, y[:AT_MODES]
    in_frame = 0.5 * size * np.log(2 * np.pi * np.e)
    at_modes = laplace.gauss_newton(model.simulator, some).entropy.mean()
    shift = at_modes - (in_frame - np.mean(log_det[:AT_MODES]))
    return float(in_frame - np.mean(log_det) + shift)


def replace_outliers(theta: np.ndarray) -> tuple[np.ndarray, float]:
    """Samples [..., P] with prior samples in place of outliers, and the share of these.

    Outliers overflowed, or lie where no prior sample does: a network trained on too little may
    throw samples far away. A share above 0 is reported as `outlier_fraction`.
    """
    outliers = ~((theta > -FARTHEST) & (theta < FARTHEST)).all(-1)
    if outliers.any():
        theta = theta.copy()
        theta[outliers] = np.random.default_rng(0).normal(size=theta[outliers].shape)
    return theta, float(outliers.mean())


def replace_outliers_for_user(theta: np.ndarray) -> np.ndarray:
    """`replace_outliers` for the user's own data, with a warning where there are any."""
    theta, share = replace_outliers(theta)
    if share:
        warn(
            f"{100 * share:.2g}% of the samples for your data lie where no prior sample"
            " does; prior samples are in their place"
        )
    return theta


def corrected(model, y: np.ndarray, n: int, seed: int = 3):
    """n samples [B, n, P] importance-resampled from more of the model's; of each posterior [B] the
    effective sizes, the Pareto shapes and KL(q | p) in nats, log mean w - mean log w."""
    found = []
    for row in y:
        theta = posteriors.whitened_samples(model, row, OVERSAMPLED * n, seed)
        exact = _compiled_log_posterior(model.simulator)(
            tf.constant(theta), tf.constant(np.repeat(row[None], len(theta), 0))
        )
        log_weights = np.asarray(exact, np.float64) - posteriors.log_prob_whitened(
            model, theta, row
        )
        resampled = importance_resample(theta, log_weights, n, seed)
        divergence = (
            np.logaddexp.reduce(log_weights) - np.log(len(log_weights)) - log_weights.mean()
        )
        found.append((resampled.samples, resampled.effective_size, resampled.pareto_k, divergence))
    return tuple(np.array(each) for each in zip(*found))


@dataclasses.dataclass(frozen=True)
class Reference:
    """Samples [B, R, P] of the exact posteriors, in whitened parameters, and how good they are."""

    samples: np.ndarray
    null: np.ndarray  # [B], C2ST between halves of the samples
    seconds: float  # that the sampler took, whenever it ran
    metrics: dict[str, float]


def reference(simulator: Simulator, y: np.ndarray, config) -> Reference:
    """Hamiltonian Monte Carlo on the simulator's own density for every row of y, kept on disk."""
    from flow_models.references import reference as sampler

    found = sampler.reference(
        simulator,
        y,
        sampler.Sampling(seed=config.fit.seed, **simulator.sampling),
        config.inverse.reference_folder or None,
        sys.stderr.isatty(),
    )
    null = np.array([two_sample.c2st(a, b) for a, b in zip(*found.halves())])
    metrics = {
        "rhat_worst": found.rhat.max(),
        "effective_samples_worst": found.effective.min(),
        "other_modes_worst": found.other_mass.max(),
        "reference_seconds": found.seconds,
    }
    return Reference(
        found.samples.astype(np.float32),
        null,
        found.seconds,
        {k: float(v) for k, v in metrics.items()},
    )


def against_reference(
    samples: np.ndarray, reference: np.ndarray, simulator: Simulator, seed: int = 0
) -> dict[str, np.ndarray]:
    """One value an observation for samples [B, S, P] against a reference [B, R, P]: C2ST in
    whitened parameters, and how the standard deviations of the user's parameters compare."""
    found: dict[str, list] = {"c2st": [], "sd_correlation": [], "sd_ratio": []}
    for ours, theirs in zip(samples, reference):
        found["c2st"].append(two_sample.c2st(ours, theirs, seed))
        deviations = [
            np.asarray(simulator.physical(tf.constant(each))).std(0, dtype=np.float64)
            for each in (ours, theirs)
        ]
        found["sd_correlation"].append(np.corrcoef(*deviations)[0, 1])
        found["sd_ratio"].append(np.mean(deviations[0] / deviations[1]))
    return {name: np.array(values) for name, values in found.items()}
