"""Application 1, distribution mapping: learn the density of points, exactly, and draw new ones.

    python train_flowmodels1.py                              # colours of a photograph, a minute and a half
    python train_flowmodels1.py --data moons                 # a set of known density: metrics.json has kl_to_truth
    python train_flowmodels1.py --data my.csv --columns '[easting, depth]' --lower '[null, 0]'
    python train_flowmodels1.py --preset smoke               # to see it run

Expect a kl_to_truth of at most 0.003 nats for moons and eight_gaussians, 0.002 for banana and
rosenbrock, 0.03 for checkerboard; README.md has the measured values.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np

import flow_models as fm
from flow_models.runs.config import RunConfig, run


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Settings of application 1."""

    data: str = "photo_colours"
    """a set of known density, a real one that comes with scikit-learn, or a table, local or
    s3://"""
    columns: list[str] | None = None
    """columns of the table to use; null: all"""
    lower: list[float | None] | None = None
    """lower bound of each column, null for none: a bounded column goes through a log or logit"""
    upper: list[float | None] | None = None
    """upper bound of each column, null for none"""
    test_points: int = 50_000
    """fresh points for the test where the density is known; tables are split 80 : 10 : 10"""
    architecture: str = "spline_coupling"
    """realnvp, spline_coupling, maf, iaf or glow"""
    depth: int = 5
    """layers"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the hidden layers of each conditioner"""
    activation: str = "relu"
    """relu, silu, tanh or gelu"""
    bins: int = 8
    """of the splines; maf and iaf with 0 are affine, as in their papers"""
    bound: float = 4.0
    """splines act on [-bound, bound], in standard deviations of the data"""
    affine: bool = True
    """spline_coupling: an affine coupling in front of each spline, for tails that bend"""
    linear: bool = False
    """spline_coupling: a learned linear layer in front of each coupling"""
    unroll: int = 1
    """layers in the body of the compiled loop; 1 compiles fastest, 0 (no loop) runs fastest"""


PRESETS = {
    "smoke": {"steps": 400, "depth": 3, "hidden": (32, 32), "test_points": 20_000},
    "default": {"steps": 12_000},
    "full": {"steps": 40_000, "batch_size": 1024, "hidden": (128, 128)},
}


MIN_ROWS = 80  # of a table, so that a tenth is enough to test on


@dataclasses.dataclass(frozen=True)
class Data:
    """What is trained on: rows or a simulator, held-out rows, and the truth where it is known."""

    train: np.ndarray | Callable
    validation: np.ndarray
    test: np.ndarray
    columns: tuple[str, ...]
    source: str
    truth: Any = None  # a PointSet


def load_data(config: Config) -> Data:
    """A point set, an embedded table, or the user's own; nothing here needs TensorFlow but the
    draws."""
    from flow_models.data.points import points
    from flow_models.data.tables import embedded, tables

    if config.test_points < 8:
        raise fm.UserError(f"test_points is {config.test_points}, must be at least 8")
    if config.data in points.names():
        truth = points.get(config.data)
        rows = [
            truth.draw(n, (config.seed, -k)).numpy()
            for k, n in ((2, 10_000), (3, config.test_points))
        ]
        names = tuple(f"x{i + 1}" for i in range(truth.event_size))
        return Data(truth.draw, *rows, names, truth.definition, truth)
    if config.data in embedded.names():
        table = embedded.load(config.data)
    elif "/" in config.data or "." in config.data:
        table = tables.read_table(config.data, config.columns, min_rows=MIN_ROWS)
    else:
        known = ", ".join([*points.names(), *embedded.names()])
        raise fm.UserError(
            f"no data {config.data!r}: give a table ({', '.join(tables.SUFFIXES)}) or one of"
            f" {known}"
        )
    return Data(*tables.split(table.values, seed=config.seed), tuple(table.columns), table.source)


def build_model(config: Config, data: Data) -> fm.FlowModel:
    options = dataclasses.asdict(config)
    bijector = fm.architectures.build(config.architecture, len(data.columns), **options)
    return fm.FlowModel(bijector, columns=data.columns, jit=config.jit)


def evaluate(model: fm.FlowModel, data: Data) -> dict[str, float]:
    """Held-out likelihood, the gap to the truth, and how normal the latents are; the test rows are
    looked at once."""
    from flow_models.diagnostics import baselines, normality

    log_prob = model.log_prob(data.test).astype(np.float64)
    metrics = {"nll_test": -log_prob.mean(), "nll_test_se": log_prob.std() / len(log_prob) ** 0.5}
    rows = data.validation if data.truth else data.train
    metrics["nll_test_gaussian"] = baselines.gaussian_nll(rows, data.test)
    if data.truth:
        gap, error = normality.kl_to_truth(log_prob, data.truth.log_prob(data.test))
        metrics |= {"kl_to_truth": gap, "kl_to_truth_se": error, "entropy": data.truth.entropy}
    return metrics | normality.latent_normality(model.encode(data.test))


def show(folder, model: fm.FlowModel, data: Data, history: dict) -> list[tuple[str, str]]:
    """The figures of the report with their captions."""
    from flow_models import plots

    truth, size = data.truth, model.event_size
    rest = size / 2 * (1 + np.log(2 * np.pi))
    perfect = truth and {
        "objective": truth.entropy,
        "latent": rest,
        "log_det": rest - truth.entropy,
    }
    samples = model.sample(len(data.test), seed=1)
    figures = [
        (
            "density",
            plots.density(
                data.test, samples, model.log_prob, truth and truth.log_prob, data.columns
            ),
            "Held-out data, samples of the model, and its density.",
        ),
        (
            "latents",
            plots.latents(model.encode(data.test)),
            "Held-out data in latent space, where they should be standard normal.",
        ),
        (
            "training",
            plots.training_curves(history, perfect),
            "Training: the latent part and the log-determinant, which make the objective.",
        ),
        (
            "anomalies",
            plots.anomalies(data.test, model.anomaly_score(data.test), data.columns),
            "The strangest held-out rows, by -log p(x).",
        ),
    ]
    if size == 2:
        caption = (
            "What the network does: circles and rays of the latent plane, carried to the data."
        )
        figures.append(("mapping", plots.mapping(model.decode, size), caption))
    return [(folder.write_figure(name, figure), caption) for name, figure, caption in figures]


def main(config: Config) -> None:
    from flow_models.runs.folder import RunFolder, machine_metrics

    data = load_data(config)
    folder = RunFolder(config, "flowmodels1")
    model = build_model(config, data)
    model.layer.check(data.test)
    trainer = fm.Trainer(
        model,
        data.train,
        data.validation,
        config.fit_settings(),
        folder=folder.checkpoints,
        resume=config.resume,
    )
    with folder:
        result = trainer.run(on_epoch=folder.log_epoch)
        model.save(folder.model)
        metrics = {
            "nll_val": min(result.history["val_objective"]),
            **evaluate(model, data),
            **result.metrics(),
            **machine_metrics(),
        }
        folder.finish(
            result.history,
            metrics,
            f"Distribution mapping: {os.path.basename(config.data)}",
            data.source,
            show(folder, model, data, result.history),
        )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
