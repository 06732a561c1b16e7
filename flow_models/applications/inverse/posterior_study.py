"""What the scripts of the inverse problems share: training, and judging posteriors."""

from __future__ import annotations

import dataclasses
import functools
import sys

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models.applications.inverse.pairs import Pairs, draw
from flow_models.applications.inverse.posterior_config import PosteriorConfig
from flow_models.architectures import vectors as architectures
from flow_models.bijectors.frames import LaplaceFrame
from flow_models.core.errors import UserError
from flow_models.diagnostics import two_sample
from flow_models.diagnostics.posterior import importance_resample, misspecification
from flow_models.models import joint_posterior, posterior_model
from flow_models.models.model import FlowModel
from flow_models.references import laplace
from flow_models.simulators.simulator import Simulator
from flow_models.training import losses
from flow_models.training.trainer import Trainer

AT_MODES = 500  # validation pairs whose modes are found
OVERSAMPLED = 8  # samples drawn for one that importance resampling keeps
FARTHEST = 12.0  # prior standard deviations of a whitened parameter
ALARM_DRAWS = 2000  # fresh data that the rate of false warnings is counted on
ALARM = 0.01  # rate of false warnings that data lie outside what the simulator makes
SHOWN = 10  # rows that such a warning names
MEASURED = 4000  # pairs that a frame is measured on


@functools.lru_cache(maxsize=8)
def _compiled_log_posterior(simulator: Simulator):
    return tf.function(simulator.log_posterior, jit_compile=simulator.by_xla, autograph=False)


@functools.lru_cache(maxsize=8)
def _compiled_residual(simulator: Simulator):
    return tf.function(simulator.residual, jit_compile=simulator.by_xla, autograph=False)


@dataclasses.dataclass
class Trained:
    """A model in training: its `Trainer`; of the conditional form the mean Laplace entropy, where
    the frame has one, and the contexts of the training and validation pairs."""

    model: object
    trainer: Trainer
    entropy: float | None = None
    contexts: tuple[np.ndarray, ...] = ()


def conditional(
    frame, config: PosteriorConfig, train: Pairs, validation: Pairs, **trainer
) -> Trained:
    """A `PosteriorModel` and the training of its flow on pairs taken into the frame."""
    model = posterior_model.untrained(
        frame, train.theta[:MEASURED], train.y[:MEASURED], flow_of(config)
    )
    data = _prepared(model, train)[0]
    held_out, log_det = _prepared(model, validation)
    entropy = _mean_laplace_entropy(model, validation, log_det)
    loss = _likelihood_of_theta(objective(model.flow, config), float(log_det.mean()), entropy)
    trainer = Trainer(model.flow, data, held_out, config.fit_settings(), loss=loss, **trainer)
    return Trained(model, trainer, entropy, (data["condition"], held_out["condition"]))


def objective(flow, config: PosteriorConfig):
    """The loss of a flow: its likelihood, and what the settings add by weight."""
    return losses.negative_log_likelihood(
        flow,
        mmd_latents=(config.mmd_latents, losses.mmd_of_latents(flow)),
        mmd_parameters=(config.mmd_parameters, losses.mmd_of_inputs(flow)),
        reconstruction=(config.reconstruction, losses.reconstruction(flow)),
    )


def _likelihood_of_theta(likelihood, log_det: float, entropy: float | None):
    """-log p(theta | y) in nats, from that of z and the mean log |det dz/dtheta| of the validation
    pairs."""

    def loss(weights, batch):
        terms = likelihood(weights, batch)
        terms |= {"objective": terms["objective"] - log_det, "log_det": terms["log_det"] + log_det}
        return (
            terms
            if entropy is None
            else {**terms, "above_laplace": terms["latent"] - terms["log_det"] - entropy}
        )

    loss.identity = likelihood.identity
    return loss


def joint(
    simulator,
    config: PosteriorConfig,
    train: Pairs,
    validation: Pairs,
    *,
    noise_inputs: bool,
    sigma_y: float,
    least_sd: float = 0.0,
    **trainer,
) -> Trained:
    """A `JointPosterior` and the training of its flow."""
    # inverted far from their data, chains of affine couplings overflow; splines have straight tails
    config = dataclasses.replace(
        config,
        architecture="spline_coupling",
        affine=False,
        linear=True,
        depth=config.joint_depth,
        hidden=config.joint_hidden,
        summary=0,
    )
    model = joint_posterior.untrained(
        simulator,
        train.y[:MEASURED],
        flow_of(config),
        noise_inputs=noise_inputs,
        sigma_y=sigma_y,
        least_sd=least_sd,
    )
    data = [model.prepare(pairs.theta, pairs.clean, pairs.y) for pairs in (train, validation)]
    return Trained(
        model,
        Trainer(
            model.flow, *data, config.fit_settings(), loss=objective(model.flow, config), **trainer
        ),
    )


def validation_nll(history) -> float:
    """-log p of the validation pairs where the objective was least, without the terms that settings
    add to it by weight."""
    best = int(np.argmin(history["val_objective"]))
    return history["val_latent"][best] - history["val_log_det"][best]


def contexts(model, *parts: Pairs) -> tuple[np.ndarray, ...]:
    """What the flow of a `PosteriorModel` is told about the data of some pairs."""
    return tuple(_prepared(model, pairs)[0]["condition"] for pairs in parts)


