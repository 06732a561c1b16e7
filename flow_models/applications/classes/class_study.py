"""Training and judging generative classifiers, of any kind of event: what applications 3 and 4
share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from flow_models.applications.classes import class_sources
from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.images.stream import EndlessBatches
from flow_models.data.tables.labelled import (
    UNLABELLED,
    Labelled,
    LabelledTable,
    split_by_class,
    without_labels,
)
from flow_models.diagnostics import baselines, generation, normality
from flow_models.diagnostics.classification import auroc, class_metrics
from flow_models.models.class_model import FORMS, ClassModel
from flow_models.training import losses
from flow_models.training.sources import as_batch
from flow_models.training.trainer import Trainer, start

SHARES = (0.64, 0.16, 0.2)  # of training, validation and test rows
START_NUMBERS, START_ROWS = (
    2**20,
    64,
)  # of the rows that a start is computed from, and the least of them
TEMPERATURES = (0.05, 200.0)  # among which `calibrate` looks


@dataclasses.dataclass(frozen=True)
class Problem:
    """Labelled parts, names, and the truth where it is known.

    Attributes:
      columns: names of those of vectors; none of images.
      simulator: draws (x, class numbers) for training where there is one; `train` then only gives a
        start.
      stream: batches {"x", "y"} of images that are too many for `train`, which then is a random
        part of them.
      augment: changes of the training images.
      unknown: events [N, ...] of a class that training does not see.
      truth: has log_prob, posterior and entropy.

    Raises:
      UserError: a class of the validation or test rows is in no training row, or there are no such
      rows.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    source: str
    simulator: Callable | None = None
    unknown: np.ndarray | None = None
    truth: Any = None
    stream: EndlessBatches | None = None
    augment: Augmentation | None = None

    def __post_init__(self):
        seen = set(self.train.y.tolist())
        for name, part in (("validation", self.validation), ("test", self.test)):
            if not len(part):
                raise UserError(f"no rows are left for {name}: give more data")
            missing = sorted(set(part.y.tolist()) - seen - {UNLABELLED})
            if missing:
                raise UserError(
                    f"class '{self.classes[missing[0]]}' has {name} rows and no training row with"
                    " its label"
                )

    @property
    def priors(self) -> np.ndarray:
        """Shares of the classes: the truth's, or those of the labelled training rows."""
        if self.truth is not None:
            return np.asarray(self.truth.priors)
        return (
            np.bincount(self.train.y[self.train.y != UNLABELLED], minlength=len(self.classes))
            / self.labelled
        )

    @property
    def labelled(self) -> int:
        """Training rows with a label."""
        return int((self.train.y != UNLABELLED).sum())

    def batches(self, batch_size: int, seed: int = 0) -> EndlessBatches:
        """Of images for training, {"x", "y"}."""
        return self.stream or class_sources.pictures(
            self.train, len(self.classes), batch_size, seed, self.augment
        )

    def leaving_out(self, name: str) -> Problem:
        """The same without the rows of class `name`, which become the unknown ones."""
        if name not in self.classes or len(self.classes) < 3:
            raise UserError(
                f"cannot leave out {name!r}: give one of at least three classes, of"
                f" {', '.join(self.classes)}"
            )
        number = self.classes.index(name)
        parts = {part: getattr(self, part) for part in ("train", "validation", "test")}
        unknown = np.concatenate([part.x[part.y == number] for part in parts.values()])
        parts = {key: part[part.y != number] for key, part in parts.items()}
        parts = {key: Labelled(part.x, part.y - (part.y > number)) for key, part in parts.items()}
        classes = tuple(other for other in self.classes if other != name)
        return dataclasses.replace(
            self, **parts, unknown=unknown, classes=classes, truth=None, simulator=None, stream=None
        )

    def with_labels(self, keep: int, seed: int = 0) -> Problem:
        """The same with the labels of all but `keep` training rows taken off."""
        if keep < len(self.classes):
            raise UserError(
                f"{keep} labels are fewer than the {len(self.classes)} classes: each needs one"
            )
        if keep > self.labelled:
            raise UserError(f"{keep} labels are more than the {self.labelled} training rows have")
        return dataclasses.replace(
            self, train=without_labels(self.train, keep, seed), simulator=None, stream=None
        )


