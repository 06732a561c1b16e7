"""A posterior beside the reference, the Laplace approximation and the other form: one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from flow_models.applications.application import Run
from flow_models.applications.inverse import study
from flow_models.applications.inverse.problem import Clock, InverseProblem, Pairs
from flow_models.bijectors.frames import LaplaceFrame
from flow_models.core.errors import UserError, warn
from flow_models.core.memory import give_back
from flow_models.diagnostics import calibration, posterior_report
from flow_models.diagnostics.posterior import predictive_check
from flow_models.models.posteriors import log_prob_whitened, whitened_samples
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
CELLS = ("c2st", "c2st_worst", "coverage_50", "coverage_90", "misfit", "sd_ratio")
TITLE = "Posteriors side by side; C2ST and sd ratio against the reference, whose row has the null"
DENSITIES = 100  # samples of each test posterior whose density is ranked
AGAIN = 50  # samples of each test posterior that are simulated again ...
PART = 100  # ... for so many observations at a time
COMPARED = 2500  # samples a side in two-sample tests
OTHERS = 300  # pairs that the other form is judged on, and most samples of each
THIRDS = ("low", "middle", "high")  # of the range of noise


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """The test in the user's units: truths [N, P], posterior samples [N, S, P], prior sds [P]."""

    truths: np.ndarray
    x: np.ndarray
    spread: np.ndarray


def calibrate(run: Run) -> tuple[dict[str, float], Calibrated]:
    """Metrics of posteriors of the test pairs; warns of each thing that is wrong."""
    config, problem, model, test = run.config.inverse, run.problem, run.model, run.problem.test
    give_back()  # what training left
    theta, seconds = _timed(lambda: whitened_samples(model, test.y, config.posterior_samples, 1))
    theta = study.replace_outliers(theta)[0]
    x, truths = problem.physical(theta), problem.physical(test.theta)
    some = theta[:, :DENSITIES].copy()
    del theta
    give_back()
    spread = problem.physical(problem.train.theta[:20_000]).std(0, dtype=np.float64)
    found = Calibrated(truths, x, spread)
    densities = {}
    if config.form == "conditional":
        densities = {
            "log_prob_truths": log_prob_whitened(model, test.theta, test.y),
            "log_prob_samples": log_prob_whitened(model, some, test.y[:, None]),
        }
    metrics = posterior_report.posterior_metrics(
        truths, x, **densities, prior_sd=found.spread, seed=0
    )
    metrics |= _simulated_again(problem.simulator, some[:, :AGAIN], test.y)
    metrics |= _by_noise(problem.simulator, truths, x, test.y)
    warn_of(metrics, problem.simulator.parameter_names)
    posterior = lambda: model.posterior(test.y[0], 10_000)
    metrics["seconds_for_10000_samples"] = min(_timed(posterior)[1] for _ in range(3))
    return metrics | {"posterior_seconds": seconds / len(test.y)}, found


def _simulated_again(simulator, theta, y) -> dict[str, float]:
    """How far data of samples [B, S, P] lie from y [B, M], some observations at a time."""
    rms, p_values = [], []
    for first in range(0, len(y), PART):
        part = slice(first, first + PART)
        again = study.residuals(simulator, theta[part], y[part])
        rms.append(np.sqrt(np.mean(np.square(again), -1)))
        p_values.append(predictive_check(np.zeros_like(again[:, 0]), again, 1.0).p_values)
    return {
        "normalised_rms_misfit": float(np.median(np.concatenate(rms))),
        "predictive_p_below_5_percent": float(np.mean(np.concatenate(p_values) < 0.05)),
    }


def warn_of(metrics: dict[str, float], names: Sequence[str]) -> None:
    """Warns of each thing that the numbers of posteriors of the test pairs show to be wrong."""
    for line in posterior_report.warnings(metrics, names=names):
        warn(line)


def _by_noise(simulator, truths, x, y) -> dict[str, float]:
    """Coverage in each third of the range of noise, where it varies."""
    if not simulator.noise_varies or len(y) < 60:
        return {}
    thirds = np.array_split(np.argsort(y[:, -1]), 3)
    covered = [calibration.coverage(truths[rows], x[rows]).mean for rows in thirds]
    return {
        f"coverage_{level}_{name}_noise": float(found[i])
        for i, level in enumerate((50, 90))
        for name, found in zip(THIRDS, covered, strict=True)
    }


