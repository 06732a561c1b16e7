"""Generative classification of data vectors, application 4: its data, its figures, its modes."""

from __future__ import annotations

import dataclasses
import math
import os

import numpy as np

from flow_models import architectures, plots
from flow_models.applications import own_table
from flow_models.applications.application import Figure, Run, Training, no_data
from flow_models.applications.classes import study
from flow_models.applications.classes.problem import Problem, split_problem
from flow_models.applications.classes.study import carried, few_steps
from flow_models.core.errors import UserError
from flow_models.data import tables
from flow_models.data.points import modes
from flow_models.data.tables import labelled
from flow_models.models.columns import Columns
from flow_models.runs.config import refuse

EIGHT_MODES = "eight_modes"
COVARIANCES = ("full", "diagonal")
SIMULATED = 20_000  # points that stand for a table where labels are few or a class is left out
VALIDATION_POINTS = 4000
BETAS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of the study
FULL_RATE_ROWS = 5000  # of a table, from which on `mixture` takes the learning rate that is set
MOST_SMOOTHING, SMOOTHED_ROWS = 0.3, 1000  # so much noise up to so many rows, then less


def load(config) -> Problem:
    """Draws of the eight modes, or the parts of a table.

    Raises:
      UserError: no such data, or a table that is no classification problem.
    """
    _check(config)
    seed, asked = config.fit.seed, config.classifier
    if config.data == EIGHT_MODES:
        problem = _eight_modes(config.labels, config.test_points, seed)
    else:
        table, groups = _table(config), None
        may_repeat = config.data not in labelled.names() and None in _cdfs(table)
        if may_repeat:
            groups = tables.groups_of_copies(table.rows.x, config.data)
        name = os.path.basename(config.data)
        problem = split_problem(table, name, seed, groups=groups)
        if may_repeat:
            tables.warn_of_copies(problem.train.x, problem.test.x, config.data)
    problem = problem.leaving_out(asked.unknown) if asked.unknown else problem
    return problem.with_labels(asked.labelled, seed) if asked.labelled else problem


def _check(config) -> None:
    """Refuses settings before anything is read."""
    smoothing, covariance = config.smoothing, config.covariance
    refuse(
        (config.test_points < 8, f"test_points is {config.test_points}, must be at least 8"),
        (
            covariance not in COVARIANCES,
            f"covariance is {covariance!r}, must be {' or '.join(COVARIANCES)}",
        ),
        (
            smoothing is not None and not 0 <= smoothing < math.inf,
            f"smoothing is {smoothing}, must be at least 0",
        ),
    )


def _eight_modes(labels: str, test_points: int, seed: int) -> Problem:
    truth = modes.get(labels)
    counts = ((-2, SIMULATED), (-3, VALIDATION_POINTS), (-4, test_points))
    drawn = [[a.numpy() for a in truth.draw(n, (seed, part))] for part, n in counts]
    parts = [labelled.Labelled(*arrays) for arrays in drawn]
    source = f"eight modes of Ardizzone et al. 2019, labels '{labels}', sd {modes.SD}"
    train, validation, test = parts
    columns, draw = ("x1", "x2"), truth.draw
    return Problem(
        train, validation, test, truth.classes, columns, source, EIGHT_MODES, draw, truth=truth
    )


def _table(config):
    if config.data in labelled.names():
        return labelled.load(config.data)
    if "/" in config.data or "." in config.data:
        if not config.label_column:
            raise UserError(
                f"{config.data}: give --label-column, the column that holds the classes"
            )
        wanted = config.label_column, config.columns, config.missing
        return _own(config, *labelled.read_classes(config.data, *wanted))
    raise no_data(config.data, [EIGHT_MODES, *labelled.names()], tables.SUFFIXES)


def columns(config, problem: Problem) -> Columns:
    """The codec of the columns; those of a table of the user's are centred and scaled where 32-bit
    numbers need it; a table of several kinds has its own."""
    if problem.codec:
        return problem.codec
    plain = Columns(problem.columns)
    is_own = config.data != EIGHT_MODES and config.data not in labelled.names()
    return plain.fitted_to(problem.train.x) if is_own else plain


def _own(config, frame, classes, y) -> labelled.LabelledTable:
    """The user's table: an array of numbers, or a DataFrame where columns are of several kinds."""
    if not config.kinds and all(column.dtype.kind in "fiu" for _, column in frame.items()):
        return labelled.of_numbers(frame, classes, y, config.data)
    if config.classifier.form != "conditional":
        raise UserError(
            f"{config.data}: columns of several kinds need the form conditional: give --form"
            " conditional, or --columns with numbers alone"
        )
    columns = Columns.of(frame, config.kinds)
    own_table.report(columns)
    frame = frame[list(columns.names)]
    own_table.check_kinds(columns, frame, 2, config.data)
    rows = labelled.Labelled(frame, y)
    return labelled.LabelledTable(rows, classes, columns.names, config.data, columns)


def _cdfs(data: Problem | labelled.LabelledTable) -> tuple:
    """The distribution function of each column, None for a number of the flow."""
    return data.codec.cdfs if data.codec else (None,) * len(data.columns)


