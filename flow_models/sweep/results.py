"""Results of a sweep: its trials, the best setting, and the table."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.runs.metric_names import is_higher_better
from flow_models.sweep import space

TABLE, FIGURE = "trials.csv", "trials.png"


@dataclass(frozen=True)
class Trial:
    """A run with one setting of the sweep."""

    index: int  # its number in the sweep, from 0
    setting: Mapping[str, str]  # the value of each name that is varied, as a flag takes it
    metrics: Mapping[str, float] = field(default_factory=dict)  # of metrics.json; none before that
    failed: bool = False  # whether its last attempt ended with an error

    @property
    def folder(self) -> str:
        """The name of its folder below that of the sweep."""
        return space.folder(self.index, self.setting)

    @property
    def state(self) -> str:
        """failed, finished or unfinished."""
        return "failed" if self.failed else "finished" if self.metrics else "unfinished"

    @property
    def unseeded(self) -> str:
        """The setting without the seed, which only repeats it, in a line of text."""
        return space.words({name: v for name, v in self.setting.items() if name != "seed"})

    def value(self, metric: str) -> float:
        """The metric; NaN without one."""
        return self.metrics.get(metric, math.nan)

    def is_done(self, metric: str) -> bool:
        """Whether it succeeded and its metric is finite."""
        return not self.failed and math.isfinite(self.value(metric))


def read(place: str | Path, index: int, setting: Mapping[str, str], failed: bool = False) -> Trial:
    """A trial with the metrics that its folder below `place`, local or s3://, holds by now.

    Raises:
      UserError: its metrics.json is damaged.
    """
    file = _metrics_file(place, index, setting)
    if not storage.exists(file):
        return Trial(index, setting, {}, failed)
    return _read(file, Trial(index, setting, {}, failed))


def read_all(place: str | Path, settings: Sequence[Mapping], failed: set[int]) -> list[Trial]:
    """The trials of these settings, as `read` has them; those in `failed` have failed.

    In S3 one listing tells which have ended, and their metrics are read sixteen at a time.
    """
    if not storage.is_s3(place):
        return [read(place, i, chosen, i in failed) for i, chosen in enumerate(settings)]
    ended = {each.uri for each in storage.list_files(place)} if storage.names(place) else set()

    def one(index: int) -> Trial:
        trial = Trial(index, settings[index], {}, index in failed)
        file = _metrics_file(place, index, settings[index])
        return _read(file, trial) if file in ended else trial

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(one, range(len(settings))))


def _metrics_file(place: str | Path, index: int, setting: Mapping[str, str]) -> str:
    return storage.join(place, space.folder(index, setting), "metrics.json")


def _read(file: str, trial: Trial) -> Trial:
    """The trial with the metrics in the file."""
    data = storage.read_bytes(file)
    try:
        found = json.loads(data)
        metrics = {name: float(v) for name, v in found.items() if name != "warnings"}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    return dataclasses.replace(trial, metrics=metrics)


def best(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """The trials of the best setting, one a seed, the best first; empty before any has a value.

    Settings with more seeds come before those with fewer; then the mean over the seeds decides.
    """
    groups: dict[str, dict[str, Trial]] = {}  # a search may draw one setting twice: it counts once
    for trial in trials:
        if math.isfinite(trial.value(metric)):
            groups.setdefault(trial.unseeded, {})[space.words(trial.setting)] = trial
    sign = -1 if is_higher_better(metric) else 1

    def rank(group: Mapping[str, Trial]) -> tuple[int, float]:
        return -len(group), sign * _mean(group.values(), metric)

    first = min(groups.values(), key=rank, default={})
    return sorted(first.values(), key=lambda trial: sign * trial.value(metric))


def _mean(trials, metric: str) -> float:
    return statistics.fmean(trial.value(metric) for trial in trials)


def described(trials: Sequence[Trial], metric: str) -> str:
    """The best setting with its mean, and its standard error over several seeds, in a line."""
    found = best(trials, metric)
    if not found:
        return f"no trial has a finite {metric}"
    setting, text = found[0].unseeded or "the one setting", f"{_mean(found, metric):.6g}"
    if len(found) > 1:
        error = statistics.stdev(trial.value(metric) for trial in found) / len(found) ** 0.5
        text += f" +- {error:.2g} over {len(found)} seeds"
    return f"best: {setting}, {metric} {text}; its best run: {found[0].folder}"


def summary(trials: Sequence[Trial], metric: str) -> dict[str, float]:
    """The metrics of the sweep's own MLflow run: counts of trials, and the best mean."""
    counts = {
        f"trials_{state}": sum(trial.state == state for trial in trials)
        for state in ("finished", "failed", "unfinished")
    }
    found = best(trials, metric)
    mean = {f"best_{metric}": _mean(found, metric)} if found else {}
    return {"trials": len(trials), **counts, **mean}


def table(trials: Sequence[Trial], metric: str) -> str:
    """trials.csv: number, state, settings, metrics (the compared one first), folder.

    A metric with the name of a setting is left out.
    """
    settings = [name for trial in trials for name in trial.setting]
    metrics = [metric, *(name for trial in trials for name in trial.metrics)]
    columns = dict.fromkeys(["number", "state", *settings, *metrics, "folder"])
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        place = {"number": trial.index, "state": trial.state, "folder": trial.folder}
        writer.writerow({**trial.metrics, **trial.setting, **place})
    return buffer.getvalue()


def rows(place: str | Path) -> list[dict[str, str]]:
    """The rows of trials.csv below `place`; none without the file."""
    file = storage.join(place, TABLE)
    text = storage.read_bytes(file).decode() if storage.exists(file) else ""
    return list(csv.DictReader(io.StringIO(text)))
