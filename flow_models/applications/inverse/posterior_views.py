"""Posteriors to look at: of some test observations, of the user's data, and the figures that all
inverse problems have."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models import plots
from flow_models.applications.inverse import posterior_study
from flow_models.applications.inverse.observed import quantile_table
from flow_models.diagnostics import calibration
from flow_models.diagnostics.posterior import contraction_and_z

SAMPLES = 2500  # of a posterior of the test that is looked at
OBSERVED = 10_000  # of that of the user's data
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


def of_test(study, model, i: int) -> View:
    """Of observation i of those that the reference is run on."""
    chosen = study.chosen
    theta = posterior_study.mended(model.posterior_theta(chosen.y[i], SAMPLES, 4))[0]
    reference = None if study.reference is None else study.physical(study.reference.samples[i])
    return View(
        f"test_{i + 1}",
        f"test observation {i + 1}",
        chosen.y[i],
        study.physical(theta),
        _predicted(study.simulator, theta),
        study.physical(chosen.theta[i : i + 1])[0],
        reference,
    )


def of_observed(folder, model, observed, scores, metrics) -> View:
    """The posterior of the user's data: a CSV of quantiles, a warning where they are unlike all
    that is simulated."""
    theta = posterior_study.mended_for_user(model.posterior_theta(observed[0], OBSERVED, 0))
    x = np.asarray(model.simulator.physical(tf.constant(theta)))
    folder.write_text("posterior.csv", quantile_table(x[None], model.columns))
    metrics["observed_misfit"] = float(
        np.median(posterior_study.misfit(model.simulator, theta[None, :500], observed))
    )
    if scores is not None:
        metrics["observed_p_value"] = float(posterior_study.p_values(model, observed, scores)[0])
    return View(
        "observed",
        "your data",
        observed[0].astype(np.float32),
        x,
        _predicted(model.simulator, theta),
    )


def _predicted(simulator, theta):
    """Data without noise of some samples [S, P]."""
    return np.asarray(simulator.forward(tf.constant(theta[:PREDICTED])))


def figures(names, calibrated, training, history, view: View) -> list[tuple[str, object, str]]:
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
            plots.training_curves(history, _perfect(len(names), training.entropy)),
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
