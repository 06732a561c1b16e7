"""Application 4, generative classification of data vectors: a density for every class, and class
probabilities from it.

    python train_flowmodels4.py                              # eight modes, eight classes: three forms side by side
    python train_flowmodels4.py --labels some                # four classes, one of them of four modes
    python train_flowmodels4.py --data wine                  # or iris, breast_cancer, digits
    python train_flowmodels4.py --data my.csv --label-column species
    python train_flowmodels4.py --data wine --unknown class_2   # a class that training does not see
    python train_flowmodels4.py --labelled 16                # most rows without a label; --label-study, --beta-study: curves
    python train_flowmodels4.py --preset smoke               # to see it run

Expect of the eight modes an accuracy of 1.000 and a kl_to_truth of at most 0.01 nats, and samples
of the class of four modes within half a point of a quarter in each; of the tables, accuracies not
below the baselines beside them.
"""

from __future__ import annotations

import dataclasses
import math
import os

import numpy as np

import flow_models as fm
from flow_models.applications.classes.class_config import ClassConfig, refuse
from flow_models.runs.config import run


@dataclasses.dataclass(frozen=True)
class Config(ClassConfig):
    """Settings of application 4."""

    data: str = "eight_modes"
    """eight_modes, iris, wine, breast_cancer, digits, or a table, local or s3://"""
    labels: str = "all"
    """classes of the eight modes: all (eight), some (four) or none (one)"""
    label_column: str = ""
    """column of a table of one's own that holds the classes, text or numbers; empty cells: no
    label"""
    columns: list[str] | None = None
    """columns of the table to use; null: all others"""
    compare: bool = True
    """train the other two forms too, for the table"""
    beta: float | None = None
    """weight of -log p(y | x) beside -log p(x); 1 is maximum likelihood; null: ten times the number
    of columns; 1 for eight_modes and conditional"""
    covariance: str = "full"
    """mixture: full or diagonal, of the Gaussian of each class"""
    smoothing: float | None = None
    """noise added to rows in training, in standard deviations within the classes; null: 0.3 up to
    1,000 rows, then 300 / rows"""
    passes: int = 150
    """over the rows of a table at most: small tables take fewer steps"""
    test_points: int = 20_000
    """fresh points of the eight modes for the test; tables are split 64 : 16 : 20"""
    architecture: str = "spline_coupling"
    """realnvp, spline_coupling, maf, iaf or glow"""
    depth: int = 5
    """layers"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the hidden layers of each conditioner"""
    activation: str = "relu"
    """relu, silu, tanh or gelu"""
    bins: int = 8
    """of the splines"""
    bound: float = 4.0
    """splines act on [-bound, bound], in standard deviations of the data"""
    affine: bool = True
    """spline_coupling: an affine coupling in front of each spline"""
    linear: bool = False
    """spline_coupling: a learned linear layer in front of each coupling"""
    unskew: bool = True
    """a power transformation of each column first, chosen from the training rows"""
    unroll: int = 1
    """layers in the body of the compiled loop; 1 compiles fastest, 0 (no loop) runs fastest"""


PRESETS = {
    "smoke": {
        "steps": 300,
        "batch_size": 128,
        "depth": 3,
        "hidden": (32, 32),
        "test_points": 4000,
        "compare": False,
    },
    "default": {"steps": 3000, "batch_size": 256},
    "full": {
        "steps": 12_000,
        "batch_size": 512,
        "hidden": (128, 128),
        "label_study": True,
        "beta_study": True,
    },
}

TABLE = "Three forms and the baselines, on the same test rows"
BETAS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # of the study
COVARIANCES = ("full", "diagonal")
FULL_RATE_ROWS = 5000  # of a table, from which on `mixture` takes the learning rate that is set
# points of the eight modes that stand for a table where labels are few or a class is left out
SIMULATED = 20_000


def check(config: Config) -> None:
    """Refuses settings that some form would refuse only after the training of another."""
    config.check()
    refuse(
        (
            config.covariance not in COVARIANCES,
            f"covariance is {config.covariance!r}, must be {' or '.join(COVARIANCES)}",
        ),
        (config.passes < 1, f"passes is {config.passes}, must be at least 1"),
        (
            config.smoothing is not None and not 0 <= config.smoothing < math.inf,
            f"smoothing is {config.smoothing}, must be at least 0",
        ),
    )