def split_problem(table: LabelledTable, seed: int = 0, min_rows: int = 40) -> Problem:
    """A table in training, validation and test rows, 64 : 16 : 20 of each class; rows without a
    label serve training.

    Raises:
      UserError: one class only, or fewer than `min_rows` rows with a label.
    """
    known, rest = table.rows[table.rows.y != UNLABELLED], table.rows[table.rows.y == UNLABELLED]
    if len(table.classes) < 2:
        raise UserError(
            f"{table.source}: all labels are '{table.classes[0]}'; a classifier needs two classes,"
            " the density of one is the business of train_flowmodels1.py"
        )
    if len(known) < min_rows:
        raise UserError(
            f"{table.source}: {len(known)} rows with a label; at least {min_rows} are expected"
        )
    train, validation, test = split_by_class(known, SHARES, seed)
    train = Labelled(np.concatenate([train.x, rest.x]), np.concatenate([train.y, rest.y]))
    return Problem(train, validation, test, table.classes, table.columns, table.source)


def trainer(
    model: ClassModel,
    problem: Problem,
    settings,
    beta: float = 1.0,
    smoothing: float = 0.0,
    temperature: float = 1.0,
    **options,
) -> Trainer:
    """A `Trainer` of -log p(x) + beta * -log p(y | x), started at the moments of the classes.

    smoothing as of `class_sources.from_rows`, temperature as of
    `classification.information_bottleneck`, options as of `Trainer`.
    """
    start(model, _first(model, problem.train))
    if problem.simulator:
        data = class_sources.from_simulator(model, problem.simulator)
    elif model.columns:
        data = class_sources.from_rows(model, problem.train, smoothing)
    else:
        data = class_sources.named(model, problem.batches(settings.batch_size, settings.seed))
    share = 1.0 if problem.simulator else problem.labelled / len(problem.train)
    if model.form == "conditional" and beta == 1 and share == 1:
        loss = losses.negative_log_likelihood(
            model
        )  # the same up to a constant, by one pass in place of M
    else:
        loss = losses.class_likelihood(model, beta, share, temperature)
    return Trainer(
        model, data, class_sources.fixed(model, problem.validation), settings, loss=loss, **options
    )