@dataclasses.dataclass
class Comparison:
    """The table as it fills, row by row.

    Attributes:
      chosen: the test pairs that all rows are of.
      reference: of these, where the settings ask for it.
    """

    run: Run
    chosen: Pairs
    reference: study.Reference | None = None
    rows: list[tuple] = dataclasses.field(default_factory=list)

    @property
    def problem(self) -> InverseProblem:
        return self.run.problem

    def add(self, name: str, theta: np.ndarray, seconds: float, calibrated=None) -> dict:
        """A row for samples [B, S, P] of the chosen observations, and its metrics."""
        theta, outliers = study.replace_outliers(theta)
        misfit = study.misfit(self.problem.simulator, theta[:, :500], self.chosen.y)
        found = {"outlier_fraction": outliers, "misfit": float(np.median(misfit))}
        if self.reference is not None:
            found |= self._against(self.reference, theta)
        given = {**(calibrated or {}), **found}
        self.rows.append((name, *(given.get(key) for key in CELLS), seconds))
        return found

    def _against(self, reference: study.Reference, theta) -> dict[str, float]:
        samples = reference.samples[:, :COMPARED]
        against = study.against_reference(theta[:, :COMPARED], samples, self.problem.simulator)
        ratio = against["sd_ratio"]
        return {
            "c2st": float(np.median(against["c2st"])),
            "c2st_worst": float(against["c2st"].max()),
            "sd_correlation_worst": float(against["sd_correlation"].min()),
            "sd_ratio": float(np.mean(ratio)),
            "sd_ratio_smallest": float(ratio.min()),
            "sd_ratio_largest": float(ratio.max()),
        }

    @property
    def table(self) -> tuple:
        return TITLE, COLUMNS, self.rows


def compare(run: Run, metrics: dict[str, float]) -> tuple[Comparison, dict[str, float]]:
    """The filled table, and the metrics of all its rows.

    Args:
      metrics: of `calibrate`, for the model's own row.
    """
    config, problem, model = run.config.inverse, run.problem, run.model
    table = Comparison(run, problem.first_test(config.references))
    if config.reference:
        table.reference = study.reference(problem.simulator, table.chosen.y, run.config)
    theta = whitened_samples(model, table.chosen.y, COMPARED, 2)
    found = table.add(f"{config.form} (this run)", theta, run.result.train_seconds, metrics)
    if config.correct and config.form == "conditional":
        found |= _corrected(table)
    if isinstance(model.frame, LaplaceFrame):
        approximated = lambda: laplace(problem.simulator, table.chosen.y)
        samples, seconds = _timed(lambda: approximated().sample(COMPARED, 5).astype(np.float32))
        found |= _suffixed(table.add("Laplace approximation", samples, seconds), "laplace")
    if config.compare:
        found |= _other_form(table)
    if table.reference is not None:
        found |= _reference(table, table.reference)
    return table, found


def _corrected(table: Comparison) -> dict[str, float]:
    corrected = lambda: study.corrected(table.run.model, table.chosen.y, COMPARED)
    (samples, sizes, k, divergence), seconds = _timed(corrected)
    size = float(np.median(sizes))
    row = table.add("the same, importance resampled", samples, seconds)
    return {
        "effective_samples": size,
        "ess_fraction": size / (study.OVERSAMPLED * COMPARED),
        "pareto_k_worst": float(np.max(k)),
        "kl_to_posterior": float(np.mean(divergence)),
        **_suffixed(row, "corrected"),
    }


def _other_form(table: Comparison) -> dict[str, float]:
    """The form that was not chosen, trained as long and judged on fewer pairs; none, and a warning,
    where it cannot be trained."""
    config, test = table.run.config.inverse, table.problem.test
    other = "joint" if config.form == "conditional" else "conditional"
    try:
        model, result = table.run.train(other, progress=None, then=False)
    except UserError as error:
        warn(f"the {other} form is left out of the comparison: {error}")
        return {}
    theta = whitened_samples(model, test.y[:OTHERS], min(config.posterior_samples, OTHERS), 1)
    theta = study.replace_outliers(theta)[0]
    found = posterior_report.posterior_metrics(test.theta[:OTHERS], theta)
    samples = whitened_samples(model, table.chosen.y, COMPARED, 2)
    row = table.add(other, samples, result.train_seconds, found)
    kept = ("coverage_50", "coverage_90", "z_score_mean", "z_score_sd")
    return _suffixed({name: found[name] for name in kept} | row, other)


def _reference(table: Comparison, reference: study.Reference) -> dict[str, float]:
    samples = reference.samples[:, :500]
    misfit = float(np.median(study.misfit(table.problem.simulator, samples, table.chosen.y)))
    null, worst = float(np.median(reference.null)), float(np.max(reference.null))
    name = "reference, HMC (null between its halves)"
    table.rows.append((name, null, worst, None, None, misfit, 1.0, reference.seconds))
    return {**reference.metrics, "c2st_null": null}


def costs(table: Comparison, metrics) -> list[tuple]:
    """Seconds for 1 to 1,000 observations: training once and sampling, against chains."""
    if table.reference is None or table.run.trainer is None:
        return []
    config = table.run.config.inverse
    ahead = metrics["train_seconds"] + sum(table.problem.clock.seconds.values())
    ahead += table.run.trainer.frame_seconds
    each = table.reference.seconds / len(table.chosen.y)
    rows = [(n, ahead + n * metrics["posterior_seconds"], n * each) for n in (1, 10, 100, 1000)]
    flow = f"flow: simulation, frame, training, {config.posterior_samples} samples each"
    return [("Seconds in all", ("observations", flow, "reference, HMC"), rows)]


def _timed(action):
    clock = Clock()
    return clock.time("it", action), clock.seconds["it"]


def _suffixed(metrics: dict, suffix: str) -> dict:
    return {f"{name}_{suffix}": value for name, value in metrics.items()}
