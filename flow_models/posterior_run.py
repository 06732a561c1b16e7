"""One run of an inverse problem, from pairs drawn ahead to the report: what the scripts of the applications call."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from flow_models import kept_model, plots, posterior_study
from flow_models.diagnostics import calibration, posterior_report
from flow_models.diagnostics.posterior import contraction_and_z, predictive_check
from flow_models.frames import LaplaceFrame
from flow_models.observed import quantile_table
from flow_models.pairs import Clock, Pairs, draw_parts
from flow_models.simulators.laplace import laplace
from flow_models.run import RunFolder, machine_metrics

COLUMNS = ("posterior", "C2ST, median", "C2ST, worst", "coverage 50%", "coverage 90%", "rms misfit, sigma", "sd ratio", "seconds")
TABLE = "Posteriors side by side; C2ST and sd ratio against the reference, null of the C2ST in its row"
COMPARED = 2500  # samples a side in two-sample tests
OTHERS = 300  # pairs that the form beside the chosen one is judged on, and most samples of each


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
        self.parts, self.rate = self.clock.time("simulate", lambda: draw_parts(self.simulator, self.config, self.config.test_draws))

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

    def compare(self, name: str, theta: np.ndarray, seconds: float, calibration: dict | None = None) -> dict[str, float]:
        """A row of the table for samples [B, S, P] of the chosen observations, and its metrics."""
        theta, broken = posterior_study.mended(theta)
        found = {"broken_samples": broken, "misfit": float(np.median(posterior_study.misfit(self.simulator, theta[:, :500], self.chosen.y)))}
        if self.reference is not None:
            against = posterior_study.against_reference(theta[:, :COMPARED], self.reference.samples[:, :COMPARED], self.simulator)
            found |= {"c2st": float(np.median(against["c2st"])), "c2st_worst": float(against["c2st"].max()),
                      "sd_correlation_worst": float(against["sd_correlation"].min()), "sd_ratio": float(np.mean(against["sd_ratio"])),
                      "sd_ratio_smallest": float(against["sd_ratio"].min()), "sd_ratio_largest": float(against["sd_ratio"].max())}  # fmt: skip
        given = {**(calibration or {}), **found}
        cells = [given.get(key, float("nan")) for key in ("c2st", "c2st_worst", "coverage_50", "coverage_90", "misfit", "sd_ratio")]
        self.rows.append((name, *cells, seconds))
        return found


def run_study(config, application: str, simulator, frame, observed: np.ndarray | None, show: Callable, title: str,
              joint: dict) -> None:  # fmt: skip
    """Trains, judges and shows; or, for data of one's own and a geometry that was trained before, shows at once.

    Args:
      observed: the user's data [1, M], or None.
      show: show(simulator, views) -> [(name, figure, caption)], the figures of the application.
      joint: options of `posterior_study.joint`.
    """
    observed = None if observed is None else np.asarray(observed, np.float32)
    study = Study(config, simulator, frame, joint)
    folder = RunFolder(config, application)
    kept = kept_model.folder_of(config, frame) if observed is not None and config.form == "conditional" else None
    found = kept_model.load(kept) if kept and not config.resume else None
    if found:
        print(f"a model of this geometry and these settings is there: {kept}", file=sys.stderr)
        with folder:
            _finish_kept(folder, kept, found, study, observed, show, title)
        return
    study.draw()
    training = study.clock.time("frame", lambda: study.trained(config.form, folder=folder.checkpoints, resume=config.resume))
    with folder:
        result = training.trainer.run(on_epoch=folder.log_epoch)
        model, metrics = training.model, {"nll_val": posterior_study.validation_nll(result.history), "simulations_per_second": study.rate}
        scores = None
        if config.form == "conditional":
            metrics |= {"laplace_entropy": training.entropy, "nats_above_laplace": metrics["nll_val"] - training.entropy}
            posterior_study.data_density(model, config, training.contexts).run()
            scores = posterior_study.simulated_scores(model, config.seed)
        model.save(folder.model)
        found, figures, views = _judge(study, model, training, result)
        metrics |= found | {**result.metrics(), **machine_metrics(), "draws_left_out": study.left_out}
        if observed is not None:
            views = [_observed(folder, model, observed, scores, metrics), *views]
        if kept:
            kept_model.keep(kept, model, result.history, metrics, scores)
        figures = [*show(simulator, views), *figures]
        folder.finish(result.history, metrics, title, _summary(simulator, config, study.left_out),
                      [(folder.write_figure(name, figure), caption) for name, figure, caption in figures],
                      [(TABLE, COLUMNS, study.rows), *_costs(study, metrics)])  # fmt: skip


def _judge(study: Study, model, training, result):
    """Metrics, figures of calibration, and the posteriors to look at."""
    config, test, simulator = study.config, study.parts["test"], study.simulator
    theta, seconds = _timed(lambda: model.posterior_theta(test.y, config.posterior_samples, 1))
    theta = posterior_study.mended(theta)[0]
    x, truths = np.asarray(simulator.physical(tf.constant(theta))), np.asarray(simulator.physical(tf.constant(test.theta)))
    spread = np.asarray(simulator.physical(tf.constant(study.parts["train"].theta[:20_000]))).std(0)
    densities = {}
    if config.form == "conditional":
        densities = {"log_prob_truths": model.log_prob_theta(test.theta, test.y),
                     "log_prob_samples": model.log_prob_theta(theta[:, :100], test.y[:, None])}  # fmt: skip
    metrics = posterior_report.judge(truths, x, **densities, prior_sd=spread, seed=0)
    again = posterior_study.residuals(simulator, theta[:, :50], test.y)
    metrics["resimulation_error"] = float(np.median(np.sqrt(np.mean(np.square(again), -1))))
    metrics["predictive_p_below_5_percent"] = float(np.mean(predictive_check(np.zeros_like(again[:, 0]), again, 1.0).p_values < 0.05))
    metrics |= _by_noise(simulator, truths, x, test.y)
    for line in posterior_report.warnings(metrics, names=simulator.parameter_names):
        print(f"warning: {line}", file=sys.stderr)
    metrics["seconds_for_10000_samples"] = _best_of(3, lambda: model.posterior(test.y[0], 10_000))
    metrics["posterior_seconds"] = seconds / len(test.y)
    if config.reference:
        study.reference = posterior_study.reference(simulator, study.chosen.y, config)
        metrics |= study.reference.metrics
    chosen, took = _timed(lambda: model.posterior_theta(study.chosen.y, COMPARED, 2))
    metrics |= study.compare(f"{config.form} (this run)", chosen, result.train_seconds, metrics)
    metrics |= _others(study, model)
    views = [_view(study, model, i) for i in range(min(3, len(study.chosen.y)))]
    return metrics, _figures(study, truths, x, spread, training, result, views), views


def _others(study: Study, model) -> dict[str, float]:
    """Rows of what stands beside the flow: its correction, Laplace, the other form, the reference's own halves."""
    config, metrics = study.config, {}
    if config.correct and config.form == "conditional":
        (samples, sizes, k, divergence), seconds = _timed(lambda: posterior_study.corrected(model, study.chosen.y, COMPARED))
        metrics |= {"effective_samples": float(np.median(sizes)), "effective_share": float(np.median(sizes)) / (posterior_study.OVERSAMPLED * COMPARED),
                    "pareto_k_worst": float(np.max(k)), "kl_to_posterior": float(np.mean(divergence))}  # fmt: skip
        metrics |= _suffixed(study.compare("the same, importance resampled", samples, seconds), "corrected")
    if isinstance(getattr(model, "frame", None), LaplaceFrame):
        samples, seconds = _timed(lambda: laplace(study.simulator, study.chosen.y).sample(COMPARED, 5).astype(np.float32))
        metrics |= _suffixed(study.compare("Laplace approximation", samples, seconds), "laplace")
    if config.compare:
        other = "joint" if config.form == "conditional" else "conditional"
        training = study.trained(other)
        result = training.trainer.run()
        test = study.parts["test"]
        drawn = training.model.posterior_theta(test.y[:OTHERS], min(config.posterior_samples, OTHERS), 1)
        found = posterior_report.judge(test.theta[:OTHERS], posterior_study.mended(drawn)[0])
        metrics |= _suffixed({key: found[key] for key in ("coverage_50", "coverage_90", "posterior_bias", "posterior_spread")}, other)
        chosen = training.model.posterior_theta(study.chosen.y, COMPARED, 2)
        metrics |= _suffixed(study.compare(other, chosen, result.train_seconds, found), other)
    if study.reference is not None:
        halves = study.reference.null
        misfit = float(np.median(posterior_study.misfit(study.simulator, study.reference.samples[:, :500], study.chosen.y)))
        nan = float("nan")
        study.rows.append(("reference, HMC (null between its halves)", float(np.median(halves)), float(np.max(halves)), nan, nan, misfit, 1.0,
                           study.reference.seconds))  # fmt: skip
        metrics["c2st_null"] = float(np.median(halves))
    return metrics


