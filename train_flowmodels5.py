"""Application 5, ill-conditioned parameter estimation: poses of an arm from its end point, throws
from their landing.

    python train_flowmodels5.py                              # the arm, against the exact posterior of 1,000 end points
    python train_flowmodels5.py --problem ballistics
    python train_flowmodels5.py --observed ends.csv          # columns end_horizontal, end_vertical (landing_m of a throw)
    python train_flowmodels5.py --form joint                 # data among the outputs of the network
    python train_flowmodels5.py --preset smoke               # to see it run

Data have no noise; the network is trained with noise that falls to a small tolerance. Expect of the
arm a resimulation_error of about 0.0001 and a posterior_mmd below 0.002; README.md has the measured
values.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

import flow_models as fm
from flow_models.applications.inverse.posterior_config import PosteriorConfig, check
from flow_models.runs.config import run

PROBLEMS = ("kinematics", "ballistics")


@dataclasses.dataclass(frozen=True)
class Config(PosteriorConfig):
    """Settings of application 5."""

    problem: str = "kinematics"
    """kinematics (an arm of three segments) or ballistics (a throw against air resistance)"""
    tolerance: float = 0.0
    """standard deviation of the data in training, at the end; 0: 0.004 for kinematics, 0.02 m for
    ballistics"""
    first_noise: float = 25.0
    """noise at the start of training, times the tolerance"""
    noise_share: float = 0.6
    """part of the training over which the noise falls to the tolerance"""
    tilt: float = 0.5
    """how much more often training sees rare observations; 0: as the prior has them"""
    waves: int = 2
    """multiples of the normal scores of y whose sines and cosines the network also sees"""
    simulations: int = 100_000
    """pairs that the ranks of data are measured on, and that the joint form is trained on; the
    conditional form draws anew"""
    reference: bool = True
    """compare with exact posteriors; without, neither the corrections nor the other form have a
    row"""
    references: int = 1000
    """observations with exact posteriors"""
    corrected: int = 200
    """of them, those for the rows of the corrections"""
    joint_sigma: float = 25.0
    """joint form: width of the likelihood of y, times the tolerance"""
    joint_steps: int = 5000
    """most optimizer steps of the joint form where it stands beside the conditional one: what it
    lacks is not steps"""


PRESETS = {
    "smoke": {
        "steps": 200,
        "batch_size": 128,
        "simulations": 5000,
        "validation_draws": 500,
        "test_draws": 50,
        "references": 10,
        "corrected": 5,
        "posterior_samples": 200,
        "depth": 2,
        "hidden": (32,),
        "compare": False,
        "unroll": 1,
    },
    "default": {
        "steps": 12_000,
        "beta2": 0.995,
        "warmup_steps": 300,
        "clip_norm": 10.0,
        "unroll": 0,
        "shards": 2,
    },
    "full": {
        "steps": 60_000,
        "batch_size": 1024,
        "beta2": 0.995,
        "warmup_steps": 300,
        "clip_norm": 10.0,
        "unroll": 0,
        "shards": 2,
        "joint_steps": 20_000,
        "corrected": 1000,
    },
}


def load_problem(config: Config):
    """The simulator, the exact sampler beside it, and the user's data [B, M] where there are
    some."""
    for name, wrong in (
        ("first_noise", not 1 <= config.first_noise < math.inf),
        ("noise_share", not 0 < config.noise_share <= 1),
        ("tilt", not 0 <= config.tilt < 1),
        ("waves", config.waves < 0),
        ("corrected", config.corrected < 1),
        ("problem", config.problem not in PROBLEMS),
        ("tolerance", not 0 <= config.tolerance < math.inf),
        ("joint_sigma", not 0 < config.joint_sigma < math.inf),
        ("joint_steps", config.joint_steps < 1),
    ):
        if wrong:
            raise fm.UserError(
                f"{name} is {getattr(config, name)!r}; see --help for what it can be"
            )
    from flow_models.core.startup import load_tensorflow

    load_tensorflow()
    from flow_models.simulators import ballistics, kinematics

    arm = config.problem == "kinematics"
    module, kind = (
        (kinematics, kinematics.Kinematics) if arm else (ballistics, ballistics.Ballistics)
    )
    simulator = kind(config.tolerance) if config.tolerance else kind()
    if not config.observed:
        return simulator, module.exact_posterior, None
    from flow_models.applications.inverse.observed import read_columns

    table = read_columns(config.observed, simulator.data_names)
    return (
        simulator,
        module.exact_posterior,
        np.column_stack(list(table.values())).astype(np.float32),
    )


def trained(config: Config, simulator, parts, form: str, **trainer):
    """A model of one form and its `Trainer`."""
    from flow_models.applications.inverse import posterior_study
    from flow_models.applications.inverse.annealing import annealed_draw
    from flow_models.bijectors.frames import PriorFrame
    from flow_models.models import posterior_model

    measured, validation = parts["train"], parts["validation"]
    if form == "joint":
        options = {"noise_inputs": False, "sigma_y": config.joint_sigma}
        made = posterior_study.joint(simulator, config, measured, validation, **options, **trainer)
        return made.model, made.trainer
    frame = PriorFrame(simulator, config.waves)
    model = posterior_model.untrained(
        frame, measured.theta, measured.y, posterior_study.flow_of(config)
    )
    draw = annealed_draw(
        model, config.steps, first=config.first_noise, share=config.noise_share, tilt=config.tilt
    )
    held_out = model.prepare(validation.theta, validation.y)[0]
    loss = posterior_study.objective(model.flow, config)
    return model, fm.Trainer(
        model.flow, draw, held_out, config.fit_settings(), loss=loss, **trainer
    )


def calibrate(model, config: Config, pairs) -> dict[str, float]:
    """Metrics on fresh pairs under the tolerance."""
    from flow_models.diagnostics import posterior_report

    return posterior_report.judge(
        pairs.theta, model.posterior_theta(pairs.y, config.posterior_samples, 2)
    )


def judge(model, config: Config, simulator, exact):
    """Metrics against exact posteriors, rows of the table, errors, and the samples judged."""
    from flow_models.applications.inverse import exact_study
    from flow_models.applications.inverse.pairs import Clock
    from flow_models.references.correction import gauss_newton

    clock, n = Clock(), config.posterior_samples
    theta = clock.time("sampling", lambda: model.posterior_theta(exact.y, n, 1))
    found = exact_study.errors(simulator, theta, exact)
    metrics = {
        **found.metrics(),
        "effective_samples_exact": exact.sizes.min(),
        "posterior_seconds": clock.seconds["sampling"] / len(exact.y),
    }
    rows = [found.row(f"{config.form} (this run)", clock.seconds["sampling"])]
    some, metrics_of, steps = exact.first(config.corrected), {}, exact_study.NEWTON_STEPS
    if config.correct:
        moved = clock.time(
            "newton", lambda: gauss_newton(simulator, theta[: len(some.y)], some.y, steps)
        )
        metrics_of["newton"] = exact_study.errors(simulator, moved, some)
        rows.append(
            metrics_of["newton"].row("the same, Gauss-Newton steps", clock.seconds["newton"])
        )
    if config.correct and config.form == "conditional":
        drawn, sizes = clock.time(
            "weights", lambda: exact_study.reweighted_onto_the_data(model, some.y, n)
        )
        metrics_of["corrected"] = exact_study.errors(simulator, drawn, some)
        rows.append(
            metrics_of["corrected"].row(
                "the same, importance resampled before", clock.seconds["weights"]
            )
        )
        metrics |= {"effective_samples": np.median(sizes), "effective_samples_least": sizes.min()}
    prior = np.asarray(simulator.prior(len(some.y) * n, (config.seed, 7))).reshape(
        len(some.y), n, simulator.size
    )
    rows.append(exact_study.errors(simulator, prior, some).row("prior alone", 0.0))
    for name, each in metrics_of.items():
        metrics |= each.metrics(f"_{name}")
    return metrics, rows, found, theta


def compare(config: Config, simulator, parts, exact):
    """The other form's row and metrics."""
    from flow_models.applications.inverse import exact_study

    other = "joint" if config.form == "conditional" else "conditional"
    if other == "joint":
        config = dataclasses.replace(config, steps=min(config.steps, config.joint_steps))
    model, trainer = trained(config, simulator, parts, other)
    result = trainer.run()
    began = time.perf_counter()
    theta = model.posterior_theta(exact.y, config.posterior_samples, 1)
    found = exact_study.errors(simulator, theta, exact)
    metrics = {**found.metrics(f"_{other}"), f"train_seconds_{other}": result.train_seconds}
    return metrics, found.row(other, time.perf_counter() - began)


