"""What is measured of a posterior, and of what stands beside it: the metrics and the table of a
run."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import tensorflow as tf

from flow_models.applications.inverse import posterior_study
from flow_models.applications.inverse.pairs import Clock, Pairs, draw_parts
from flow_models.bijectors.frames import LaplaceFrame
from flow_models.diagnostics import calibration, posterior_report
from flow_models.diagnostics.posterior import predictive_check
from flow_models.references.laplace import laplace

COLUMNS = (
    "posterior",
    "C2ST, median",
    "C2ST, worst",
    "coverage 50%",
    "coverage 90%",
    "rms misfit, sigma",
    "sd ratio",
    "seconds",
)
TABLE = (
    "Posteriors side by side; C2ST and sd ratio against the reference, null of the C2ST in its row"
)
COMPARED = 2500  # samples a side in two-sample tests
OTHERS = 300  # pairs that the form beside the chosen one is judged on, and most samples of each


@dataclasses.dataclass
class Study:
    """What a run knows: the problem, the pairs, and what was found."""

    config: object
    simulator: object
    frame: object
    joint: dict  # options of the joint form
    parts: dict[str, Pairs] = dataclasses.field(default_factory=dict)
    rate: float = 0.0  # simulations a second
    clock: Clock = dataclasses.field(default_factory=Clock)
    reference: object = None
    rows: list = dataclasses.field(default_factory=list)

    def draw(self) -> None:
        """The three parts: training, validation, test."""
        self.parts, self.rate = self.clock.time(
            "simulate", lambda: draw_parts(self.simulator, self.config)
        )

    def trained(self, form: str, **trainer):
        """A model of one form and its `Trainer`."""
        given = (self.config, self.parts["train"], self.parts["validation"])
        if form == "joint":
            return posterior_study.joint(self.simulator, *given, **self.joint, **trainer)
        return posterior_study.conditional(self.frame, *given, **trainer)

    @property
    def left_out(self) -> int:
        """Draws of the prior, of all parts, that the forward model could not simulate."""
        return sum(pairs.left_out for pairs in self.parts.values())

    @property
    def chosen(self) -> Pairs:
        """The test pairs that the reference is run on."""
        n, test = self.config.references, self.parts["test"]
        return Pairs(test.theta[:n], test.clean[:n], test.y[:n])

    def physical(self, theta: np.ndarray) -> np.ndarray:
        """In the user's units."""
        return np.asarray(self.simulator.physical(tf.constant(theta)))

    def row(
        self, name: str, theta: np.ndarray, seconds: float, calibration: dict | None = None
    ) -> dict[str, float]:
        """A row of the table for samples [B, S, P] of the chosen observations, and its metrics."""
        theta, broken = posterior_study.mended(theta)
        found = {
            "broken_samples": broken,
            "misfit": float(
                np.median(posterior_study.misfit(self.simulator, theta[:, :500], self.chosen.y))
            ),
        }
        if self.reference is not None:
            against = posterior_study.against_reference(
                theta[:, :COMPARED], self.reference.samples[:, :COMPARED], self.simulator
            )
            found |= {
                "c2st": float(np.median(against["c2st"])),
                "c2st_worst": float(against["c2st"].max()),
                "sd_correlation_worst": float(against["sd_correlation"].min()),
                "sd_ratio": float(np.mean(against["sd_ratio"])),
                "sd_ratio_smallest": float(against["sd_ratio"].min()),
                "sd_ratio_largest": float(against["sd_ratio"].max()),
            }
        given = {**(calibration or {}), **found}
        cells = [
            given.get(key)
            for key in ("c2st", "c2st_worst", "coverage_50", "coverage_90", "misfit", "sd_ratio")
        ]
        self.rows.append((name, *cells, seconds))
        return found


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """The test in the user's units: truths [N, P], posterior samples [N, S, P], standard deviations
    of the prior [P]."""

    truths: np.ndarray
    x: np.ndarray
    spread: np.ndarray


def calibrate(study: Study, model) -> tuple[dict[str, float], Calibrated]:
    """Metrics of posteriors of the test pairs, and what they are of; a warning for each thing that
    is wrong."""
    config, test, simulator = study.config, study.parts["test"], study.simulator
    theta, seconds = _timed(lambda: model.posterior_theta(test.y, config.posterior_samples, 1))
    theta = posterior_study.mended(theta)[0]
    x, truths = study.physical(theta), study.physical(test.theta)
    found = Calibrated(truths, x, study.physical(study.parts["train"].theta[:20_000]).std(0))
    densities = {}
    if config.form == "conditional":
        densities = {
            "log_prob_truths": model.log_prob_theta(test.theta, test.y),
            "log_prob_samples": model.log_prob_theta(theta[:, :100], test.y[:, None]),
        }
    metrics = posterior_report.judge(truths, x, **densities, prior_sd=found.spread, seed=0)
    again = posterior_study.residuals(simulator, theta[:, :50], test.y)
    metrics["resimulation_error"] = float(np.median(np.sqrt(np.mean(np.square(again), -1))))
    metrics["predictive_p_below_5_percent"] = float(
        np.mean(predictive_check(np.zeros_like(again[:, 0]), again, 1.0).p_values < 0.05)
    )
    metrics |= _by_noise(simulator, truths, x, test.y)
    for line in posterior_report.warnings(metrics, names=simulator.parameter_names):
        print(f"warning: {line}", file=sys.stderr)
    metrics["seconds_for_10000_samples"] = _best_of(3, lambda: model.posterior(test.y[0], 10_000))
    return metrics | {"posterior_seconds": seconds / len(test.y)}, found


