"""Distribution mapping, application 1: its data, and what is measured of their density."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from flow_models import plots
from flow_models.applications import few_rows, own_table, targets
from flow_models.applications.application import Figure, Table, Training, no_data
from flow_models.bijectors.continuous import objective_of
from flow_models.core.errors import UserError, warn
from flow_models.data import points, tables
from flow_models.data.tables import embedded
from flow_models.diagnostics import baselines, normality
from flow_models.diagnostics.strangest import overfitting
from flow_models.models.columns import Columns
from flow_models.models.missing import is_modelled

OVERFITTED = 0.05  # nats that validation rises by before it is a warning
MIN_ROWS = 80  # of a table, so that a tenth is enough to test on
VALIDATION_POINTS = 10_000  # drawn where the density is known
CHOICE = 2_000  # of them that choose among baselines, which the others are fitted to


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is trained on: rows or a simulator, held-out rows, and the truth where it is known."""

    name: str
    source: str
    columns: tuple[str, ...]
    train: np.ndarray | Callable
    validation: np.ndarray
    test: np.ndarray
    truth: Any = None  # has log_prob and entropy
    codec: Columns | None = None  # of the user's own table
    test_weights: np.ndarray | None = None
    rows: Any = None  # of the three parts: numbers of their rows in the file
    kept: Any = None  # identifiers of the rows of the three parts, DataFrames
    frame: Any = None  # all rows of the user's own table, a DataFrame
    stream: Callable | None = None  # of rows that do not fit in memory; `train` has some of them
    streamed_rows: int = 0

    @property
    def of_kinds(self) -> bool:
        """Whether rows are those of a DataFrame."""
        return self.codec is not None and not self.codec.is_plain


def sizes(config, problem: Problem | targets.Problem, presets) -> tuple[int, int]:
    """How many numbers an event has, and how many of noise the network sees beside it."""
    from flow_models.architectures import noise_columns

    size = len(problem.columns)
    if isinstance(problem, targets.Problem):
        options = targets.network(config, problem, presets)
    else:
        options = config.network.options(columns=problem.codec.cdfs if problem.codec else ())
    return size, noise_columns(size=size, **options)


def of_config(config) -> Problem:
    """The data that the settings name."""
    own = config.kinds, config.weights, config.missing, config.lower, config.upper
    sizes = config.test_points, config.fit.seed
    return load(config.data, config.columns, *sizes, *own, config.memory_limit_mb)


def training(config, problem: Problem, presets) -> Training:
    """Maximum likelihood, its length by the number of rows; what is streamed comes in batches."""
    settings = few_rows.fit(config, problem, presets)
    data = problem.train
    if problem.stream:
        data = problem.stream(settings.batch_size, settings.seed)
    return Training(data, problem.validation, settings)


def load(
    data: str,
    columns: list[str] | None,
    test_points: int,
    seed: int,
    kinds: dict[str, str] | None = None,
    weights: str | None = None,
    missing: str = "refuse",
    lower=None,
    upper=None,
    memory_limit_mb: float = own_table.MEMORY,
) -> Problem:
    """A point set, a table inside a package, or the user's own (see `own_table.read`).

    Raises:
      UserError: no such data, or a table that has no density.
    """
    if test_points < 8:
        raise UserError(f"test_points is {test_points}, must be at least 8")
    if data in points.names():
        truth = points.get(data)
        counts = ((2, VALIDATION_POINTS), (3, test_points))
        validation, test = (truth.draw(n, (seed, -part)).numpy() for part, n in counts)
        names = tuple(f"x{i + 1}" for i in range(truth.event_size))
        return Problem(data, truth.definition, names, truth.draw, validation, test, truth)
    if "/" in data or "." in data or os.path.isdir(data):
        told = kinds, weights, MIN_ROWS, seed, missing, lower, upper, memory_limit_mb
        return _own(data, own_table.read(data, columns, *told))
    if data not in embedded.names():
        raise no_data(data, [*points.names(), *embedded.names()], tables.SUFFIXES)
    table = embedded.load(data)
    train, validation, test = tables.split(table.values, seed=seed)
    places = tables.split(np.arange(len(table.values)), seed=seed)
    names, name = tuple(table.columns), os.path.basename(data)
    return Problem(name, table.source, names, train, validation, test, rows=places)


