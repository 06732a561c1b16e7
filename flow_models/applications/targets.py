"""Application 1 on a density without data: its target, training, and what is measured."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from flow_models import plots
from flow_models.applications import few_rows
from flow_models.applications.application import Figure, Results, Table, Training
from flow_models.core import user_file
from flow_models.core.errors import UserError
from flow_models.core.serializable import import_name
from flow_models.data import targets
from flow_models.data.targets import Target

SCALE = 3.0  # of the start, where nothing is known
REPEATS, DRAWS = 5, 2000  # of the estimate of log Z

SHOWN = 4000  # draws of each sampler in a figure
FEWEST, MOST = 2, 32  # modes that the base of a flow has a Gaussian for
WIDEST = 16  # dimensions of a flow whose draws take a pass for each

# networks by what draws of the target show; the user's own settings take their place
RECIPES: dict[str, dict[str, Any]] = {
    "modes": {"architecture": "mixture", "depth": 2, "bins": 8, "hidden": (32, 32)},
    "narrow": {"architecture": "maf", "depth": 2, "bins": 8, "hidden": (32,), "log_scale": 20.0},
    "wide": {"depth": 2, "bins": 12, "hidden": (32,)},
}
# and trainings: splines of double wells need long ways of their parameters, so large steps
FIT: dict[str, dict[str, Any]] = {
    "modes": {"steps": 2000, "learning_rate": 1e-2},
    "narrow": {"steps": 4000, "learning_rate": 4e-3},
    "wide": {"steps": 4000, "learning_rate": 1e-2},
}


@dataclasses.dataclass(frozen=True)
class Problem:
    """A density to train on."""

    target: Target
    began: float
    modes: int
    """that annealed draws fall in; 0: they cannot tell"""

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def source(self) -> str:
        return str(self.target)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"x{i + 1}" for i in range(self.target.size))


def load(name: str, size: int | None, scale: float, method: str = "") -> Problem:
    """A target by its name, or FILE.py:function of the user's, in `size` dimensions.

    Args:
      scale: sd of the Gaussian that the training starts from; 0: the target's own.
      method: of the training, which is checked; empty: what suits the target.

    Raises:
      UserError: no such target, file, function or method; a function without a size.
    """
    from flow_models.training.density import check_method

    if method:
        check_method(method)
    began = time.monotonic()
    target = _own(name, size) if ".py" in name else targets.get(name, size)
    target = dataclasses.replace(target, scale=scale) if scale else target
    return Problem(target, began, _modes(target))


def _modes(target: Target) -> int:
    import tensorflow as tf

    from flow_models.diagnostics.modes import find_modes
    from flow_models.models.weighted import check_density
    from flow_models.training.annealed import explore

    check_density(target.log_density, target.size, tf.float32)
    draws = explore(target.log_density, target.size, 0.0, target.scale, jit=False)
    return int(find_modes(draws.x.numpy(), target.log_density).max()) + 1


def _own(name: str, size: int | None) -> Target:
    path, _, function = name.partition(":")
    if not function or not Path(path).is_file():
        raise UserError(f"no density {name!r}: give FILE.py:function, of a file that exists")
    if size is None:
        raise UserError(f"{name} needs --size, the number of dimensions")
    if size < 1:
        raise UserError(f"size is {size}, must be at least 1")
    found = getattr(user_file.load(path), function, None)
    if not callable(found):
        raise UserError(f"{path} has no function {function}")
    return Target(function, f"{function} of {Path(path).name}", size, found, SCALE)


def network(config, problem: Problem, presets) -> dict[str, Any]:
    """Options of a flow that suits the target, or as the user has chosen."""
    options = config.network.options(seed=config.fit.seed)
    if options["architecture"] == "stochastic":
        options |= {"energy": _energy(problem.target), "scale": problem.target.scale}
    if not few_rows.is_chosen(config, few_rows.NETWORK, presets):
        return {**options, **_recipe(problem)}
    one = problem.target.size == 1 and options["architecture"] == "spline_coupling"
    return {**options, "architecture": "maf"} if one else options


def _energy(target: Target) -> str:
    """The name by which any process finds the density; the folder of the user's file must be on
    PYTHONPATH there."""
    return import_name(target.log_density).removeprefix(user_file.PREFIX)


def _recipe(problem: Problem) -> dict[str, Any]:
    """A Gaussian for each mode where there are few; else dimension by dimension, or by halves where
    there are many dimensions."""
    kind = _kind(problem)
    return {**RECIPES[kind], **({"components": problem.modes} if kind == "modes" else {})}


def _kind(problem: Problem) -> str:
    if FEWEST <= problem.modes <= MOST:
        return "modes"
    return "narrow" if problem.target.size <= WIDEST else "wide"


def without_modes(problem: Problem) -> Problem:
    """The same, as if nothing were known of its modes."""
    return dataclasses.replace(problem, modes=0)


def fit_settings(config, problem: Problem, presets):
    """Settings of the training that suit the network, unless the user has chosen others."""
    if few_rows.is_chosen(config, (*few_rows.NETWORK, "steps", "learning_rate"), presets):
        return config.fit
    if config.fit.steps != presets["default"]["steps"]:
        return config.fit  # of a shorter or longer preset
    return dataclasses.replace(config.fit, **FIT[_kind(problem)])


def build_model(config, problem: Problem, partition, presets):
    """A flow that suits the target, or as the user has chosen."""
    from flow_models.architectures import build
    from flow_models.models.model import Model

    options = network(config, problem, presets)
    flow = build(options.pop("architecture"), problem.target.size, **options)
    return Model(flow, partition, jit=config.fit.jit)


def method_of(config, problem: Problem) -> str:
    """How `fit_density` trains: as the user says, or as suits the target."""
    return config.method or ("annealed" if FEWEST <= problem.modes <= MOST else "reverse_kl")


def training(config, problem: Problem, model, presets) -> Training:
    """Annealed draws by maximum likelihood, `then` the reverse divergence; or that while the
    density is annealed, `then` weighted draws of the flow."""
    from flow_models.training import density
    from flow_models.training.reverse_kl import Latents, reverse_kl

    target, settings = problem.target, fit_settings(config, problem, presets)
    start = 0.0, target.scale, settings.seed
    method = method_of(config, problem)
    if method == "reverse_kl":
        density.begin(model, *start)
        loss = reverse_kl(model, target.log_density, *start[:2])
        first, last = density.parts(settings)
        latents = Latents(model, max(int(density.SHARES[method] * first.steps), 1))

        def weigh(model, _) -> None:
            if last:
                density.weigh(model, target.log_density, last, progress=False)

        return Training(latents, None, first, loss, then=weigh)
    steps = max(int(density.SHARES[method] * settings.steps), 1)
    first = density.of_steps(settings, steps, density.ANNEALINGS)
    rest = density.finish(settings, max(settings.steps - steps, 1))

    def then(model, _) -> None:
        density.reverse(model, target.log_density, rest, progress=False)

    draws = density.annealed_draws(target.log_density, model, *start)
    return Training(draws, None, first, then=then)


def evaluate(run) -> Results:
    """log Z, modes and divergence of the flow, of plain reverse KL, and of NUTS."""
    from flow_models.references.nuts import nuts

    target = run.problem.target
    metrics = measured(run.model, target)
    metrics["seconds"] = time.monotonic() - run.problem.began
    metrics["modes_found"] = run.problem.modes
    plain = _plain(run)
    metrics |= {f"{name}_plain": value for name, value in measured(plain, target).items()}
    chains = nuts(target.log_density, target.size, 0.0, target.scale)
    metrics |= {"nuts_rhat": chains.rhat, "nuts_seconds": chains.seconds}
    if target.masses is not None:
        metrics["mass_error_nuts"] = target.mass_error(chains.samples)
        metrics["modes_lost_nuts"] = target.lost(chains.samples)
    clouds = {
        "this flow": run.model.sample(SHOWN, seed=1),
        "plain reverse KL": plain.sample(SHOWN, seed=1),
        "NUTS": np.random.default_rng(1).permutation(chains.samples)[:SHOWN],
    }
    if target.draw is not None:
        clouds = {"exact draws": target.sample(SHOWN), **clouds}
    return Results(metrics, [_table(metrics, target)], _figures(run, clouds), str(target))


def measured(model, target: Target) -> dict[str, float]:
    """log Z from REPEATS x DRAWS draws, the error of each repeat, modes, and the divergence from
    exact draws where there are any."""
    from flow_models.models.weighted import weighted_samples

    drawn = [weighted_samples(model, target.log_density, DRAWS, seed) for seed in range(REPEATS)]
    together = dataclasses.replace(
        drawn[0],
        x=np.concatenate([each.x for each in drawn]),
        log_weights=np.concatenate([each.log_weights for each in drawn]),
    )
    found = together.metrics()
    if target.log_z is not None:
        errors = [abs(each.log_z - target.log_z) for each in drawn]
        found |= {"log_z_mae": float(np.mean(errors)), "log_z_true": target.log_z}
    if target.masses is not None:
        found["mass_error"] = target.mass_error(together.x)
        found["modes_lost"] = target.lost(together.x)
        found["mass_error_weighted"] = target.mass_error(together.x, together.shares)
    if target.draw is not None and target.log_z is not None:
        x = target.sample(REPEATS * DRAWS, seed=1).astype(np.float32)
        gap = np.asarray(target.log_density(x)) - target.log_z - model.log_prob(x)
        found["kl_to_truth"] = float(gap.mean())
    return found


def _plain(run):
    """A model trained by reverse KL alone, as many steps, without annealing and a base of modes."""
    from flow_models.training.density import fit_density

    target, config = run.problem.target, run.config
    problem = without_modes(run.problem)
    partition = run.application.partition(config, problem)
    model = run.application.build_model(config, problem, partition)
    fit_density(
        target.log_density,
        model,
        fit_settings(config, run.problem, run.application.presets),
        method="reverse_kl",
        scale=target.scale,
        forward_share=0.0,
        progress=False,
    )
    return model


ROWS = {
    "log_z": "log Z",
    "log_z_se": "standard error of log Z",
    "log_z_mae": f"mean error of log Z, {DRAWS} draws",
    "ess_fraction": "effective share",
    "kl_to_truth": "KL from the truth, nats",
    "mass_error": "largest error of a mass",
    "mass_error_weighted": "the same, with weights",
    "modes_lost": "modes with less than a tenth of their mass",
}


def _table(found: dict[str, float], target: Target) -> Table:
    """The three samplers beside each other, and the truth."""
    truth = {"log_z": target.log_z}
    rows = [
        (title, *(found.get(name + end, "") for end in ("", "_plain", "_nuts")), truth.get(name))
        for name, title in ROWS.items()
        if name in found
    ]
    columns = ["", "this flow", "plain reverse KL", "NUTS", "truth"]
    return (
        "What each method finds",
        columns,
        [[x if x is not None else "" for x in r] for r in rows],
    )


def _figures(run, clouds) -> list[Figure]:
    target = run.problem.target
    beside = plots.beside(clouds, lambda x: np.asarray(target.log_density(x)), run.problem.columns)
    weighted = "Draws of the flow without weights, of plain reverse KL and of NUTS"
    exact = " beside exact draws" * (target.draw is not None)
    found = [("draws", beside, f"{weighted}{exact}.")]
    if "train_latent" in run.history:
        training = plots.training_curves(run.history)
        found.append(("training", training, "Training on annealed draws, before reverse KL."))
    return found