def against_exact(config: Config, simulator, sampler, model, parts):
    """Metrics, figures and tables of the comparison with exact posteriors."""
    from flow_models.applications.inverse import exact_study

    exact = exact_study.exact_samples(
        simulator,
        sampler,
        parts["test"].clean[: config.references],
        config.posterior_samples,
        config.seed,
        config.reference_folder,
    )
    metrics, rows, errors, theta = judge(model, config, simulator, exact)
    if config.compare:
        found, row = compare(config, simulator, parts, exact)
        metrics, rows = {**metrics, **found}, [*rows, row]
    tail = errors.tail(simulator.data_names, exact.y, exact.x.std(1).mean(1))
    figures = show(simulator, exact, theta, int(np.argmax(errors.mmd)))
    return metrics, figures, [(exact_study.TABLE, exact_study.COLUMNS, rows), tail]


def show(simulator, exact, theta, worst) -> list[tuple[str, object, str]]:
    """(name, figure, caption): poses of a usual, a rare and the worst observation, parameters in
    pairs."""
    import tensorflow as tf

    from flow_models import plots

    chosen = [0, int(np.argmin(exact.sizes)), worst]
    x = np.asarray(simulator.physical(tf.constant(theta[0])))
    figures = [
        (
            "corner",
            plots.corner(x, None, exact.x[0], simulator.parameter_names),
            "Posterior of the first observation, parameters in pairs.",
        )
    ]
    if hasattr(simulator, "joints"):
        poses = [
            _joints(simulator, rows)
            for rows in (theta[chosen], exact_theta(simulator, exact.x[chosen]))
        ]
        kinds = ("first", "rarest", "largest error")
        names = [
            f"{kind}: ({exact.y[i, 0]:.2f}, {exact.y[i, 1]:.2f})" for kind, i in zip(kinds, chosen)
        ]
        figures.insert(
            0,
            (
                "arms",
                plots.arms(*poses, exact.y[chosen], names),
                "Arms of the network's samples over exact ones; below, where they end.",
            ),
        )
    return figures