def _class_study():
    """The module, with TensorFlow; wrong names are refused before it is loaded."""
    from flow_models.core.startup import load_tensorflow

    load_tensorflow()
    from flow_models.applications.classes import class_study

    return class_study


def load_data(config: Config):
    """The problem: parts of a table, or draws of the eight modes."""
    from flow_models.data.points import modes
    from flow_models.data.tables import labelled, tables

    if config.test_points < 8:
        raise fm.UserError(f"test_points is {config.test_points}, must be at least 8")
    if config.data == "eight_modes":
        truth = modes.get(config.labels)
        sizes = ((-2, SIMULATED), (-3, 4000), (-4, config.test_points))
        parts = [
            labelled.Labelled(*(a.numpy() for a in truth.draw(n, (config.seed, k))))
            for k, n in sizes
        ]
        source = f"eight modes of Ardizzone et al. 2019, labels '{config.labels}', sd {modes.SD}"
        problem = _class_study().Problem(
            *parts, truth.classes, ("x1", "x2"), source, truth.draw, truth=truth
        )
    else:
        if config.data in labelled.names():
            table = labelled.load(config.data)
        elif "/" in config.data or "." in config.data:
            if not config.label_column:
                raise fm.UserError(
                    f"{config.data}: give --label-column, the column that holds the classes"
                )
            table = labelled.read_labelled(config.data, config.label_column, config.columns)
        else:
            known = ", ".join(["eight_modes", *labelled.names()])
            raise fm.UserError(
                f"no data {config.data!r}: give a table ({', '.join(tables.SUFFIXES)}) or one of"
                f" {known}"
            )
        problem = _class_study().split_problem(table, config.seed)
    problem = problem.leaving_out(config.unknown) if config.unknown else problem
    return problem.with_labels(config.labelled, config.seed) if config.labelled else problem


def build_model(config: Config, problem, form: str):
    from flow_models.models.class_model import class_model

    options = {**dataclasses.asdict(config), "form": form, "event": problem.columns}
    return class_model(classes=problem.classes, priors=problem.priors, **options)


