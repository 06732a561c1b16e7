"""Models of an inverse problem in both forms, and what they are trained on."""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models import architectures
from flow_models.applications.application import Training
from flow_models.applications.inverse.problem import MEASURED, InverseProblem, Pairs
from flow_models.models.model import Model
from flow_models.models.partition import Partition
from flow_models.models.problem import Components, Data, NoiseLevel, Parameters
from flow_models.training import batches, losses
from flow_models.training.prepared import start
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import Trainer

PART = 20_000  # pairs that are made blocks at a time


def conditional(config, problem: InverseProblem, partition: Partition) -> Model:
    """p(x | y): a flow behind the frame of the problem, y given."""
    frame, options = problem.frame, config.network.options(standardise=False)
    options |= {"condition_size": frame.context_size, "seed": config.fit.seed}
    flow = architectures.build(options.pop("architecture"), partition.size, **options)
    codecs = {"x": Parameters(problem.simulator), "y": Data(problem.simulator)}
    return Model(architectures.framed(flow, frame), partition, codecs, jit=config.fit.jit)


def joint(config, problem: InverseProblem, partition: Partition) -> Model:
    """f(x) = (y, z) or f(x, noise) = (y, z): y among the outputs, as principal components.

    Analyzing inverse problems with invertible neural networks (Ardizzone et al. 2019); with the
    noise of the data among the inputs it is the form of Zhang and Curtis (2021, JGR 126,
    e2021JB022320). Right only as sigma_y goes to 0: to first order v_y = F - sigma_y^2 grad log
    p(y), and a diffeomorphism cannot follow F through a critical point. It is there to be compared.
    """
    # inverted far from their data, chains of affine couplings overflow; splines have straight tails
    options = config.network.options(
        affine=False,
        linear=True,
        depth=config.network.joint_depth,
        summary=0,
        hidden=config.network.joint_hidden,
        standardise=False,
    )
    options |= {"condition_size": partition.given_size, "seed": config.fit.seed}
    options.pop("architecture")
    flow = architectures.build("spline_coupling", partition.size, **options)
    codecs = {"x": Parameters(problem.simulator), "y": problem.components}
    if "log_sigma" in partition.given:
        codecs["log_sigma"] = NoiseLevel.measured(problem.simulator, problem.train.y[:MEASURED])
    return Model(flow, partition, codecs, jit=config.fit.jit)


def joint_rows(model: Model, pairs: Pairs) -> dict[str, np.ndarray]:
    """Pairs as blocks of the joint form, made in parts: on their way the data are copied often."""
    found: dict[str, np.ndarray] = {}
    for first in range(0, len(pairs.theta), PART):
        rows = slice(first, first + PART)
        part = Pairs(pairs.theta[rows], pairs.clean[rows], pairs.y[rows])
        for name, block in _joint_rows(model, part).items():
            if name not in found:
                found[name] = np.empty((len(pairs.theta), block.shape[1]), block.dtype)
            found[name][rows] = block
    return found


def _joint_rows(model: Model, pairs: Pairs) -> dict[str, np.ndarray]:
    dtype, components = model.dtype.as_numpy_dtype, model.codecs["y"]
    assert isinstance(components, Components) and components.scale is not None
    rows = {"x": np.asarray(pairs.theta, dtype)}
    if "eps" not in model.partition.inputs:  # the width of the likelihood stands for the noise
        return {**rows, "y": components.components(pairs.clean)}
    rows["y"], clean = components.components(pairs.y), pairs.clean
    if model.simulator.noise_varies:
        clean = np.concatenate([clean, pairs.y[:, -1:]], 1)
    sigma = np.exp(pairs.y[:, -1:]) if model.simulator.noise_varies else 1.0
    rows["eps"] = (rows["y"] - components.components(clean)) * (components.scale / sigma)
    for name in model.partition.given:
        rows[name] = model.codecs[name].encode(pairs.y, dtype).rows
    return rows


def objective(config, model: Model):
    """The likelihood and what the settings add to it by weight; None, the model's own loss, where
    they add nothing."""
    weights = config.losses
    if not any(dataclasses.asdict(weights).values()):
        return None
    return losses.negative_log_likelihood(
        model,
        mmd_latents=(weights.mmd_latents, losses.mmd_of_latents(model)),
        mmd_parameters=(weights.mmd_parameters, losses.mmd_of_inputs(model)),
        reconstruction=(weights.reconstruction, losses.reconstruction(model)),
    )


def on_pairs(config, problem: InverseProblem, model: Model) -> Training:
    """Training on the pairs that were drawn ahead, in the form of the model."""
    parts, loss = (problem.train, problem.validation), objective(config, model)
    if "y" in model.partition.outputs:
        train, validation = (joint_rows(model, pairs) for pairs in parts)
        return Training(train, validation, loss=loss)
    train, validation = (rows(pairs) for pairs in parts)
    measure(model, problem.train, MEASURED)
    then = lambda trained, trainer: with_data_density(
        trained, config.fit, trainer.source.arrays["context"], trainer.validation["context"]
    )
    return Training(train, validation, loss=loss, then=then)


def rows(pairs: Pairs) -> dict[str, np.ndarray]:
    """Pairs as blocks of the conditional form."""
    return {"x": pairs.theta, "y": pairs.y}


def measure(model: Model, pairs: Pairs, most: int | None = None) -> None:
    """Measures the frame of a new model on pairs."""
    start(model, batches.as_batch({"x": pairs.theta[:most], "y": pairs.y[:most]}, model))


def with_data_density(
    model: Model, settings: FitSettings, train: np.ndarray, validation: np.ndarray
) -> None:
    """Trains p(y) on contexts [N, C] of data: the model then has it as its `data_model`."""
    train, validation = (np.asarray(model.frame.data_context(each)) for each in (train, validation))
    width = train.shape[1]
    name = "spline_coupling" if width > 1 else "maf"  # couplings need two columns
    flow = architectures.build(
        name, width, depth=4, hidden=(64, 64), layers_per_loop_body=1, affine=True
    )
    model.data_model = Model(flow)
    steps = max(settings.steps // 4, 50)
    settings = dataclasses.replace(settings.part(steps), eval_every_steps=0)
    Trainer(model.data_model, train, validation, settings).run()
