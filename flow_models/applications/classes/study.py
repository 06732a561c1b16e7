"""Training and judging generative classifiers, of any kind of event."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from flow_models import plots
from flow_models.applications.application import Figure, Run, Table, Training
from flow_models.applications.classes import sources
from flow_models.applications.classes.problem import Problem
from flow_models.applications.settings import CLASS_FORMS
from flow_models.data.tables.labelled import UNLABELLED, Labelled
from flow_models.diagnostics import baselines, generation, normality
from flow_models.diagnostics.classification import auroc, class_metrics
from flow_models.models import classification
from flow_models.models.labels import Labels
from flow_models.models.model import Model
from flow_models.models.pixels import Pixels
from flow_models.runs.config import replace
from flow_models.training import losses
from flow_models.training.batches import as_batch
from flow_models.training.prepared import start
from flow_models.training.settings import FitSettings

START_NUMBERS, START_ROWS = 2**20, 64  # of the rows for initial weights, and the least of them
TABLE = "Generative classifiers and baselines, on the same test data"
TEMPERATURES = (0.05, 200.0)  # among which `calibrate` looks


def training(
    model: Model,
    problem: Problem,
    settings: FitSettings,
    *,
    form: str,
    beta: float = 1.0,
    smoothing: float = 0.0,
    loss_temperature: float = 1.0,
) -> Training:
    """Training on -log p(x) + beta * -log p(y | x), from the moments of the classes.

    Args:
      form: of the model; see `applications.settings.Classifier`.
      smoothing: see `sources.from_rows`.
      loss_temperature: see `classification.information_bottleneck`.
    """
    start(model, _first(model, problem.train))
    if problem.simulator:
        data = sources.from_simulator(model, problem.simulator)
    elif model.columns:
        data = sources.from_rows(model, problem.train, smoothing)
    else:
        data = problem.batches(settings.batch_size, settings.seed)
    share = 1.0 if problem.simulator else problem.labelled / len(problem.train)
    if form == "conditional" and beta == 1 and share == 1:
        # the same up to a constant, by one pass in place of one a class
        loss = losses.negative_log_likelihood(model)
    else:
        loss = losses.class_likelihood(model, beta, share, loss_temperature)
    then = None if problem.columns else lambda trained, _: calibrate(trained, problem.validation)
    held_out = sources.fixed(model, problem.validation)
    return Training(data, held_out, settings, loss, then)


def few_steps(settings: FitSettings, passes: int, rows: int) -> FitSettings:
    """The settings with no more steps than so many passes over the rows take, unless minutes say
    how many."""
    most = max(passes * rows // settings.batch_size, 1)
    return settings if settings.minutes else settings.part(min(settings.steps, most))


def _first(model, rows):
    """The batch that a start is computed from: all rows, or a random part of large ones."""
    count = max(START_NUMBERS // model.partition.size, START_ROWS)
    some = np.random.default_rng(0).permutation(len(rows))[:count]
    few = rows if len(some) == len(rows) else rows[some]
    batch = sources.fixed(model, few)
    return as_batch({**batch, "x": model.codec.prepare(batch["x"])}, model)


def labels_of(model: Model) -> Labels:
    """The codec of the classes, which every model of an application of classes has."""
    labels = model.labels
    assert labels is not None
    return labels


def calibrate(model: Model, rows: Labelled) -> None:
    """Sets the calibration temperature by the least mean -log p(label | x) of held-out rows.

    On Calibration of Modern Neural Networks (Guo, Pleiss, Sun and Weinberger 2017), on
    log-densities in place of logits.
    """
    rows = rows[rows.y != UNLABELLED]
    values = classification.averaged_log_prob(model, rows.x).astype(np.float64)
    log_priors = labels_of(model).log_priors()

    def cost(log_temperature):
        log_p = log_softmax(values / np.exp(log_temperature) + log_priors, axis=1)
        return -log_p[np.arange(len(rows)), rows.y].mean()

    best = minimize_scalar(cost, bounds=np.log(TEMPERATURES), method="bounded")
    model.codecs["y"] = dataclasses.replace(
        labels_of(model), calibration_temperature=float(np.exp(best.x))
    )


def metrics(model: Model, problem: Problem) -> dict[str, float]:
    """Likelihood, classification, calibration and anomaly metrics on the test rows, which are
    looked at once."""
    test = problem.test
    log_prob = model.log_prob(test.x).astype(np.float64)
    found = {
        "nll_val": -float(model.log_prob(problem.validation.x).mean(dtype=np.float64)),
        "nll_test": -float(log_prob.mean()),
        "nll_test_se": float(log_prob.std() / len(log_prob) ** 0.5),
    }
    if isinstance(model.codec, Pixels):
        bits = model.codec.bits_per_dim(log_prob)
        found["bits_per_dim"] = float(bits.mean())
        found["bits_per_dim_se"] = float(bits.std() / len(bits) ** 0.5)
    if len(model.partition.inputs) > 1:
        loose = np.logaddexp.reduce(
            model.class_log_prob(test.x, tighten=False) + labels_of(model).log_priors(), -1
        )
        found["nll_test_bound"] = -float(loose.mean())
    if problem.truth is not None:
        gap, error = normality.kl_to_truth(log_prob, problem.truth.log_prob(test.x))
        found |= {"kl_to_truth": gap, "kl_to_truth_se": error, "entropy": problem.truth.entropy}
    if len(model.classes) > 1:
        found |= class_metrics(model.classify(test.x), test.y)
        if problem.truth is not None:
            found["accuracy_bayes"] = class_metrics(problem.truth.posterior(test.x), test.y)[
                "accuracy"
            ]
    return found


def unknown_class(model: Model, problem: Problem, name: str) -> dict[str, float]:
    """AUROC of -log p(x), of a lack of confidence, and of a trivial distance, for telling the
    unknown class from test rows."""
    assert problem.unknown is not None
    both = problem.test.x, problem.unknown
    numbers = problem.numbers(problem.train.x)
    scores = {
        "nll": [model.anomaly_score(x) for x in both],
        "confidence": [-model.classify(x).max(-1) for x in both],
        "mahalanobis": [
            baselines.class_distance(numbers, problem.train.y, problem.numbers(x)) for x in both
        ],
    }
    return {f"auroc_{score}_{name}": auroc(*values) for score, values in scores.items()}


def unknown_figures(
    model: Model, problem: Problem, score: np.ndarray, metrics: Mapping[str, float]
) -> list[Figure]:
    """Scores of test rows and of a class that training did not see, where there is one."""
    keys = [key for key in metrics if key.startswith("auroc_nll_")]
    found = []
    for key in keys:
        name, of_unknown = key.removeprefix("auroc_nll_"), model.anomaly_score(problem.unknown)
        shown = plots.scores_of_unknown(score, of_unknown, name, metrics[key])
        caption = f"The class {name}, which training did not see, flagged by -log p(x)."
        found.append(("unknown", shown, caption))
    return found


def likelihood_of(problem: Problem) -> tuple[str, str]:
    """The metric that says how likely test rows are, and its heading: bits of pixels, or nats."""
    return (
        ("nll_test", "-log p(x), nats")
        if problem.columns
        else ("bits_per_dim", "bits per dimension")
    )


def columns(problem: Problem) -> tuple[str, ...]:
    """Headings of what `row` gives."""
    return ("", "accuracy", "ECE", "-log p(y | x), nats", likelihood_of(problem)[1], "training, s")


def row(problem: Problem, name: str, metrics: dict, seconds: float | None = None) -> tuple:
    """A row of the table with `table_columns`."""
    return (
        name,
        *(metrics.get(key) for key in ("accuracy", "ece", "nll_class", likelihood_of(problem)[0])),
        seconds,
    )


def compare(
    run: Run, beta_of: Callable, drawn: Labelled | None = None
) -> tuple[dict[str, float], Table]:
    """Metrics of the model, of the other forms and of the baselines, and their table.

    Args:
      beta_of: beta_of(config, problem), the weight of the class in the loss.
      drawn: samples of pictures, which the baselines classify too.
    """
    config, problem, form = run.config, run.problem, run.config.classifier.form
    beta = beta_of(config, problem)
    found = {**metrics(run.model, problem), "beta": beta}
    rows = [row(problem, f"{form}, beta {beta:g} (this run)", found, run.result.train_seconds)]
    others = CLASS_FORMS if config.classifier.compare and problem.codec is None else ()
    for other in others:
        if other != form:
            of_other, line = _other_form(run, other, beta_of)
            found, rows = found | of_other, [*rows, line]
    if len(problem.classes) > 1:
        for name, of_baseline in compare_baselines(problem, config.fit.seed, drawn).items():
            rows.append(row(problem, name.replace("_", " "), of_baseline))
            found |= {f"{key}_{name}": value for key, value in of_baseline.items()}
    if config.classifier.unknown:
        found |= unknown_class(run.model, problem, config.classifier.unknown)
    return found, (TABLE, columns(problem), rows)


def _other_form(run, form, beta_of):
    """Metrics named <metric>_<form>, and the row, of a model trained in another form."""
    beta = beta_of(replace(run.config, form=form), run.problem)
    model, result = run.train(form)
    seconds = result.train_seconds
    found = {**metrics(model, run.problem), "train_seconds": seconds, "beta": beta}
    line = row(run.problem, f"{form}, beta {beta:g}", found, seconds)
    return {f"{key}_{form}": value for key, value in found.items() if key != "entropy"}, line


def carried(model: Model, rows: Labelled, shown: int = 4, steps: int = 15, kind: str = "linear"):
    """What a figure of transfer needs: rows in every class, and interpolations of a kind of
    `generation.between`.

    Returns:
      [k, M, ...] the first rows, decoded in each class; [P, steps, ...] paths within and between
      classes; their P kinds.
    """
    count, labels = len(model.classes), rows.onehot(len(model.classes))
    z = model.encode(rows.x[:shown], rows.y[:shown])
    moved = np.stack([model.decode(z, np.full(len(z), k)) for k in range(count)], 1)
    pairs = pairs_of(rows)
    kinds = ["within a class" if rows.y[i] == rows.y[j] else "between classes" for i, j in pairs]
    t, paths = np.linspace(0, 1, steps), []
    for i, j in pairs:
        ends = model.encode(rows.x[[i, j]], rows.y[[i, j]])
        between = generation.between(ends[:1], ends[1:], t, kind)[0]
        paths.append(model.decode(between, (1 - t[:, None]) * labels[i] + t[:, None] * labels[j]))
    return moved, np.stack(paths), kinds


def pairs_of(rows: Labelled) -> list[tuple[int, int]]:
    """Numbers of the two rows of each path: within classes, and between classes."""
    firsts = [np.flatnonzero(rows.y == k)[:2].tolist() for k in np.unique(rows.y)]
    within = [(pair[0], pair[1]) for pair in firsts if len(pair) == 2][:3]
    return within + [(a[0], b[0]) for a, b in zip(firsts, firsts[1:])][:3]


def compare_baselines(
    problem: Problem, seed: int = 0, drawn: Labelled | None = None
) -> dict[str, dict[str, float]]:
    """Metrics of the baselines on the test rows.

    Of vectors, trained on the labelled training rows, and on these and the validation rows: the
    latter (<name>_with_validation) is the harder comparison, as a flow needs validation rows to
    know when to stop. Of images, trained on the training rows with what the validation rows choose,
    as the flow is; `accuracy_of_samples` is how many of the `drawn` ones they recognise.
    """
    known = [part[part.y != UNLABELLED] for part in (problem.train, problem.validation)]
    if not problem.columns:
        train, validation = ((part.x, part.y) for part in known)
        both = problem.test.x if drawn is None else np.concatenate([problem.test.x, drawn.x])
        of_pictures = baselines.picture_classifiers(train, validation, both, seed)
        return {name: _of_pictures(p, problem, drawn) for name, p in of_pictures.items()}
    found: dict[str, dict[str, float]] = {}
    test = problem.numbers(problem.test.x)
    for ending, parts in (("", known[:1]), ("_with_validation", known)):
        x = np.concatenate([problem.numbers(part.x) for part in parts])
        y = np.concatenate([part.y for part in parts])
        probabilities = baselines.classifiers(x, y, test, seed)
        found |= {
            f"{name}{ending}": _class_metrics(p, problem) for name, p in probabilities.items()
        }
    return found


def _of_pictures(p, problem, drawn):
    """Metrics of the test pictures, and how many samples behind them are recognised."""
    count = len(problem.test)
    found = _class_metrics(p[:count], problem)
    if drawn is not None:
        numbers = p[count:] if p.ndim == 1 else p[count:].argmax(1)
        found["accuracy_of_samples"] = float(np.mean(numbers == drawn.y))
    return found


def _class_metrics(p, problem):
    """Metrics of probabilities of the classes that were seen, with zeros for the others; accuracy
    of class numbers alone."""
    if p.ndim == 1:
        return {"accuracy": float(np.mean(p == problem.test.y))}
    return class_metrics(
        np.pad(p, [(0, 0), (0, len(problem.classes) - p.shape[1])]), problem.test.y
    )


def studies(
    run: Run, beta_of: Callable, betas: Sequence[float]
) -> tuple[list[Figure], list[Table]]:
    """Curves over the number of labels and over beta, as the settings ask for them."""
    figures: list[Figure] = []
    tables: list[Table] = []
    for name, label, curve in _curves(run, beta_of, betas):
        heading = f"Study: {label}"
        keys = ("value", "accuracy", "ece", "nll_class", likelihood_of(run.problem)[0])
        rows = [tuple(point[key] for key in keys) for point in curve]
        figures.append((f"{name}_study", plots.curve(curve, label), heading))
        tables.append((heading, (label, *keys[1:]), rows))
    return figures, tables


def _curves(run, beta_of, betas):
    """(name, what varies, metrics of a new model for each of its values)."""
    problem, asked, count = run.problem, run.config.classifier, len(run.problem.classes)
    if asked.label_study and count > 1:
        counts = [n for n in (count * 8**k for k in range(4)) if n < problem.labelled]
        beta = beta_of(run.config, problem)
        config = replace(run.config, beta=beta)
        variants = [
            (n, problem.with_labels(n, config.fit.seed), config)
            for n in [*counts, problem.labelled]
        ]
        yield "labels", "number of labels", [_point(run, *variant) for variant in variants]
    if asked.beta_study and count > 1:
        variants = [(beta, problem, replace(run.config, beta=beta)) for beta in betas]
        yield "beta", "beta", [_point(run, *variant) for variant in variants]


def _point(run, value, problem, config):
    """Metrics of a new model, trained for as long as that of the run."""
    settings = run.trainer.settings
    model, _ = run.train(config=config, problem=problem, settings=settings)
    return {"value": value, **metrics(model, problem)}
