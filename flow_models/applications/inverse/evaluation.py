"""What applications 6 and 7 report of a posterior."""

from __future__ import annotations

import numpy as np

from flow_models import plots
from flow_models.applications.application import Results, Run
from flow_models.applications.inverse import comparison, inference_data, kept, study, views
from flow_models.applications.inverse.problem import InverseProblem
from flow_models.bijectors.frames import Frame

SHOWN = 3  # test observations whose posteriors are drawn


def load(config, name: str, simulator, frame: Frame, observed, side) -> InverseProblem:
    """The problem with its pairs, or with a model that an earlier run kept for the user's data.

    Args:
      name: for the report.
      frame: of the conditional form.
      observed: the user's data [1, M], or None.
      side: module with `show(simulator, views)`.
    """
    observed = None if observed is None else np.asarray(observed, np.float32)
    problem = InverseProblem(name, simulator, frame, observed, side)
    if observed is not None and config.inverse.form == "conditional" and not config.run.resume:
        problem.reused = kept.load(kept.folder_of(config, frame), _of_kept)
    if problem.reused is None:
        problem.draw(config)
    problem.source = _summary(problem, config.inverse)
    return problem


def evaluate(run: Run) -> Results:
    """Calibration, comparisons, and the posteriors of some test data and of the user's."""
    metrics, scores, entropy = _losses(run)
    of_test, calibrated = comparison.calibrate(run)
    metrics |= of_test
    table, found = comparison.compare(run, metrics)
    shown = [views.of_test(table, i) for i in range(min(SHOWN, len(table.chosen.y)))]
    metrics |= found | {"draws_left_out": run.problem.left_out}
    _write(run, shown)
    names = run.problem.simulator.parameter_names
    figures = views.figures(names, calibrated, entropy, run.history, shown[0])
    if run.problem.observed is not None:
        shown.insert(0, views.of_observed(run, scores, metrics))
        if scores is not None:
            kept.keep(kept.folder_of(run.config, run.problem.frame), run, metrics, scores)
    figures = [*run.problem.side.show(run.problem.simulator, shown), *figures]
    costs = comparison.costs(table, {**metrics, **run.result.metrics()})
    return Results(metrics, [table.table, *costs], figures)


def _write(run: Run, shown: list[views.View]) -> None:
    """The posteriors of test observations, and their reference, for ArviZ."""
    x, y = (np.stack([getattr(view, part) for view in shown]) for part in ("samples", "y"))
    known = [view.reference for view in shown if view.reference is not None]
    reference = np.stack(known) if known else None
    inference_data.write(run, inference_data.OF_TEST, x, y, reference)


def _of_kept(run: Run) -> Results:
    """What is reported where an earlier run trained the model: the user's data alone."""
    metrics, scores = run.problem.reused.metrics, run.problem.reused.scores
    comparison.warn_of(metrics, run.problem.simulator.parameter_names)
    view = views.of_observed(run, scores, metrics)
    simulator = run.problem.simulator
    corner = plots.corner(view.samples, names=simulator.parameter_names)
    figures = [
        *run.problem.side.show(simulator, [view]),
        ("corner", corner, "Some parameters in pairs, your data."),
    ]
    summary = f"{run.problem.source} Trained before, kept in {run.problem.reused.folder}."
    return Results(metrics, figures=figures, summary=summary)


def _losses(run: Run) -> tuple[dict[str, float], np.ndarray | None, float | None]:
    """The loss beside what the Laplace approximation allows, and scores of simulated data."""
    nll = study.validation_nll(run.history)
    metrics = {"nll_val": nll, "simulations_per_second": run.problem.rate}
    if run.config.inverse.form == "joint" or run.trainer is None:
        return metrics, None, None
    log_det = run.trainer.validation["log_det"][:, 0]
    entropy = study.laplace_entropy(run.model, run.problem.validation.y, log_det)
    metrics |= {"laplace_entropy": entropy, "nats_above_laplace": nll - entropy}
    return metrics, study.simulated_scores(run.model, run.config.fit.seed), entropy


def _summary(problem: InverseProblem, asked) -> str:
    cut = ""
    if problem.left_out:
        cut = f" {problem.left_out:,} draws of the prior could not be simulated and were left out."
    simulator = problem.simulator
    return (
        f"{simulator.size} parameters, {simulator.data_size} data, {asked.simulations:,}"
        f" simulations; {max(asked.test_draws, asked.references):,} fresh pairs for"
        f" calibration.{cut}"
    )
