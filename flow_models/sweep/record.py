"""The record of a sweep: sweep.yaml, table and figure beside its trials, and its MLflow run."""

from __future__ import annotations

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.runs.metric_names import is_higher_better
from flow_models.sweep import results, space
from flow_models.sweep.results import Trial

HEADER = "sweep.yaml"


@dataclasses.dataclass(frozen=True)
class Header:
    """What a sweep is, as sweep.yaml keeps it."""

    experiment: str  # of MLflow, for example flowmodels1
    space: str  # what is varied, see `space.parse`
    arguments: list[str]  # flags that all trials share
    trials: int  # draws of a search; 0 for a grid
    metric: str  # what compares the trials
    parent: str  # "<key> <name>" of the MLflow run above the trials
    mlflow: bool  # whether the sweep logs to MLflow
    tracking_uri: str  # the store that was given, or ""

    def write(self, place: str | Path) -> None:
        """Writes sweep.yaml, whole or not at all, and without passwords."""
        from flow_models.runs.tracking.folder import public

        text = public(yaml.safe_dump(dataclasses.asdict(self), sort_keys=False))
        storage.write_bytes(storage.join(place, HEADER), text.encode())


def read_header(place: str | Path) -> Header:
    """Reads sweep.yaml. Raises UserError without the file, or if it is damaged."""
    file = storage.join(place, HEADER)
    if not storage.exists(file):
        raise UserError(f"{place} is not the place of a sweep: it holds no {HEADER}")
    data = storage.read_bytes(file)
    try:
        known = yaml.safe_load(data)
        return Header(**{field.name: known[field.name] for field in dataclasses.fields(Header)})
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise UserError(f"{file} is damaged: move {place} away, and begin anew") from error


def read_trials(place: str | Path, header: Header) -> list[Trial]:
    """All trials of a grid, or those that a search has drawn by now; results as they are now.

    Raises:
      UserError: trials.csv or a metrics.json is damaged.
    """
    rows, varied = results.rows(place), space.parse(header.space)
    try:
        failed = {int(row["number"]) for row in rows if row["state"] == "failed"}
        drawn = [{name: row[name] for name in varied if header.trials} for row in rows]
    except (KeyError, ValueError) as error:
        file = storage.join(place, results.TABLE)
        raise UserError(f"{file} is damaged: move {place} away, and begin anew") from error
    settings = drawn if header.trials else space.settings(varied)
    return results.read_all(place, settings, failed)


def publish(place: str | Path, trials: Sequence[Trial], header: Header, status: str) -> None:
    """Writes trials.csv and trials.png below `place`, and brings the MLflow run up to date.

    status: of the MLflow run: RUNNING while more is to come, else FINISHED or KILLED. A store that
    does not answer costs one warning; the next call, or `sweep --show`, catches up.
    """
    from flow_models import plots

    metric = header.metric
    values = [(trial.setting, trial.value(metric)) for trial in trials]
    figure = plots.trials(values, metric, is_higher_better(metric))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, results.TABLE), Path(folder, results.FIGURE)]
        files[0].write_text(results.table(trials, metric), encoding="utf-8")
        figure.savefig(files[1], dpi=110)
        for file in files:
            storage.write_bytes(storage.join(place, file.name), file.read_bytes())
        if header.mlflow:
            _send(place, files, trials, header, status)


def _send(place, files: Sequence[Path], trials: Sequence[Trial], header: Header, status: str):
    from flow_models.runs.tracking.folder import public, reason, store_uri
    from flow_models.runs.tracking.parents import publish as send

    uri, metrics = store_uri(header.tracking_uri or None), results.summary(trials, header.metric)
    arguments = public(" ".join(header.arguments))
    settings = {"sweep": header.space, "arguments": arguments, "metric": header.metric}
    note = f"**Sweep of {header.experiment}: {header.space}**\n\n"
    note += results.described(trials, header.metric)
    try:
        send(uri, header.experiment, header.parent, metrics, settings, files, status, note)
    except Exception as error:  # MLflow's own, SQL's, the network's: none may end a sweep
        _warn(
            f"MLflow: {public(uri)}: {reason(error)}. The sweep goes on without it; python -m"
            f" flow_models sweep --show {place} sends its table later"
        )


@functools.cache
def _warn(line: str) -> None:
    """Prints the line on stderr, once."""
    print(line, file=sys.stderr, flush=True)


def show(place: str, metric: str = "") -> None:
    """Prints the state of all trials and the best setting, and publishes the sweep again.

    metric: compares the trials; "" takes the metric of the sweep.

    Raises:
      UserError: `place` holds no sweep, or a damaged one.
    """
    header = read_header(place)
    header = dataclasses.replace(header, metric=metric or header.metric)
    trials = read_trials(place, header)
    is_complete = len(trials) >= header.trials and all(t.state != "unfinished" for t in trials)
    publish(place, trials, header, "FINISHED" if is_complete else "RUNNING")
    for trial in trials:
        print(f"{trial.state:10s}  {trial.folder}  {trial.value(header.metric):.6g}")
    print(results.described(trials, header.metric))
