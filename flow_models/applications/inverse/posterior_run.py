"""One run of an inverse problem, from pairs drawn ahead to the report: what the scripts of the
applications call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flow_models import plots
from flow_models.applications.inverse import (
    kept_model,
    posterior_study,
    posterior_table,
    posterior_views,
)
from flow_models.applications.inverse.posterior_table import Study
from flow_models.runs.folder import RunFolder, machine_metrics

SHOWN = 3  # test observations whose posteriors are drawn


def run_study(
    config,
    application: str,
    simulator,
    frame,
    observed: np.ndarray | None,
    show: Callable,
    title: str,
    joint: dict,
) -> None:
    """Trains, judges and shows; or, for data of one's own and a geometry that was trained before,
    shows at once.

    Args:
      observed: the user's data [1, M], or None.
      show: show(simulator, views) -> [(name, figure, caption)], the figures of the application.
      joint: options of `posterior_study.joint`.
    """
    observed = None if observed is None else np.asarray(observed, np.float32)
    study = Study(config, simulator, frame, joint)
    folder = RunFolder(config, application)
    kept = (
        kept_model.folder_of(config, frame)
        if observed is not None and config.form == "conditional"
        else None
    )
    found = kept_model.load(kept) if kept and not config.resume else None
    if found:
        print(f"a model of this geometry and these settings is there: {kept}", file=sys.stderr)
        with folder:
            _finish_kept(folder, kept, found, study, observed, show, title)
        return
    study.draw()
    training = study.clock.time(
        "frame", lambda: study.trained(config.form, folder=folder.checkpoints, resume=config.resume)
    )
    with folder:
        result = training.trainer.run(on_epoch=folder.log_epoch)
        metrics, scores = _losses(study, training, result.history)
        training.model.save(folder.model)
        metrics, figures, views = _judged(study, training, result, metrics)
        if observed is not None:
            views = [
                posterior_views.of_observed(folder, training.model, observed, scores, metrics),
                *views,
            ]
        if kept:
            kept_model.keep(kept, training.model, result.history, metrics, scores)
        _finish(folder, study, result.history, metrics, title, [*show(simulator, views), *figures])


def _losses(study: Study, training, history) -> tuple[dict[str, float], np.ndarray | None]:
    """The loss beside what the Laplace approximation allows; trains p(y) too, and gives its scores
    of simulated data."""
    metrics = {
        "nll_val": posterior_study.validation_nll(history),
        "simulations_per_second": study.rate,
    }
    if study.config.form == "joint":
        return metrics, None
    posterior_study.data_density(training.model, study.config, training.contexts).run()
    above = metrics["nll_val"] - training.entropy
    metrics |= {"laplace_entropy": training.entropy, "nats_above_laplace": above}
    return metrics, posterior_study.simulated_scores(training.model, study.config.seed)


def _judged(study: Study, training, result, metrics):
    """All metrics, the figures that do not depend on the application, and views of test
    posteriors."""
    model = training.model
    found, calibrated = posterior_table.calibrate(study, model)
    found |= posterior_table.compare(study, model, found, result.train_seconds)
    views = [
        posterior_views.of_test(study, model, i) for i in range(min(SHOWN, len(study.chosen.y)))
    ]
    metrics |= found | {**result.metrics(), **machine_metrics(), "draws_left_out": study.left_out}
    return (
        metrics,
        posterior_views.figures(
            study.simulator.parameter_names, calibrated, training, result.history, views[0]
        ),
        views,
    )


def _finish(folder, study: Study, history, metrics, title, figures) -> None:
    tables = [
        (posterior_table.TABLE, posterior_table.COLUMNS, study.rows),
        *posterior_table.costs(study, metrics),
    ]
    folder.finish(
        history,
        metrics,
        title,
        _summary(study.simulator, study.config, study.left_out),
        [(folder.write_figure(name, figure), caption) for name, figure, caption in figures],
        tables,
    )


def _finish_kept(folder, kept: Path, found, study, observed, show, title) -> None:
    model, history, scores, metrics = found
    model.save(folder.model)
    view = posterior_views.of_observed(folder, model, observed, scores, metrics)
    figures = [
        *show(study.simulator, [view]),
        (
            "corner",
            plots.corner(view.samples, names=study.simulator.parameter_names),
            "Some parameters in pairs, your data.",
        ),
    ]
    folder.finish(
        history,
        metrics,
        title,
        f"{_summary(study.simulator, study.config, study.left_out)} Trained before, kept in"
        f" {kept}.",
        [(folder.write_figure(name, figure), caption) for name, figure, caption in figures],
    )


def _summary(simulator, config, left_out: int) -> str:
    cut = (
        f" {left_out:,} draws of the prior could not be simulated and were left out."
        if left_out
        else ""
    )
    return (
        f"{simulator.size} parameters, {simulator.data_size} data, {config.simulations:,}"
        f" simulations; {max(config.test_draws, config.references):,} fresh pairs for"
        f" calibration.{cut}"
    )