def exact_theta(simulator, x):
    """Whitened [K, n, P] of parameters."""
    import tensorflow as tf

    return simulator.whiten(tf.constant(x.reshape(-1, x.shape[-1])))[0].numpy().reshape(x.shape)


def _joints(simulator, theta):
    """[K, n, J, 2] of whitened parameters [K, n, P]."""
    import tensorflow as tf

    joints = simulator.joints(tf.constant(theta.reshape(-1, theta.shape[-1]))).numpy()
    return joints.reshape(*theta.shape[:2], *joints.shape[1:])


def observe(config: Config, folder, model, simulator, observed) -> list:
    """Quantiles of the posteriors of the user's data as posterior.csv, and their figure."""
    import tensorflow as tf

    from flow_models import plots
    from flow_models.applications.inverse.observed import quantile_table
    from flow_models.applications.inverse.posterior_study import mended_for_user

    theta = mended_for_user(model.posterior_theta(observed, config.posterior_samples, 3))
    x = np.asarray(simulator.physical(tf.constant(theta)))
    labels = [" ".join(f"{value:g}" for value in row) for row in observed]
    folder.write_text("posterior.csv", quantile_table(x, simulator.parameter_names, labels))
    if not hasattr(simulator, "joints"):
        return [
            (
                "observed",
                plots.corner(x[0], names=simulator.parameter_names),
                "Your data: the first row's posterior.",
            )
        ]
    poses = _joints(simulator, theta[:4])
    return [
        (
            "observed",
            plots.arms(poses, None, observed[:4]),
            "Your data: arms that reach the first of your end points.",
        )
    ]


def know_strange_data(config: Config, model, parts, observed) -> None:
    """Trains p(y) and says which of the user's data are unlike all that is simulated."""
    from flow_models.applications.inverse import posterior_study

    posterior_study.data_density(
        model, config, posterior_study.contexts(model, parts["train"], parts["validation"])
    ).run()
    posterior_study.p_values(model, observed, posterior_study.simulated_scores(model, config.seed))


def _summary(config: Config) -> str:
    exact = f"; exact posteriors of {config.references:,} observations" if config.reference else ""
    return f"{config.problem}: {config.steps:,} steps of {config.batch_size} fresh draws{exact}."


def main(config: Config) -> None:
    check(config)
    simulator, sampler, observed = load_problem(config)
    from flow_models import plots
    from flow_models.applications.inverse import posterior_study
    from flow_models.applications.inverse.pairs import draw_parts
    from flow_models.runs.folder import RunFolder, machine_metrics

    folder = RunFolder(config, "flowmodels5")
    parts, rate = draw_parts(simulator, config)
    model, trainer = trained(
        config, simulator, parts, config.form, folder=folder.checkpoints, resume=config.resume
    )
    with folder:
        result = trainer.run(on_epoch=folder.log_epoch)
        if observed is not None and config.form == "conditional":
            know_strange_data(config, model, parts, observed)
        model.save(folder.model)
        figures, tables = (
            [] if observed is None else observe(config, folder, model, simulator, observed),
            [],
        )
        metrics = {
            "nll_val": posterior_study.validation_nll(result.history),
            "simulations_per_second": rate,
            **calibrate(model, config, parts["test"]),
        }
        if config.reference:
            found, shown, tables = against_exact(config, simulator, sampler, model, parts)
            metrics, figures = metrics | found, [*figures, *shown]
        figures.append(
            (
                "training",
                plots.training_curves(result.history),
                "Training: noise falls over its first part, and the objective with it.",
            )
        )
        folder.finish(
            result.history,
            {**metrics, **result.metrics(), **machine_metrics()},
            f"Ill-conditioned parameter estimation: {config.problem}",
            _summary(config),
            [(folder.write_figure(name, figure), caption) for name, figure, caption in figures],
            tables,
        )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