def _own(data: str, table: own_table.OwnTable) -> Problem:
    """The problem of a table of the user's."""
    train, validation, test = table.parts
    if table.weights:
        train, validation = (
            {"x": x, "weight": weight[:, None].astype(np.float32)}
            for x, weight in zip((train, validation), table.weights)
        )
    weights = table.weights[2] if table.weights else None
    places = [np.asarray(part.index) for part in table.kept]
    own = table.columns, weights, places, table.kept, table.frame
    name, names = os.path.basename(data.rstrip("/")), table.columns.names
    rest = table.stream, table.rows
    return Problem(name, data, names, train, validation, test, None, *own, *rest)


def metrics(model, problem: Problem) -> dict[str, float]:
    """Held-out likelihood, the gap to the truth, and how normal the latents are.

    The test rows are looked at once.
    """
    each = log_probs(model, problem)
    log_prob, weights = each.pop(""), problem.test_weights
    found = {
        "nll_test": -np.average(log_prob, weights=weights),
        "nll_test_se": log_prob.std() / len(log_prob) ** 0.5,
    }
    found |= {f"nll_test_{k}": -np.average(v, weights=weights) for k, v in each.items()}
    if problem.truth:
        gap, error = normality.kl_to_truth(log_prob, problem.truth.log_prob(problem.test))
        found |= {"kl_to_truth": gap, "kl_to_truth_se": error, "entropy": problem.truth.entropy}
    return found | normality.latent_normality(model.encode(completed(model, problem.test)))


def nll_of_validation(run) -> float:
    """-log p of the validation rows, nats; the best objective of the training where it is that."""
    if objective_of(run.model.layer) == "likelihood":
        return run.result.kept_objective
    rows = run.problem.validation
    x, weights = (rows["x"], rows["weight"][:, 0]) if isinstance(rows, dict) else (rows, None)
    return float(-np.average(run.model.log_prob(x), weights=weights))


def completed(model, rows):
    """Rows whose missing cells are drawn by a model that knows them; others as they are."""
    known = is_modelled(model) and model.codec.missing(rows).any()
    return model.impute(rows) if known else rows


def log_probs(model, problem: Problem) -> dict[str, np.ndarray]:
    """log p of the test rows [N], nats, under the model, named "", and under the baselines.

    Baselines are of the network's rows, where whole numbers and categories are k + u with uniform
    noise u: the density of k + u is compared with P(k). There are none where cells are missing.
    """
    found = {"": model.log_prob(problem.test).astype(np.float64)}
    train, held = problem.train, problem.validation
    if callable(train):
        train, held = held[CHOICE:], held[:CHOICE]
    train, held = (part["x"] if isinstance(part, dict) else part for part in (train, held))
    parts = [model.codec.encode(part, np.float64) for part in (train, held, problem.test)]
    if any(np.isnan(part.rows).any() for part in parts):
        return found
    of_rows = baselines.densities(*(part.rows for part in parts))
    return found | {name: log_p + parts[2].log_det for name, log_p in of_rows.items()}


TITLES = {
    "": "this flow",
    "_gaussian": "Gaussian",
    "_kde": "kernel density estimate",
    "_mixture": "Gaussian mixture",
}


def comparison(found: dict[str, float]) -> Table:
    """The flow beside the baselines; warns where one of them is better."""
    known = {f"nll_test{end}": title for end, title in TITLES.items()}
    rows = [(title, found[name]) for name, title in known.items() if name in found]
    title, best = min(rows, key=lambda row: row[1])
    if best < found["nll_test"] - 2 * found["nll_test_se"] - 0.01:
        warn(
            f"a {title} describes the held-out rows better than this flow ({best:.4g} against"
            f" {found['nll_test']:.4g} nats): use it, or train longer or with more rows"
        )
    return "Held-out rows under this flow and the baselines", ["density", "-log p(x), nats"], rows