def compare(
    study: Study, model, metrics: dict[str, float], train_seconds: float
) -> dict[str, float]:
    """Fills the table: the model beside the reference sampler and all that stands beside it;
    metrics of all rows.

    Args:
      metrics: of `calibrate`, for the model's own row.
    """
    config, chosen = study.config, study.chosen
    if config.reference:
        study.reference = posterior_study.reference(study.simulator, chosen.y, config)
    theta = model.posterior_theta(chosen.y, COMPARED, 2)
    found = study.row(f"{config.form} (this run)", theta, train_seconds, metrics)
    if config.correct and config.form == "conditional":
        found |= _corrected(study, model)
    if isinstance(getattr(model, "frame", None), LaplaceFrame):
        samples, seconds = _timed(
            lambda: laplace(study.simulator, chosen.y).sample(COMPARED, 5).astype(np.float32)
        )
        found |= _suffixed(study.row("Laplace approximation", samples, seconds), "laplace")
    if config.compare:
        found |= _other_form(study)
    return found if study.reference is None else found | _reference(study)


def _corrected(study: Study, model) -> dict[str, float]:
    (samples, sizes, k, divergence), seconds = _timed(
        lambda: posterior_study.corrected(model, study.chosen.y, COMPARED)
    )
    drawn, size = posterior_study.OVERSAMPLED * COMPARED, float(np.median(sizes))
    return {
        "effective_samples": size,
        "effective_share": size / drawn,
        "pareto_k_worst": float(np.max(k)),
        "kl_to_posterior": float(np.mean(divergence)),
        **_suffixed(study.row("the same, importance resampled", samples, seconds), "corrected"),
    }


def _other_form(study: Study) -> dict[str, float]:
    """The form that was not chosen, trained as long and judged on fewer pairs."""
    other, test = (
        "joint" if study.config.form == "conditional" else "conditional",
        study.parts["test"],
    )
    training = study.trained(other)
    seconds = training.trainer.run().train_seconds
    theta = training.model.posterior_theta(
        test.y[:OTHERS], min(study.config.posterior_samples, OTHERS), 1
    )
    found = posterior_report.judge(test.theta[:OTHERS], posterior_study.mended(theta)[0])
    row = study.row(
        other, training.model.posterior_theta(study.chosen.y, COMPARED, 2), seconds, found
    )
    kept = ("coverage_50", "coverage_90", "posterior_bias", "posterior_spread")
    return _suffixed({name: found[name] for name in kept} | row, other)


def _reference(study: Study) -> dict[str, float]:
    reference = study.reference
    misfit = float(
        np.median(
            posterior_study.misfit(study.simulator, reference.samples[:, :500], study.chosen.y)
        )
    )
    null, worst = float(np.median(reference.null)), float(np.max(reference.null))
    study.rows.append(
        (
            "reference, HMC (null between its halves)",
            null,
            worst,
            None,
            None,
            misfit,
            1.0,
            reference.seconds,
        )
    )
    return {**reference.metrics, "c2st_null": null}


def _by_noise(simulator, truths, x, y) -> dict[str, float]:
    """Coverage in each third of the range of noise, where it varies."""
    if not simulator.noise_varies or len(y) < 60:
        return {}
    thirds = np.array_split(np.argsort(y[:, -1]), 3)
    covered = [calibration.coverage(truths[rows], x[rows]).mean for rows in thirds]
    return {
        f"coverage_{level}_{name}_noise": float(found[i])
        for i, level in enumerate((50, 90))
        for name, found in zip(("low", "middle", "high"), covered)
    }


def costs(study: Study, metrics) -> list:
    """Seconds for 1 to 1,000 observations: training once and sampling, against a chain for each."""
    if study.reference is None:
        return []
    ahead = metrics["train_seconds"] + sum(
        study.clock.seconds.values()
    )  # of the pairs, and of taking them into the frame
    each = study.reference.seconds / len(study.chosen.y)
    rows = [(n, ahead + n * metrics["posterior_seconds"], n * each) for n in (1, 10, 100, 1000)]
    columns = (
        "observations",
        f"flow: simulation, frame, training, {study.config.posterior_samples} samples each",
        "reference, HMC",
    )
    return [("Seconds in all", columns, rows)]


def _timed(action):
    clock = Clock()
    return clock.time("it", action), clock.seconds["it"]


def _best_of(n: int, action) -> float:
    return min(_timed(action)[1] for _ in range(n))


def _suffixed(metrics: dict, suffix: str) -> dict:
    return {f"{name}_{suffix}": value for name, value in metrics.items()}