def fit_settings(config: Config, problem, form: str) -> fm.FitSettings:
    """Those of the command line; few rows take smaller batches and fewer steps, and `mixture`,
    which starts near its goal, smaller ones."""
    settings = config.fit_settings()
    if problem.simulator:
        return settings
    batch = max(min(settings.batch_size, len(problem.train) // 2), 1)
    most = max(config.passes * len(problem.train) // batch, 1)
    rate = settings.learning_rate * (
        min(1.0, len(problem.train) / FULL_RATE_ROWS) if form == "mixture" else 1.0
    )
    return dataclasses.replace(
        settings, batch_size=batch, steps=min(settings.steps, most), learning_rate=rate
    )


def beta_of(config: Config, problem, form: str) -> float:
    """That of the command line, else maximum likelihood where modes are plain, or where more takes
    M passes a step."""
    if config.beta is not None:
        return config.beta
    return (
        1.0
        if config.data == "eight_modes" or form == "conditional"
        else 10.0 * len(problem.columns)
    )


def smoothing_of(config: Config, problem) -> float:
    """Noise that keeps few rows from being learned by heart; many need none."""
    return (
        0.3 * min(1.0, 1000 / len(problem.train)) if config.smoothing is None else config.smoothing
    )


def samples_of_modes(model, config: Config) -> dict[str, float]:
    """Of draws of class 0: the largest departure of a mode's share from an equal one, and the share
    far from all modes."""
    from flow_models.data.points import modes

    labels = np.array(modes.get(config.labels).labels)
    number, distance = modes.nearest_mode(
        model.sample(config.test_points, seed=2, y=np.zeros(config.test_points, int))
    )
    shares = np.bincount(number, minlength=8)[labels == 0] / len(number)
    everywhere = modes.nearest_mode(model.sample(config.test_points, seed=3))[1]
    return {
        "mode_share_worst": float(np.abs(shares - 1 / len(shares)).max()),
        "samples_beyond_4_sd": float(np.mean(everywhere > 4)),
        "samples_beyond_4_sd_class_0": float(np.mean(distance > 4)),
    }


def show(folder, model, problem, history: dict, metrics: dict) -> list[tuple[str, str]]:
    """The figures of the report with their captions."""
    from flow_models import plots
    from flow_models.applications.classes.class_study import carried

    test, classes, columns = problem.test, problem.classes, problem.columns
    names = {"classes": classes, "columns": columns}
    labels = model.draw_labels(2000, seed=1)
    score, figures = model.anomaly_score(test.x), []
    if len(columns) == 2:
        figures.append(
            (
                "regions",
                plots.decision_regions(
                    test.x, test.y, model.class_log_prob, model.log_priors(), **names
                ),
                "Where each class is the most probable one, and the densities that say so.",
            )
        )
    figures.append(
        (
            "samples",
            plots.class_samples(
                test.x, test.y, model.sample(2000, seed=1, y=labels), labels, **names
            ),
            "Test data and samples of the classes.",
        )
    )
    if len(classes) > 1:
        figures.append(
            (
                "probabilities",
                plots.class_probabilities(model.classify(test.x), test.y, score, classes),
                (
                    "Calibration, the accuracy that rejecting the strangest rows buys, and which"
                    " classes are confused."
                ),
            )
        )
        figures.append(
            (
                "transfer",
                plots.transfer(test.x, test.y, *carried(model, test), **names),
                "Latents carried into other classes, and paths between rows.",
            )
        )
    figures += [
        (
            "latents",
            plots.latents(model.encode(test.x, test.y)),
            "Test data as members of their classes, in latent space.",
        ),
        ("training", plots.training_curves(history), "Training."),
        (
            "anomalies",
            plots.anomalies(test.x, score, columns),
            "The strangest test rows, by -log p(x).",
        ),
    ]
    for name, auroc in [
        (key.removeprefix("auroc_nll_"), metrics[key])
        for key in metrics
        if key.startswith("auroc_nll_")
    ]:
        figures.append(
            (
                "unknown",
                plots.scores_of_unknown(score, model.anomaly_score(problem.unknown), name, auroc),
                f"The class {name}, which training did not see, flagged by -log p(x).",
            )
        )
    return [(folder.write_figure(name, figure), caption) for name, figure, caption in figures]


def judge(model, config: Config, problem):
    """Metrics of the model, of the other forms and of the baselines, and the rows of their
    table."""
    from flow_models.applications.classes.class_study import judge as judge_all

    prepare = lambda form: (
        build_model(config, problem, form),
        fit_settings(config, problem, form),
        beta_of(config, problem, form),
    )  # noqa: E731
    metrics, rows = judge_all(
        model, problem, config, prepare, smoothing=smoothing_of(config, problem)
    )
    if config.data == "eight_modes" and not config.unknown:
        metrics |= samples_of_modes(model, config)
    return metrics, rows


def main(config: Config) -> None:
    check(config)
    problem = load_data(config)
    from flow_models import plots
    from flow_models.applications.classes.class_study import studies, table_columns, trainer
    from flow_models.runs.folder import RunFolder, machine_metrics

    folder = RunFolder(config, "flowmodels4")
    model, settings = (
        build_model(config, problem, config.form),
        fit_settings(config, problem, config.form),
    )
    beta = beta_of(config, problem, config.form)
    training = trainer(
        model,
        problem,
        settings,
        beta,
        smoothing_of(config, problem),
        folder=folder.checkpoints,
        resume=config.resume,
    )
    with folder:
        result = training.run(on_epoch=folder.log_epoch)
        model.save(folder.model)
        metrics, rows = judge(model, config, problem)
        rows[0] = (*rows[0][:-1], result.train_seconds)
        figures, tables = (
            show(folder, model, problem, result.history, metrics),
            [(TABLE, table_columns(problem), rows)],
        )
        build = lambda _: build_model(config, problem, config.form)  # noqa: E731
        for name, curve, label, table in studies(
            problem, config, build, settings, beta, BETAS, smoothing=smoothing_of(config, problem)
        ):
            figures.append((folder.write_figure(name, plots.curve(curve, label)), table[0]))
            tables.append(table)
        folder.finish(
            result.history,
            {**metrics, **result.metrics(), **machine_metrics()},
            f"Generative classification: {os.path.basename(config.data)}",
            problem.source,
            figures,
            tables,
        )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