def _by_noise(simulator, truths, x, y) -> dict[str, float]:
    """Coverage in each third of the range of noise, where it varies."""
    if not simulator.noise_varies or len(y) < 60:
        return {}
    thirds = np.array_split(np.argsort(y[:, -1]), 3)
    covered = [calibration.coverage(truths[rows], x[rows]).mean for rows in thirds]
    return {f"coverage_{level}_{name}_noise": float(found[i]) for i, level in enumerate((50, 90))
            for name, found in zip(("low", "middle", "high"), covered)}  # fmt: skip


def _view(study: Study, model, i: int) -> View:
    chosen, physical = study.chosen, study.simulator.physical
    theta = posterior_study.mended(model.posterior_theta(chosen.y[i], COMPARED, 4))[0]
    reference = None if study.reference is None else np.asarray(physical(tf.constant(study.reference.samples[i])))
    return View(f"test_{i + 1}", f"test observation {i + 1}", chosen.y[i], np.asarray(physical(tf.constant(theta))),
                _predicted(study.simulator, theta), np.asarray(physical(tf.constant(chosen.theta[i : i + 1])))[0], reference)  # fmt: skip


def _predicted(simulator, theta):
    return np.asarray(simulator.forward(tf.constant(theta[:300])))


def _figures(study, truths, x, spread, training, result, views):
    """Calibration, one corner plot, and the training."""
    names, n = study.simulator.parameter_names, x.shape[1]
    ranks = calibration.sbc_ranks(truths, x)
    perfect = None
    if training.entropy is not None:
        latent = truths.shape[1] / 2 * (1 + np.log(2 * np.pi))
        perfect = {"objective": training.entropy, "latent": latent, "log_det": latent - training.entropy}
    return [
        ("corner", plots.corner(views[0].samples, views[0].truth, views[0].reference, names), "Some parameters in pairs, test observation 1."),
        ("ranks", plots.rank_histograms(ranks, n, names), "Ranks of the truth among posterior samples: uniform where the posterior is right."),
        ("coverage", plots.coverage_curve(calibration.coverage(truths, x, np.linspace(0.05, 0.95, 19)), calibration.tarp(truths, x)),
         "Share of truths inside intervals, against what the intervals claim."),
        ("contraction", plots.contraction(*contraction_and_z(truths, x, spread), names), "What the data taught, and how far off posteriors are."),
        ("training", plots.training_curves(result.history, perfect), "Training; dashed: what the mean Laplace entropy allows."),
    ]  # fmt: skip