def data_density(model, config: PosteriorConfig, contexts) -> Trainer:
    """The training of p(y) in the contexts of training and validation pairs; the model then has it
    as its `data_flow`."""
    contexts = [np.asarray(model.frame.data_context(context)) for context in contexts]
    width = contexts[0].shape[1]
    name = "spline_coupling" if width > 1 else "maf"  # couplings need two columns
    bijector = architectures.build(name, width, depth=4, hidden=(64, 64), unroll=1, affine=True)
    model.data_flow = FlowModel(bijector)
    settings = dataclasses.replace(
        config.fit_settings(), steps=max(config.steps // 4, 50), epoch_steps=0
    )
    return Trainer(model.data_flow, *contexts, settings)


def simulated_scores(model, seed: int) -> np.ndarray:
    """Anomaly scores of fresh data, among which those of the user's are judged."""
    return model.anomaly_score(draw(model.simulator, ALARM_DRAWS, seed, 3).y)


def p_values(model, observed: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Of data [B, M] among the scores of simulated data; a warning names those that are unlike all
    that is simulated."""
    found = misspecification(model.anomaly_score(observed), scores)
    strange = np.flatnonzero(found <= ALARM)
    if len(strange):
        rows = ", ".join(str(i + 1) for i in strange[:SHOWN]) + (
            ", ..." if len(strange) > SHOWN else ""
        )
        print(
            f"warning: the data{f' of rows {rows}' if len(found) > 1 else ''} lie outside what the"
            f" simulator makes (p = {found.min():.4f}; one in {1 / ALARM:.0f} data sets that it"
            " makes gets this warning): do not trust their posterior",
            file=sys.stderr,
        )
    return found


def flow_of(config: PosteriorConfig):
    """What makes the flow of a model from the width of its parameters and of its condition."""
    options = {**dataclasses.asdict(config), "standardise": False}
    return lambda size, width: architectures.build(
        config.architecture, size, **options, condition_size=width
    )


def _prepared(model, pairs: Pairs):
    """What the flow is trained on, and log-determinants, in parts with a bar."""
    starts = range(0, len(pairs.theta), 8192)
    parts = [
        model.prepare(pairs.theta[i : i + 8192], pairs.y[i : i + 8192])
        for i in tqdm(
            starts, "into the frame", disable=not sys.stderr.isatty(), unit="part", leave=False
        )
    ]
    data = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    if not all(np.isfinite(each).all() for each in data.values()):
        raise UserError(
            "posteriors of these data are too narrow for 32-bit numbers: the tolerance is too small"
            " beside the data"
        )
    return data, np.concatenate([part[1] for part in parts])


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


def _mean_laplace_entropy(model, pairs: Pairs, log_det: np.ndarray) -> float | None:
    """Over the validation pairs, of theta: in the frame for all, brought to the modes by what some
    hundred say."""
    if not isinstance(model.frame, LaplaceFrame):
        return None
    at_modes = laplace.gauss_newton(model.simulator, pairs.y[:AT_MODES])
    shift = at_modes.entropy.mean() - posterior_model.mean_laplace_entropy(
        log_det[:AT_MODES], model.simulator.size
    )
    return posterior_model.mean_laplace_entropy(log_det, model.simulator.size) + float(shift)


def mended(theta: np.ndarray) -> tuple[np.ndarray, float]:
    """Samples [..., P] in which those that overflowed, or lie where no prior sample does, are prior
    samples, and their share.

    A network trained on too little may throw samples far away; a share above 0 is reported as
    `broken_samples`.
    """
    broken = ~(np.abs(theta) < FARTHEST).all(-1)
    prior = np.random.default_rng(0).normal(size=(int(broken.sum()), theta.shape[-1]))
    theta = theta.copy()
    theta[broken] = prior
    return theta, float(broken.mean())


def mended_for_user(theta: np.ndarray) -> np.ndarray:
    """The samples of `mended`, for the user's own data; a warning says what share of them is of the
    prior."""
    theta, broken = mended(theta)
    if broken:
        print(
            f"warning: {100 * broken:.2g}% of the samples for your data lie where no prior sample"
            " does; prior samples are in their place",
            file=sys.stderr,
        )
    return theta


def corrected(model, y: np.ndarray, n: int, seed: int = 3):
    """n samples [B, n, P] importance-resampled from more of the model's; of each posterior [B] the
    effective sizes, the Pareto shapes and KL(q | p) in nats, log mean w - mean log w."""
    found = []
    for row in y:
        theta = model.posterior_theta(row, OVERSAMPLED * n, seed)
        exact = _compiled_log_posterior(model.simulator)(
            tf.constant(theta), tf.constant(np.repeat(row[None], len(theta), 0))
        )
        log_weights = np.asarray(exact, np.float64) - model.log_prob_theta(theta, row)
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


def reference(simulator: Simulator, y: np.ndarray, config: PosteriorConfig) -> Reference:
    """Hamiltonian Monte Carlo on the simulator's own density for every row of y, kept on disk."""
    from flow_models.references import reference as sampler

    found = sampler.reference(
        simulator,
        y,
        sampler.Sampling(seed=config.seed, **simulator.sampling),
        config.reference_folder or None,
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
            np.asarray(simulator.physical(tf.constant(each))).std(0) for each in (ours, theirs)
        ]
        found["sd_correlation"].append(np.corrcoef(*deviations)[0, 1])
        found["sd_ratio"].append(np.mean(deviations[0] / deviations[1]))
    return {name: np.array(values) for name, values in found.items()}
