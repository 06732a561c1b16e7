"""What the scripts of the inverse problems share: pairs drawn ahead, training, and judging posteriors."""

from __future__ import annotations

import dataclasses
import math
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models import architectures, joint_posterior, posterior_model
from flow_models.diagnostics import posterior_report, two_sample
from flow_models.posterior_config import PosteriorConfig
from flow_models.simulators.simulator import Simulator
from flow_models.training import Trainer

BATCH = 1000  # pairs simulated in one go
MEASURED = 4000  # pairs that a frame is measured on


@dataclasses.dataclass(frozen=True)
class Pairs:
    """theta [N, P] of the prior, data without noise [N, M'], and data y [N, M]."""

    theta: np.ndarray
    clean: np.ndarray
    y: np.ndarray


def draw(simulator: Simulator, n: int, seed: int, what: str = "simulating") -> Pairs:
    """n pairs, simulated in compiled batches; the same seed gives the same pairs."""

    @tf.function(jit_compile=True, autograph=False)
    def batch(number):
        seeds = tf.random.split(tf.stack([seed, number]), 2)
        theta = simulator.prior(BATCH, seeds[0])
        clean = simulator.forward(theta)
        return theta, clean, simulator.observe(clean, seeds[1])

    numbers = tqdm(range(-(-n // BATCH)), what, disable=not sys.stderr.isatty(), unit="k", leave=False)
    drawn = [batch(tf.constant(number)) for number in numbers]
    return Pairs(*(np.concatenate([np.asarray(part) for part in parts])[:n] for parts in zip(*drawn)))


@dataclasses.dataclass
class Trained:
    """A model in training: its `Trainer`, and what turns the loss into nats of theta."""

    model: object
    trainer: Trainer
    constant: float  # nll of theta = objective + constant


def conditional(frame, config: PosteriorConfig, train: Pairs, validation: Pairs, **trainer) -> Trained:
    """A `PosteriorModel` and the training of its flow on pairs taken into the frame."""
    model = posterior_model.untrained(frame, train.theta[:MEASURED], train.y[:MEASURED], _flow_of(config))
    data = _prepared(model, train)[0]
    held_out, log_det = _prepared(model, validation)
    return Trained(model, Trainer(model.flow, data, held_out, config.fit_settings(), **trainer), -float(log_det.mean()))


def joint(simulator, config: PosteriorConfig, train: Pairs, validation: Pairs, *, noise_inputs: bool, sigma_y: float,
          least_sd: float = 0.0, **trainer) -> Trained:  # fmt: skip
    """A `JointPosterior` and the training of its flow."""
    model = joint_posterior.untrained(simulator, train.y[:MEASURED], _flow_of(config), noise_inputs=noise_inputs,
                                      sigma_y=sigma_y, least_sd=least_sd)  # fmt: skip
    data = [model.prepare(pairs.theta, pairs.clean, pairs.y) for pairs in (train, validation)]
    return Trained(model, Trainer(model.flow, *data, config.fit_settings(), **trainer), 0.0)


def data_density(model, config: PosteriorConfig, train: Pairs, validation: Pairs) -> Trainer:
    """The training of p(y) in the context of the model's frame, which the model then has as its `data_flow`."""
    contexts = [_prepared(model, pairs)[0]["condition"] for pairs in (train, validation)]
    contexts = [np.asarray(model.frame.data_context(context)) for context in contexts]
    from flow_models.model import FlowModel

    bijector = architectures.build("spline_coupling", contexts[0].shape[1], depth=4, hidden=(64, 64), unroll=1, affine=True)
    model.data_flow = FlowModel(bijector)
    settings = dataclasses.replace(config.fit_settings(), steps=max(config.steps // 4, 50), epoch_steps=0)
    return Trainer(model.data_flow, *contexts, settings)


def _flow_of(config):
    options = {**dataclasses.asdict(config), "standardise": False}
    return lambda size, width: architectures.build(config.architecture, size, **options, condition_size=width)


def _prepared(model, pairs: Pairs):
    """What the flow is trained on, and log-determinants, in parts with a bar."""
    starts = range(0, len(pairs.theta), 8192)
    parts = [model.prepare(pairs.theta[i : i + 8192], pairs.y[i : i + 8192])
             for i in tqdm(starts, "into the frame", disable=not sys.stderr.isatty(), unit="part", leave=False)]  # fmt: skip
    data = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    return data, np.concatenate([part[1] for part in parts])


def calibrated(model, test: Pairs, samples: int, seed: int) -> tuple[dict[str, float], np.ndarray]:
    """Coverage, ranks and the rest of `posterior_report.judge` on fresh pairs, and the posterior samples [B, S, P]."""
    drawn = model.posterior_theta(test.y, samples, seed)
    return posterior_report.judge(test.theta, drawn, observations=test.y, seed=seed), drawn


def misfit(simulator, theta: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Root mean square of the whitened residuals of samples [B, S, P] against y [B, M]: 1 is the noise; [B, S]."""
    size, most = theta.shape[1], max(2**14 // theta.shape[1], 1)
    residual = tf.function(simulator.residual, jit_compile=True, autograph=False)
    found = []
    for first in range(0, len(y), most):
        rows = np.resize(theta[first : first + most], (most, *theta.shape[1:])).reshape(-1, theta.shape[2])
        data = np.repeat(np.resize(y[first : first + most], (most, y.shape[1])), size, 0)
        found.append(np.sqrt(np.mean(np.square(residual(tf.constant(rows), tf.constant(data))), -1)).reshape(most, size))
    return np.concatenate(found)[: len(y)]


def against_reference(samples: np.ndarray, reference: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """C2ST and unbiased MMD^2 of samples [B, S, P] against a reference [B, R, P], the null between halves of the
    reference, and how spreads compare: one value an observation."""
    n = min(samples.shape[1], reference.shape[1])
    half = reference.shape[1] // 2
    found = {"c2st": [], "c2st_null": [], "sd_correlation": [], "sd_ratio": []}
    for ours, theirs in zip(samples[:, :n], reference[:, :n]):
        found["c2st"].append(two_sample.c2st(ours, theirs, seed))
        found["c2st_null"].append(two_sample.c2st(theirs[:half], theirs[half : 2 * half], seed))
        deviations = ours.std(0), theirs.std(0)
        found["sd_correlation"].append(np.corrcoef(*deviations)[0, 1])
        found["sd_ratio"].append(np.mean(deviations[0] / deviations[1]))
    return {name: np.array(values) for name, values in found.items()}


class Clock:
    """Seconds of the parts of a run, for the table of costs."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def time(self, name: str, action):
        """What `action()` gives; its wall-clock time is kept under `name`."""
        began = time.perf_counter()
        result = action()
        self.seconds[name] = time.perf_counter() - began
        return result


def nats_to_go(validation_nll: float, entropy: float) -> float:
    """How far the validation loss of theta is above the mean Laplace entropy."""
    return validation_nll - entropy if math.isfinite(validation_nll) else math.inf