def _observed(folder, model, observed, scores, metrics) -> View:
    """The posterior of the user's data: a CSV of quantiles, a warning where they are unlike all that is simulated."""
    theta, broken = posterior_study.mended(model.posterior_theta(observed[0], 10_000, 0))
    if broken:
        print(f"warning: {broken:.1%} of the samples for your data lie where no prior sample does; prior samples are in "
              "their place", file=sys.stderr)  # fmt: skip
    x = np.asarray(model.simulator.physical(tf.constant(theta)))
    folder.write_text("posterior.csv", quantile_table(x[None], model.columns))
    metrics["observed_misfit"] = float(np.median(posterior_study.misfit(model.simulator, theta[None, :500], observed)))
    if scores is not None:
        metrics["observed_p_value"] = float(posterior_study.p_values(model, observed, scores)[0])
    return View("observed", "your data", observed[0].astype(np.float32), x, _predicted(model.simulator, theta))


def _finish_kept(folder, kept: Path, found, study, observed, show, title) -> None:
    model, history, scores, metrics = found
    model.save(folder.model)
    view = _observed(folder, model, observed, scores, metrics)
    figures = [*show(study.simulator, [view]),
               ("corner", plots.corner(view.samples, names=study.simulator.parameter_names), "Some parameters in pairs, your data.")]  # fmt: skip
    folder.finish(history, metrics, title, f"{_summary(study.simulator, study.config, study.left_out)} Trained before, kept in {kept}.",
                  [(folder.write_figure(name, figure), caption) for name, figure, caption in figures])  # fmt: skip


def _summary(simulator, config, left_out: int) -> str:
    cut = f" {left_out:,} draws of the prior could not be simulated and were left out." if left_out else ""
    return (f"{simulator.size} parameters, {simulator.data_size} data, {config.simulations:,} simulations; "
            f"{config.test_draws:,} fresh pairs for calibration.{cut}")  # fmt: skip


def _costs(study: Study, metrics):
    """Seconds for 1 to 1,000 observations: training once and sampling, against a chain for each."""
    if study.reference is None:
        return []
    ahead = metrics["train_seconds"] + sum(study.clock.seconds.values())  # of the pairs, and of taking them into the frame
    each = study.reference.seconds / len(study.chosen.y)
    rows = [(n, ahead + n * metrics["posterior_seconds"], n * each) for n in (1, 10, 100, 1000)]
    columns = ("observations", f"flow: simulation, frame, training, {study.config.posterior_samples} samples each", "reference, HMC")
    return [("Seconds in all", columns, rows)]


def _timed(action):
    clock = Clock()
    return clock.time("it", action), clock.seconds["it"]


def _best_of(n: int, action) -> float:
    return min(_timed(action)[1] for _ in range(n))


def _suffixed(metrics: dict, suffix: str) -> dict:
    return {f"{name}_{suffix}": value for name, value in metrics.items()}