def training_in_words(result) -> str:
    """When validation was best; a rise since is a warning where nothing stopped the training."""
    steps, objective = result.history["step"], result.history["val_objective"]
    if result.kept_step == 0:
        return (
            f"Training: the mixture that the flow starts at is kept; in {steps[-1]:,.0f} steps no"
            " change of it was better on validation rows by more than its standard error."
        )
    text, rise = overfitting(steps, objective, result.kept_step)
    if rise > OVERFITTED and result.stopped != "early":
        warn(f"overfitting: {text}; the weights of the best step are kept")
    return f"Training: {text}."


def figures(model, problem: Problem, history: dict) -> list[Figure]:
    """The density, the latents, the training, the strangest rows and, in 2-D, the map."""
    if problem.of_kinds:
        return _figures_of_kinds(model, problem, history)
    truth, size, test = problem.truth, model.event_size, completed(model, problem.test)
    rest = size / 2 * (1 + np.log(2 * np.pi))
    by_likelihood = truth if objective_of(model.layer) == "likelihood" else None
    perfect = by_likelihood and {
        "objective": truth.entropy,
        "latent": rest,
        "log_det": rest - truth.entropy,
    }
    samples, log_prob = model.sample(len(test), seed=1), truth and truth.log_prob
    density = plots.density(test, samples, model.log_prob, log_prob, problem.columns)
    strangest = plots.anomalies(test, model.anomaly_score(problem.test), problem.columns)
    found = [
        ("density", density, "Held-out data, samples of the model, and its density."),
        (
            "latents",
            plots.latents(model.encode(test)),
            "Held-out data in latent space, where they should be standard normal.",
        ),
        (
            "training",
            plots.training_curves(history, perfect),
            "Training: the latent part and the log-determinant, which make the objective.",
        ),
        ("anomalies", strangest, "The strangest held-out rows, by -log p(x)."),
    ]
    if size == model.latent_size == 2:
        mapping = plots.mapping(model.decode, size)
        caption = (
            "What the network does: circles and rays of the latent plane, carried to the data."
        )
        found.append(("mapping", mapping, caption))
    return found


def _figures_of_kinds(model, problem: Problem, history: dict) -> list[Figure]:
    """Margins, latents, training and the strangest rows of a table of several kinds."""
    test = completed(model, problem.test)
    seen = model.codec.decode(model.codec.encode(test, np.float32).rows)  # texts that are dates
    samples = model.sample(len(test), seed=1)
    margins = plots.margins(seen, samples)
    numbers = model.codec.prepare(test)
    strangest = plots.anomalies(numbers, model.anomaly_score(problem.test), problem.columns)
    training = plots.training_curves(history)
    found = "Held-out data and samples of the model, column by column."
    return [
        ("margins", margins, found),
        *_pairs_of_kinds(model, seen, samples),
        ("latents", plots.latents(model.encode(test)), "Held-out data in latent space."),
        ("training", training, "Training: the latent part and the log-determinant."),
        ("anomalies", strangest, "The strangest held-out rows, by -log p(x)."),
    ]


def _pairs_of_kinds(model, data, samples) -> list[Figure]:
    """All pairs of three and more columns of DataFrames, as numbers of the network."""
    codec = model.codec
    if len(codec.names) < 3:
        return []
    rows = [codec.encode(each, np.float32).rows for each in (data, samples)]
    heights = lambda cloud: model.log_prob(codec.decode(np.asarray(cloud, np.float32)))
    pairs = plots.density(*rows, heights, columns=codec.names)
    caption = (
        "All pairs of columns as the network sees them: whole numbers and codes of categories with"
        " noise in [0, 1), angles in turns, distances from an atom in scales, offsets taken off."
    )
    return [("density", pairs, caption)]


def table_of_columns(problem: Problem):
    """What each column was taken for, as a table of the report; none for plain numbers."""
    if problem.codec is None or not (problem.codec.kinds or problem.codec.identifiers):
        return []
    rows = list(problem.codec.described().items())
    return [("Columns", ["column", "taken as"], rows)]
