"""What a run of the user's own problem reports."""

from __future__ import annotations

import sys
import tempfile

import numpy as np

from flow_models import plots
from flow_models.applications import own_training
from flow_models.applications.application import Figure, Results, Run, Table
from flow_models.applications.inverse import comparison, inference_data, study, views
from flow_models.applications.inverse.observed import quantile_table
from flow_models.applications.inverse.own import OwnRun, samples
from flow_models.core.errors import UserError, warn
from flow_models.diagnostics import posterior_report
from flow_models.simulators import ahead
from flow_models.simulators.ahead import Ahead

DENSITIES = 100  # samples of each posterior whose density is ranked
SHOWN = 20  # parameters of the table of your data, and values of a parameter
MOST = 100  # rows of data whose posteriors are written; `sample MODEL --observed` draws any
DISCRETE = ("integer", "count", "categorical")
LEVELS = (0.05, 0.5, 0.95)


def evaluate(run: Run) -> Results:
    """Calibration on fresh pairs, what failed, and the posteriors of the user's data."""
    problem: OwnRun = run.problem
    said, tables, found = _training(run)
    test = problem.fair_test(run.config)
    metrics, calibrated = _calibrated(run, test)
    metrics |= found | {"failed_fraction": problem.counts[1] / sum(problem.counts)}
    metrics["nll_val"] = float(run.result.kept_objective)
    tables, figures = tables + _failed(problem), []
    view = views.View("test_1", "test simulation 1", test.y[0], calibrated.x[0], test.y[:1])
    if problem.observed is not None:
        scores = run.model.anomaly_score(test.y)
        seen, found = _observed(run, scores)
        metrics |= found
        if seen is not None:
            view = seen
            tables += [_table(problem, view), *_probabilities(problem, view)]
            figures = _simulated_again(run, view, metrics)
    names = problem.user.names
    figures += views.figures(names, calibrated, None, run.history, view)
    x = calibrated.x[: views.SHOWN_TESTS]
    inference_data.write(run, inference_data.OF_TEST, x, test.y[: len(x)])
    return Results(metrics, tables, figures, f"{problem.source} Training: {said}.")


def _training(run: Run) -> tuple[str, list[Table], dict[str, float]]:
    """When it was best and whether more pairs would help, in words; the learning curve where it is
    asked for; the share of the network's draws inside the bounds, with a warning if it is low."""
    problem: OwnRun = run.problem
    ready = problem.ready or problem.prepare(run.config)
    said = own_training.ending(run.result, ready.rows, ready.settings)
    print(said, file=sys.stderr)
    share = own_training.share_inside(ready)
    if share < own_training.LOW:
        warn(
            f"only {share:.1%} of the network's draws are inside the bounds of the prior, and the"
            " others are drawn again: --truncate false trains one that knows them"
        )
    found = {"inside_fraction": share}
    if not run.config.learning_curve:
        return said, [], found
    fresh = lambda: problem.fresh(run.config).model
    curve = own_training.learning_curve(ready, fresh, run.result)
    return said, [("Learning curve", ("training pairs", "-log p of held-out pairs"), curve)], found


def _calibrated(run: Run, test: ahead.Pairs) -> tuple[dict[str, float], comparison.Calibrated]:
    """Metrics of posteriors of the test pairs; warns of each thing that is wrong."""
    model, config = run.model, run.config
    if len(test.x) < 20:
        raise UserError(f"{len(test.x)} valid test pairs, at least 20 are needed: raise test_pairs")
    x = samples(model, test.y, config.posterior_samples, 1)
    spread = run.problem.train.x[run.problem.train.valid].std(0)
    log_p = model.log_prob(test.x, test.y)
    metrics = posterior_report.posterior_metrics(
        test.x, x, log_p, model.log_prob(x[:, :DENSITIES], test.y[:, None]), test.y, spread
    )
    metrics["nll_test"] = -float(np.mean(log_p))
    comparison.warn_of(metrics, run.problem.user.names)
    return metrics, comparison.Calibrated(test.x, x, spread)


