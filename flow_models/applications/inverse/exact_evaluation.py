"""What application 5 reports: posteriors against exact ones, over many observations."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from flow_models import plots
from flow_models.applications.application import Figure, Results, Run, Table, Training
from flow_models.applications.inverse import (
    comparison,
    exact,
    inference_data,
    models,
    onto_data,
    study,
)
from flow_models.applications.inverse.annealing import annealed_draw
from flow_models.applications.inverse.observed import quantile_table, read_columns
from flow_models.applications.inverse.problem import InverseProblem
from flow_models.bijectors.frames import PriorFrame
from flow_models.diagnostics import posterior_report
from flow_models.models.posteriors import contexts, whitened_samples
from flow_models.references.correction import gauss_newton
from flow_models.runs.config import replace
from flow_models.simulators import ballistics, kinematics

SIMULATORS = {
    "kinematics": (kinematics.Kinematics, kinematics.exact_posterior),
    "ballistics": (ballistics.Ballistics, ballistics.exact_posterior),
}


def load(config) -> InverseProblem:
    """The simulator, pairs drawn ahead, and the user's data."""
    kind, sampler = SIMULATORS[config.problem]
    simulator = kind(config.tolerance) if config.tolerance else kind()
    observed = None
    if config.inverse.observed:
        table = read_columns(config.inverse.observed, simulator.data_names)
        observed = np.column_stack(list(table.values())).astype(np.float32)
    frame = PriorFrame(simulator, config.fourier_features)
    problem = InverseProblem(config.problem, simulator, frame, observed, sampler)
    problem.draw(config)
    problem.source = f"{config.fit.steps:,} steps of {config.fit.batch_size} fresh draws"
    if config.inverse.reference:
        problem.source += f"; exact posteriors of {config.inverse.references:,} observations"
    problem.source += "."
    return problem


def training(config, problem: InverseProblem, model) -> Training:
    """Fresh draws whose noise falls to the tolerance; pairs drawn ahead for the joint form."""
    if config.inverse.form == "joint":
        return models.on_pairs(config, problem, model)
    models.measure(model, problem.train)
    draw = annealed_draw(
        model,
        config.fit.steps,
        first=config.first_noise,
        share=config.noise_share,
        rare_oversampling=config.rare_oversampling,
    )
    then = (
        None if problem.observed is None else lambda *_: _know_strange_data(config, problem, model)
    )
    loss = models.objective(config, model)
    return Training(draw, models.rows(problem.validation), loss=loss, then=then)


def _know_strange_data(config, problem, model) -> None:
    """Trains p(y) and says which of the user's data are unlike all that is simulated."""
    parts = [contexts(model, pairs.y) for pairs in (problem.train, problem.validation)]
    models.with_data_density(model, config.fit, *parts)
    scores = study.simulated_scores(model, config.fit.seed)
    problem.observed_p_values = study.p_values(model, problem.observed, scores)


def evaluate(run: Run) -> Results:
    """Calibration, errors against exact posteriors, and the posteriors of the user's data."""
    config, problem, test = run.config.inverse, run.problem, run.problem.test
    figures = [] if problem.observed is None else [_observed(run)]
    tables: list[Table] = []
    theta = whitened_samples(run.model, test.y, config.posterior_samples, 2)
    metrics = {
        "nll_val": study.validation_nll(run.history),
        "simulations_per_second": problem.rate,
        **posterior_report.posterior_metrics(test.theta, theta),
        **_of_observed(problem),
    }
    comparison.warn_of(metrics, problem.simulator.parameter_names)
    if config.reference:
        found, shown, tables = _against_exact(run)
        metrics, figures = metrics | found, [*figures, *shown]
    caption = "Training: noise falls over its first part, and the objective with it."
    figures.append(("training", plots.training_curves(run.history), caption))
    return Results(metrics, tables, figures)


def _against_exact(run: Run) -> tuple[dict[str, float], list[Figure], list[Table]]:
    config, problem = run.config.inverse, run.problem
    truth = exact.exact_samples(
        problem.simulator,
        problem.side,
        problem.test.clean[: config.references],
        config.posterior_samples,
        run.config.fit.seed,
        config.reference_folder,
    )
    metrics, rows, errors, theta = _errors(run, truth)
    few = truth.first(inference_data.MOST)
    x = problem.physical(theta[: len(few.y)])
    inference_data.write(run, inference_data.OF_TEST, x, few.y, few.x)
    if config.compare:
        found, row = _other_form(run, truth)
        metrics, rows = metrics | found, [*rows, row]
    tail = errors.tail(problem.simulator.data_names, truth.y, truth.x.std(1).mean(1))
    figures = _figures(problem, truth, theta, int(np.argmax(errors.mmd)))
    return metrics, figures, [(exact.TABLE, exact.COLUMNS, rows), tail]


def _errors(run: Run, truth: exact.Exact):
    """Metrics against exact posteriors, rows of the table, errors, and the samples judged."""
    config, clock, simulator = run.config.inverse, run.problem.clock, run.problem.simulator
    n, some = config.posterior_samples, truth.first(run.config.corrected)
    theta = clock.time("sampling", lambda: whitened_samples(run.model, truth.y, n, 1))
    alone = exact.errors(simulator, theta, truth)
    rows = [alone.row(f"{config.form} (this run)", clock.seconds["sampling"])]
    onto = clock.time("onto the data", lambda: _onto_data(run, theta, truth.y))
    found = exact.errors(simulator, onto.theta, truth) if onto.corrected.any() else alone
    if onto.corrected.any():
        name = f"the same, {onto.corrected.sum():,} of them brought onto the data"
        rows.append(found.row(name, clock.seconds["sampling"] + clock.seconds["onto the data"]))
    metrics = {
        **found.metrics(),
        **alone.metrics("_alone"),
        **onto.metrics(),
        "effective_samples_exact": truth.sizes.min(),
        "posterior_seconds": clock.seconds["sampling"] / len(truth.y),
    }
    of_corrected, lines = _corrected(run, some, theta) if config.correct else ({}, [])
    prior = simulator.prior(len(some.y) * n, (run.config.fit.seed, 7))
    prior = np.asarray(prior).reshape(len(some.y), n, simulator.size)
    of_prior = exact.errors(simulator, prior, some).row("prior alone", 0.0)
    return metrics | of_corrected, [*rows, *lines, of_prior], found, onto.theta


