"""Posteriors to look at: of some test observations, of the user's data, and the figures that all
inverse problems have."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models import plots
from flow_models.applications.application import Figure, Run
from flow_models.applications.inverse import inference_data, study
from flow_models.applications.inverse.comparison import Comparison
from flow_models.applications.inverse.observed import quantile_table
from flow_models.diagnostics import calibration
from flow_models.diagnostics.posterior import contraction_and_z
from flow_models.models.posteriors import whitened_samples

SAMPLES = 2500  # of a posterior of the test that is looked at
OBSERVED = 10_000  # of that of the user's data
SHOWN_TESTS = 3  # test posteriors that are kept as samples
PREDICTED = 300  # of them, whose data are drawn


@dataclasses.dataclass(frozen=True)
class View:
    """One posterior to look at: arrays in the user's units."""

    name: str
    caption: str
    y: np.ndarray  # [M]
    samples: np.ndarray  # [S, P]
    predicted: np.ndarray  # [S, M'], data without noise of some samples
    truth: np.ndarray | None = None  # [P]
    reference: np.ndarray | None = None  # [R, P]


def of_test(table: Comparison, i: int) -> View:
    """Of observation i of those that the reference is run on."""
    problem, chosen = table.problem, table.chosen
    theta = whitened_samples(table.run.model, chosen.y[i], SAMPLES, 4)
    theta = study.replace_outliers(theta)[0]
    reference = None if table.reference is None else problem.physical(table.reference.samples[i])
    return View(
        f"test_{i + 1}",
        f"test observation {i + 1}",
        chosen.y[i],
        problem.physical(theta),
        _predicted(problem.simulator, theta),
        problem.physical(chosen.theta[i : i + 1])[0],
        reference,
    )


def of_observed(run: Run, scores: np.ndarray | None, metrics: dict[str, float]) -> View:
    """The posterior of the user's data, with a CSV of quantiles.

    Adds metrics of the data, and warns where they are unlike all that is simulated.
    """
    model, observed, simulator = run.model, run.problem.observed, run.problem.simulator
    theta = whitened_samples(model, observed[0], OBSERVED, 0)
    theta = study.replace_outliers_for_user(theta)
    x = run.problem.physical(theta)
    run.folder.write_text("posterior.csv", quantile_table(x[None], model.columns))
    inference_data.write(run, inference_data.OF_OBSERVED, x[None], observed)
    misfit = study.misfit(simulator, theta[None, :500], observed)
    metrics["observed_misfit"] = float(np.median(misfit))
    if scores is not None:
        metrics["observed_p_value"] = float(study.p_values(model, observed, scores)[0])
    predicted = _predicted(simulator, theta)
    return View("observed", "your data", observed[0].astype(np.float32), x, predicted)


def _predicted(simulator, theta):
    """Data without noise of some samples [S, P]."""
    return np.asarray(simulator.forward(tf.constant(theta[:PREDICTED])))


def figures(names, calibrated, entropy: float | None, history, view: View) -> list[Figure]:
    """(name, figure, caption): one corner plot, calibration, and the training."""
    truths, x = calibrated.truths, calibrated.x
    covered = (
        calibration.coverage(truths, x, np.linspace(0.05, 0.95, 19)),
        calibration.tarp(truths, x),
    )
    contracted = contraction_and_z(truths, x, calibrated.spread)
    return [
        (
            "corner",
            plots.corner(view.samples, view.truth, view.reference, names),
            f"Some parameters in pairs, {view.caption}.",
        ),
        (
            "ranks",
            plots.rank_histograms(calibration.sbc_ranks(truths, x), x.shape[1], names),
            "Ranks of the truth among posterior samples: uniform where the posterior is right.",
        ),
        (
            "coverage",
            plots.coverage_curve(*covered),
            "Share of truths inside intervals, against what the intervals claim.",
        ),
        (
            "contraction",
            plots.contraction(*contracted, names),
            "What the data taught, and how far off posteriors are.",
        ),
        (
            "training",
            plots.training_curves(history, _perfect(len(names), entropy)),
            "Training; dashed: what the mean Laplace entropy allows.",
        ),
    ]


def _perfect(size: int, entropy: float | None) -> dict[str, float] | None:
    """The loss of a posterior that is as good as a Gaussian one can be, and its two terms."""
    latent = size / 2 * (1 + np.log(2 * np.pi))
    return (
        None
        if entropy is None
        else {"objective": entropy, "latent": latent, "log_det": latent - entropy}
    )