def _failed(problem: OwnRun) -> list[Table]:
    """Simulations and their failures, where there are some."""
    (valid, failed), known = problem.counts, int((~problem.train.valid).sum())
    if not failed:
        return []
    some = [("failed", failed), (f"of {known:,} of them:", "")] if known < failed else []
    rows = [("valid", valid), *some, *problem.train.failures()]
    return [("Simulations", ("what came of them", "how many"), rows)]


def _observed(run: Run, scores: np.ndarray) -> tuple[views.View | None, dict[str, float]]:
    """The posteriors of the user's data: quantiles and samples as files, and the first to look at;
    none where no row has one."""
    model, problem = run.model, run.problem
    observed, names = problem.observed, problem.user.names
    p = study.p_values(model, observed, scores)
    found = {
        "observed_p_value": float(p.min()),
        "observed_rows": float(len(p)),
        "observed_strange_rows": float(np.sum(p <= study.alarm(scores))),
    }
    drawn = _drawn(model, observed[:MOST])
    if not drawn:
        return None, found
    rows, x = list(drawn), np.stack(list(drawn.values()))
    labels = [str(row + 1) for row in rows]
    run.folder.write_text("posterior.csv", quantile_table(x, names, labels))
    inference_data.write(run, inference_data.OF_OBSERVED, x, observed[rows])
    if not problem.train.valid.all():
        shares = problem.validity.probability(x[0])
        found["observed_valid_fraction"] = float(shares.mean())
    first = observed[rows[0]]
    caption = "your data" if len(observed) == 1 else f"row {labels[0]} of your data"
    return views.View("observed", caption, first, x[0], first[None]), found


def _drawn(model, observed: np.ndarray) -> dict[int, np.ndarray]:
    """Samples of the posterior of each row; rows that have none are told of."""
    found = {}
    for row, y in enumerate(observed):
        try:
            found[row] = samples(model, y, views.OBSERVED, 0)
        except UserError as error:
            warn(f"row {row + 1} of your data has no posterior: {error}")
    return found


def _table(problem: OwnRun, view: views.View) -> Table:
    """Mean, sd and quantiles of the parameters."""
    x = view.samples
    quantiles = np.quantile(x, LEVELS, axis=0)
    rows = [
        (name, x[:, i].mean(), x[:, i].std(), *quantiles[:, i])
        for i, name in enumerate(problem.user.names[:SHOWN])
    ]
    columns = ("parameter", "mean", "sd", *(f"{level:.0%}" for level in LEVELS))
    return f"Posterior of {view.caption}", columns, rows


def _probabilities(problem: OwnRun, view: views.View) -> list[Table]:
    """Of the values of each parameter that is no continuous number."""
    rows = []
    for name, column in zip(problem.user.names, view.samples.T):
        if problem.user.kinds.get(name) in DISCRETE:
            values, counts = np.unique(column, return_counts=True)
            likely = np.sort(np.argsort(-counts, kind="stable")[:SHOWN])
            rows += [(name, f"{values[i]:g}", counts[i] / len(column)) for i in likely]
    title = f"Probabilities of {view.caption}"
    return [(title, ("parameter", "value", "probability"), rows)] if rows else []


def _simulated_again(run: Run, view: views.View, metrics: dict[str, float]) -> list[Figure]:
    """Data of posterior samples over the user's; adds their misfit to the metrics."""
    config, user = run.config, run.problem.user
    if not config.resimulations:
        return []
    x = view.samples[: config.resimulations]
    with tempfile.TemporaryDirectory() as folder:
        try:
            again = Ahead(user, folder, (config.fit.seed, 0, 1), config.jobs)
            pairs = again.pairs(x, "simulating again")
        except UserError as error:
            warn(f"the posterior of your data cannot be simulated again: {error}")
            return []
    predicted = pairs.y[pairs.valid]
    spread = np.maximum(predicted.std(0), 1e-12 * np.abs(predicted).max(0) + 1e-300)
    off = (view.y - predicted.mean(0)) / spread
    metrics["observed_misfit"] = float(np.sqrt(np.mean(np.square(off))))
    metrics["resimulations_failed"] = float(np.sum(~pairs.valid))
    place = np.arange(1, len(view.y) + 1)
    figure = plots.predicted_data(place, view.y, predicted, spread, position_label="datum")
    caption = f"Data simulated again from the posterior, noise included, over {view.caption}."
    return [("predicted", figure, caption)]