def network(config, problem: Problem, size: int, condition_size: int):
    """The flow of one form, of columns of any kind."""
    options = config.network.options(unskew=config.unskew, seed=config.fit.seed)
    name, options["condition_size"] = options.pop("architecture"), condition_size
    if problem.codec:
        return architectures.mixed(name, problem.codec.cdfs, **options)
    return architectures.build(name, size, **options)


def beta_of(config, problem: Problem) -> float:
    """The weight of the class: by default 1 where modes are plain, or more takes a pass a class."""
    if config.classifier.beta is not None:
        return config.classifier.beta
    plain = config.data == EIGHT_MODES or config.classifier.form == "conditional"
    return 1.0 if plain else 10.0 * len(problem.columns)


def training(config, problem: Problem, model) -> Training:
    """Few rows take smaller batches, fewer steps and more noise; `mixture`, which starts near its
    goal, then takes smaller steps."""
    rows, form, settings = len(problem.train), config.classifier.form, config.fit
    if not problem.simulator:
        batch = max(min(settings.batch_size, rows // 2), 1)
        slower = min(1.0, rows / FULL_RATE_ROWS) if form == "mixture" else 1.0
        settings = dataclasses.replace(
            settings, batch_size=batch, learning_rate=settings.learning_rate * slower
        )
        settings = few_steps(settings, config.classifier.passes, rows)
    smoothing = config.smoothing
    if problem.codec:
        smoothing = 0.0  # of categories and counts there is none
    elif smoothing is None:
        smoothing = MOST_SMOOTHING * min(1.0, SMOOTHED_ROWS / rows)
    beta = beta_of(config, problem)
    return study.training(model, problem, settings, form=form, beta=beta, smoothing=smoothing)


def samples_of_modes(model, labels: str, points: int) -> dict[str, float]:
    """How draws of class 0 fall to its modes, and the share of draws far from all modes."""
    of_class = np.array(modes.get(labels).labels) == 0
    drawn = model.sample(points, np.zeros(points, int), seed=2)
    number, distance = modes.nearest_mode(drawn)
    shares = np.bincount(number, minlength=8)[of_class] / len(number)
    everywhere = modes.nearest_mode(model.sample(points, seed=3))[1]
    return {
        "mode_share_worst": float(np.abs(shares - 1 / len(shares)).max()),
        "samples_beyond_4_sd": float(np.mean(everywhere > 4)),
        "samples_beyond_4_sd_class_0": float(np.mean(distance > 4)),
    }


def figures(run: Run, metrics: dict[str, float]) -> list[Figure]:
    """Regions, samples, probabilities, transfer, latents, training, the strangest rows."""
    model, problem = run.model, run.problem
    test, classes, columns = problem.test, problem.classes, problem.columns
    names = {"classes": classes, "columns": columns}
    score = model.anomaly_score(test.x)
    if problem.codec:
        found = _probabilities(model, test, score, classes) if len(classes) > 1 else []
        return [*found, *_of_any_kind(run, problem.codec.prepare(test.x), score)]
    labels = model.draw_labels(2000, seed=1)
    drawn = model.sample(2000, labels, seed=1)
    found = []
    if len(columns) == 2:
        regions = plots.decision_regions(
            test.x, test.y, model.class_log_prob, study.labels_of(model).log_priors(), **names
        )
        caption = "Where each class is the most probable one, and the densities that say so."
        found.append(("regions", regions, caption))
    samples = plots.class_samples(test.x, test.y, drawn, labels, **names)
    found.append(("samples", samples, "Test data and samples of the classes."))
    if len(classes) > 1:
        found += _of_several_classes(model, test, score, names)
    found += _of_any_kind(run, test.x, score)
    return [*found, *study.unknown_figures(model, problem, score, metrics)]


def _of_any_kind(run: Run, numbers: np.ndarray, score: np.ndarray) -> list[Figure]:
    """Latents, training and the strangest of the test rows, whose numbers are [N, D]."""
    test = run.problem.test
    return [
        (
            "latents",
            plots.latents(run.model.encode(test.x, test.y)),
            "Test data as members of their classes, in latent space.",
        ),
        ("training", plots.training_curves(run.history), "Training."),
        (
            "anomalies",
            plots.anomalies(numbers, score, run.problem.columns),
            "The strangest test rows, by -log p(x).",
        ),
    ]


def _probabilities(model, test, score, classes) -> list[Figure]:
    p = model.classify(test.x)
    return [
        (
            "probabilities",
            plots.class_probabilities(p, test.y, score, classes),
            "Calibration, the accuracy that rejecting the strangest rows buys, and which classes"
            " are confused.",
        )
    ]


def _of_several_classes(model, test, score, names) -> list[Figure]:
    return [
        *_probabilities(model, test, score, names["classes"]),
        (
            "transfer",
            plots.transfer(test.x, test.y, *carried(model, test), **names),
            "Latents carried into other classes, and paths between rows.",
        ),
    ]