def _onto_data(run: Run, theta, y) -> onto_data.Corrected:
    """Samples of the observations that the network misses, corrected as the settings say."""
    conditional = run.config.inverse.form == "conditional"
    choice = run.config.onto_data if conditional else "never"
    return onto_data.correct(run.model, theta, y, choice)


def _corrected(run: Run, some: exact.Exact, theta):
    """Metrics and rows of the corrections, on the first observations."""
    simulator, clock = run.problem.simulator, run.problem.clock
    steps, n = exact.NEWTON_STEPS, theta.shape[1]
    onto = lambda: gauss_newton(simulator, theta[: len(some.y)], some.y, steps)
    moved = exact.errors(simulator, clock.time("newton", onto), some)
    metrics = moved.metrics("_newton")
    rows = [moved.row("the same, Gauss-Newton steps", clock.seconds["newton"])]
    if run.config.inverse.form == "conditional":
        weighted = lambda: exact.reweighted_onto_the_data(run.model, some.y, n)
        drawn, sizes = clock.time("weights", weighted)
        resampled = exact.errors(simulator, drawn, some)
        name = "the same, importance resampled before"
        rows.append(resampled.row(name, clock.seconds["weights"]))
        metrics |= {
            **resampled.metrics("_corrected"),
            "effective_samples": np.median(sizes),
            "effective_samples_least": sizes.min(),
        }
    return metrics, rows


def _other_form(run: Run, truth: exact.Exact):
    """The other form's metrics and row."""
    config = run.config
    other = "joint" if config.inverse.form == "conditional" else "conditional"
    if other == "joint":
        config = replace(config, steps=min(config.fit.steps, config.joint_steps))
    model, result = run.train(other, config=config, progress=None, then=False)
    began = time.perf_counter()
    theta = whitened_samples(model, truth.y, config.inverse.posterior_samples, 1)
    found = exact.errors(run.problem.simulator, theta, truth)
    metrics = {**found.metrics(f"_{other}"), f"train_seconds_{other}": result.train_seconds}
    return metrics, found.row(other, time.perf_counter() - began)


def _figures(problem: InverseProblem, truth: exact.Exact, theta, worst: int) -> list[Figure]:
    """Parameters in pairs; poses of a usual, a rare and the worst observation."""
    simulator, chosen = problem.simulator, [0, int(np.argmin(truth.sizes)), worst]
    x = problem.physical(theta[0])
    corner = plots.corner(x, None, truth.x[0], simulator.parameter_names)
    figures = [("corner", corner, "Posterior of the first observation, parameters in pairs.")]
    if hasattr(simulator, "joints"):
        exact_theta = _whitened(simulator, truth.x[chosen])
        poses = [_joints(simulator, rows) for rows in (theta[chosen], exact_theta)]
        kinds = zip(("first", "rarest", "largest error"), chosen, strict=True)
        names = [f"{kind}: ({truth.y[i, 0]:.2f}, {truth.y[i, 1]:.2f})" for kind, i in kinds]
        caption = "Arms of the network's samples over exact ones; below, where they end."
        figures.insert(0, ("arms", plots.arms(*poses, truth.y[chosen], names), caption))
    return figures


def _whitened(simulator, x):
    """theta [K, n, P] of parameters."""
    rows = tf.constant(x.reshape(-1, x.shape[-1]))
    return simulator.whiten(rows)[0].numpy().reshape(x.shape)


def _joints(simulator, theta):
    """[K, n, J, 2] of whitened parameters [K, n, P]."""
    joints = simulator.joints(tf.constant(theta.reshape(-1, theta.shape[-1]))).numpy()
    return joints.reshape(*theta.shape[:2], *joints.shape[1:])


def _of_observed(problem: InverseProblem) -> dict[str, float]:
    """How many rows of data the user has, and how unlike simulated data the strangest is."""
    if problem.observed_p_values is None:
        return {} if problem.observed is None else {"observed_rows": len(problem.observed)}
    p = problem.observed_p_values
    strange = int(np.sum(p <= study.ALARM))
    return {"observed_rows": len(p), "observed_p_value": p.min(), "observed_strange_rows": strange}


def _observed(run: Run) -> Figure:
    """Writes posterior.csv, quantiles for the user's data, and gives the figure of them."""
    observed, simulator = run.problem.observed, run.problem.simulator
    theta = whitened_samples(run.model, observed, run.config.inverse.posterior_samples, 3)
    theta = _onto_data(run, study.replace_outliers_for_user(theta), observed).theta
    x, names = run.problem.physical(theta), simulator.parameter_names
    labels = [" ".join(f"{value:g}" for value in row) for row in observed]
    run.folder.write_text("posterior.csv", quantile_table(x, names, labels))
    inference_data.write(run, inference_data.OF_OBSERVED, x, observed)
    if not hasattr(simulator, "joints"):
        caption = "Your data: the first row's posterior."
        return ("observed", plots.corner(x[0], names=names), caption)
    arms = plots.arms(_joints(simulator, theta[:4]), None, observed[:4])
    return ("observed", arms, "Your data: arms that reach the first of your end points.")