def _first(model, rows):
    """The batch that a start is computed from: all rows, or a random part of them where they are
    large."""
    some = np.random.default_rng(0).permutation(len(rows))[
        : max(START_NUMBERS // model.partition.size, START_ROWS)
    ]
    return as_batch(
        class_sources.fixed(model, rows if len(some) == len(rows) else rows[some]), model
    )


def calibrate(model: ClassModel, rows: Labelled) -> float:
    """Sets the model's temperature to that of the least mean -log p(label | x) of rows it was not
    trained on, and gives it.

    On Calibration of Modern Neural Networks (Guo, Pleiss, Sun and Weinberger 2017), on
    log-densities in place of logits.
    """
    rows = rows[rows.y != UNLABELLED]
    values, log_priors = model.averaged_log_prob(rows.x).astype(np.float64), model.log_priors()

    def cost(log_temperature):
        log_p = log_softmax(values / np.exp(log_temperature) + log_priors, axis=1)
        return -log_p[np.arange(len(rows)), rows.y].mean()

    best = minimize_scalar(cost, bounds=np.log(TEMPERATURES), method="bounded")
    model.partition = dataclasses.replace(model.partition, temperature=float(np.exp(best.x)))
    return model.partition.temperature


def evaluate(model: ClassModel, problem: Problem) -> dict[str, float]:
    """Likelihood, classification, calibration and anomaly metrics on the test rows, which are
    looked at once."""
    test = problem.test
    log_prob = model.log_prob(test.x).astype(np.float64)
    metrics = {
        "nll_val": -float(model.log_prob(problem.validation.x).mean(dtype=np.float64)),
        "nll_test": -float(log_prob.mean()),
        "nll_test_se": float(log_prob.std() / len(log_prob) ** 0.5),
    }
    if not model.columns:
        metrics |= {
            "bits_per_dim": float(model.event.bits_per_dim(log_prob).mean()),
            "bits_per_dim_se": float(
                model.event.bits_per_dim(log_prob).std() / len(log_prob) ** 0.5
            ),
        }
    if model.pad:
        loose = np.logaddexp.reduce(
            model.class_log_prob(test.x, tighten=False) + model.log_priors(), -1
        )
        metrics["nll_test_bound"] = -float(loose.mean())
    if problem.truth is not None:
        gap, error = normality.kl_to_truth(log_prob, problem.truth.log_prob(test.x))
        metrics |= {"kl_to_truth": gap, "kl_to_truth_se": error, "entropy": problem.truth.entropy}
    if len(model.classes) > 1:
        metrics |= class_metrics(model.classify(test.x), test.y)
        if problem.truth is not None:
            metrics["accuracy_bayes"] = class_metrics(problem.truth.posterior(test.x), test.y)[
                "accuracy"
            ]
    return metrics


def judge_unknown(model: ClassModel, problem: Problem, name: str) -> dict[str, float]:
    """AUROC of -log p(x), of a lack of confidence, and of a trivial distance, for telling the
    unknown class from test rows."""
    both = problem.test.x, problem.unknown
    scores = {
        "nll": [model.anomaly_score(x) for x in both],
        "confidence": [-model.classify(x).max(-1) for x in both],
        "mahalanobis": [
            baselines.class_distance(problem.train.x, problem.train.y, x) for x in both
        ],
    }
    return {f"auroc_{score}_{name}": auroc(*values) for score, values in scores.items()}


def likelihood_of(problem: Problem) -> tuple[str, str]:
    """The metric that says how likely test rows are, and its heading: bits of pixels, or nats."""
    return (
        ("nll_test", "-log p(x), nats")
        if problem.columns
        else ("bits_per_dim", "bits per dimension")
    )


def table_columns(problem: Problem) -> tuple[str, ...]:
    """Headings of what `row` gives."""
    return ("", "accuracy", "ECE", "-log p(y | x), nats", likelihood_of(problem)[1], "training, s")


def row(problem: Problem, name: str, metrics: dict, seconds: float | None = None) -> tuple:
    """A row of the table with `table_columns`."""
    return (
        name,
        *(metrics.get(key) for key in ("accuracy", "ece", "nll_class", likelihood_of(problem)[0])),
        seconds,
    )


Prepare = Callable[[str], tuple[ClassModel, Any, float]]  # of a form: model, settings, beta


def judge(
    model: ClassModel, problem: Problem, config, prepare: Prepare, **how
) -> tuple[dict, list[tuple]]:
    """Metrics of a trained model, of the other forms and of the baselines, and the rows of their
    table.

    config: has form, compare, unknown and seed (`ClassConfig`). how: smoothing and temperature of
    `trainer`.
    """
    beta = prepare(config.form)[2]
    metrics = {**evaluate(model, problem), "beta": beta}
    rows = [row(problem, f"{config.form}, beta {beta:g} (this run)", metrics)]
    others = [form for form in FORMS if form != config.form and config.compare]
    more = compare_forms(others, problem, prepare, **how)
    rows, metrics = rows + more[0], metrics | more[1]
    for name, found in (
        compare_baselines(problem, config.seed) if len(problem.classes) > 1 else {}
    ).items():
        rows.append(row(problem, name.replace("_", " "), found))
        metrics |= {f"{key}_{name}": value for key, value in found.items()}
    return metrics | (judge_unknown(model, problem, config.unknown) if config.unknown else {}), rows


def trained(model: ClassModel, problem: Problem, settings, beta: float, **how) -> float:
    """Seconds that the training of a model took, which of images is calibrated then."""
    seconds = trainer(model, problem, settings, beta, **how).run(progress=False).train_seconds
    if not problem.columns:
        calibrate(model, problem.validation)
    return seconds


def compare_forms(
    forms, problem: Problem, prepare: Prepare, **how
) -> tuple[list[tuple], dict[str, float]]:
    """Rows of the table, and metrics named <metric>_<form>, of models trained in other forms."""
    rows, metrics = [], {}
    for form in forms:
        model, settings, beta = prepare(form)
        seconds = trained(model, problem, settings, beta, **how)
        found = {**evaluate(model, problem), "train_seconds": seconds, "beta": beta}
        rows.append(row(problem, f"{form}, beta {beta:g}", found, seconds))
        metrics |= {f"{key}_{form}": value for key, value in found.items() if key != "entropy"}
    return rows, metrics


def carried(
    model: ClassModel, rows: Labelled, shown: int = 4, steps: int = 15, kind: str = "linear"
):
    """What a figure of transfer needs: rows in every class, and interpolations of a kind of
    `generation.between`.

    Returns:
      [k, M, ...] the first rows, decoded in each class; [P, steps, ...] paths within and between
      classes; their P kinds.
    """
    count, labels = len(model.classes), rows.onehot(len(model.classes))
    z = model.encode(rows.x[:shown], rows.y[:shown])
    moved = np.stack([model.decode(z, np.full(len(z), k)) for k in range(count)], 1)
    firsts = [np.flatnonzero(rows.y == k)[:2] for k in np.unique(rows.y)]
    pairs = [pair for pair in firsts if len(pair) == 2][:3] + [
        (a[0], b[0]) for a, b in zip(firsts, firsts[1:])
    ][:3]
    kinds = ["within a class" if rows.y[i] == rows.y[j] else "between classes" for i, j in pairs]
    t, paths = np.linspace(0, 1, steps), []
    for i, j in pairs:
        ends = model.encode(rows.x[[i, j]], rows.y[[i, j]])
        between = generation.between(ends[:1], ends[1:], t, kind)[0]
        paths.append(model.decode(between, (1 - t[:, None]) * labels[i] + t[:, None] * labels[j]))
    return moved, np.stack(paths), kinds


def compare_baselines(problem: Problem, seed: int = 0) -> dict[str, dict[str, float]]:
    """Metrics of the baselines on the test rows.

    Of vectors, trained on the labelled training rows, and on these and the validation rows: the
    latter (<name>_with_validation) is the harder comparison, as a flow needs validation rows to
    know when to stop. Of images, trained on the training rows with what the validation rows choose,
    as the flow is.
    """
    known = [part[part.y != UNLABELLED] for part in (problem.train, problem.validation)]
    if not problem.columns:
        found = baselines.picture_classifiers(
            *((part.x, part.y) for part in known), problem.test.x, seed
        )
        return {name: _judged(p, problem) for name, p in found.items()}
    found, test = {}, problem.test.x
    for ending, parts in (("", known[:1]), ("_with_validation", known)):
        x, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y"))
        probabilities = baselines.classifiers(x, y, test, seed)
        found |= {f"{name}{ending}": _judged(p, problem) for name, p in probabilities.items()}
    return found


def _judged(p, problem):
    """Metrics of probabilities of the classes that were seen, with zeros for the others; accuracy
    of class numbers alone."""
    if p.ndim == 1:
        return {"accuracy": float(np.mean(p == problem.test.y))}
    return class_metrics(
        np.pad(p, [(0, 0), (0, len(problem.classes) - p.shape[1])]), problem.test.y
    )


def sweep(
    values,
    build: Callable[[Any], ClassModel],
    problem_of: Callable[[Any], Problem],
    settings,
    beta_of: Callable[[Any], float],
    **how,
) -> list[dict]:
    """Metrics of a new model for each of the values: the curve of a study."""
    curve = []
    for value in values:
        model, problem = build(value), problem_of(value)
        trained(model, problem, settings, beta_of(value), **how)
        curve.append({"value": value, **evaluate(model, problem)})
    return curve


def studies(
    problem: Problem,
    config,
    build: Callable[[Any], ClassModel],
    settings,
    beta: float,
    betas=(),
    **how,
):
    """(name, curve, heading, table) of the studies that config.label_study and config.beta_study
    ask for."""
    count, asked = len(problem.classes), []
    counts = [n for n in (count * 8**k for k in range(4)) if n < problem.labelled] + [
        problem.labelled
    ]
    if config.label_study and count > 1:
        asked.append(
            (
                "labels",
                counts,
                lambda n: problem.with_labels(n, config.seed),
                lambda _: beta,
                "number of labels",
            )
        )
    if config.beta_study and count > 1:
        asked.append(("beta", betas, lambda _: problem, lambda value: value, "beta"))
    for name, values, problem_at, beta_at, label in asked:
        curve = sweep(values, build, problem_at, settings, beta_at, **how)
        keys = ("value", "accuracy", "ece", "nll_class", likelihood_of(problem)[0])
        heading = (label, *keys[1:])
        yield (
            f"{name}_study",
            curve,
            label,
            (f"Study: {label}", heading, [tuple(point[key] for key in keys) for point in curve]),
        )
