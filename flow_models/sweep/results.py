"""What came of a sweep, read from the folders of its trials: the table, the best setting, the
figure."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.sweep import grid

HIGHER = (
    "accuracy",
    "auroc",
    "aupr",
    "effective_share",
    "steps_per_second",
    "simulations_per_second",
    "latent_ks_p",
    "latent_radius_p",
)
SEED = "seed"  # what repeats a setting
TABLE, FIGURE = "trials.csv", "trials.png"


@dataclass(frozen=True)
class Trial:
    """One setting of a sweep: its number, its values, its folder's name, what metrics.json says,
    and whether it failed."""

    index: int
    setting: Mapping[str, str]
    metrics: Mapping[str, float]
    failed: bool = False

    @property
    def folder(self) -> str:
        return grid.folder(self.index, self.setting)

    @property
    def state(self) -> str:
        return "finished" if self.metrics else "failed" if self.failed else "unfinished"

    @property
    def repeated(self) -> dict[str, str]:
        """The setting without its seed."""
        return {name: value for name, value in self.setting.items() if name != SEED}


def is_higher_better(metric: str) -> bool:
    return metric.startswith(HIGHER)


def collect(
    place: str | Path,
    settings: Iterable[tuple[int, Mapping[str, str]]],
    failed: Collection[int] = (),
) -> list[Trial]:
    """Numbered settings with what their folders below `place`, local or s3://, hold by now."""
    return [
        Trial(i, chosen, _metrics(storage.join(place, grid.folder(i, chosen))), i in failed)
        for i, chosen in settings
    ]


def _metrics(folder: str) -> dict[str, float]:
    place = storage.join(folder, "metrics.json")
    if not storage.exists(place):
        return {}
    try:
        return {name: float(value) for name, value in json.loads(storage.read_bytes(place)).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{place} is damaged: {error}") from error


def value(trial: Trial, metric: str) -> float:
    """NaN where there is none."""
    return trial.metrics.get(metric, math.nan)


def by_setting(trials: Sequence[Trial], metric: str) -> list[tuple[dict[str, str], list[float]]]:
    """Each setting with its finite values, one a seed; the settings with most values first, the
    best of these first."""
    groups: dict[
        tuple, dict[tuple, float]
    ] = {}  # a search may draw a setting again: that is no other seed
    for trial in trials:
        found = value(trial, metric)
        if math.isfinite(found):
            groups.setdefault(tuple(trial.repeated.items()), {})[tuple(trial.setting.items())] = (
                found
            )
    sign = -1 if is_higher_better(metric) else 1
    listed = [(names, list(values.values())) for names, values in groups.items()]
    ranked = sorted(listed, key=lambda group: (-len(group[1]), sign * statistics.fmean(group[1])))
    return [(dict(names), values) for names, values in ranked]


def best(trials: Sequence[Trial], metric: str) -> tuple[dict[str, str], list[float], Trial] | None:
    """The best setting, its values, and its best trial; None where nothing has finished."""
    ranked = by_setting(trials, metric)
    if not ranked:
        return None
    setting, values = ranked[0]
    sign = -1 if is_higher_better(metric) else 1
    mine = [
        trial
        for trial in trials
        if trial.repeated == setting and math.isfinite(value(trial, metric))
    ]
    return setting, values, min(mine, key=lambda trial: sign * value(trial, metric))


def spread(values: Sequence[float]) -> str:
    """Mean, and standard error where there are several: 0.312 +- 0.004 over 3 seeds."""
    if len(values) == 1:
        return f"{values[0]:.6g}"
    return (
        f"{statistics.fmean(values):.6g} +- {statistics.stdev(values) / len(values) ** 0.5:.2g}"
        f" over {len(values)} seeds"
    )


def summary(trials: Sequence[Trial], metric: str) -> dict[str, float]:
    """The metrics of the run above: counts, and the best mean."""
    counts = {
        f"trials_{state}": sum(trial.state == state for trial in trials)
        for state in ("finished", "failed", "unfinished")
    }
    found = best(trials, metric)
    return {"trials": len(trials), **counts} | (
        {f"best_{metric}": statistics.fmean(found[1])} if found else {}
    )


def described(trials: Sequence[Trial], metric: str) -> str:
    """The best setting, in a line."""
    found = best(trials, metric)
    if not found:
        return f"no trial has a finite {metric}"
    return (
        f"best: {grid.words(found[0]) or 'the one setting'}, {metric} {spread(found[1])}; its best"
        f" run: {found[2].folder}"
    )


def table(trials: Sequence[Trial], metric: str) -> str:
    """trials.csv: number, state, settings, then the metrics, first the one that is compared."""
    settings = list(dict.fromkeys(name for trial in trials for name in trial.setting))
    metrics = list(dict.fromkeys([metric, *(name for trial in trials for name in trial.metrics)]))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "state", *settings, *metrics, "folder"])
    for trial in trials:
        cells = [trial.setting.get(name, "") for name in settings] + [
            trial.metrics.get(name, "") for name in metrics
        ]
        writer.writerow([trial.index, trial.state, *cells, trial.folder])
    return buffer.getvalue()


def write(place: str | Path, trials: Sequence[Trial], metric: str) -> None:
    """trials.csv and trials.png below `place`, local or s3://."""
    from flow_models import plots

    storage.write_bytes(storage.join(place, TABLE), table(trials, metric).encode())
    buffer = io.BytesIO()
    shown = [(trial.setting, value(trial, metric)) for trial in trials]
    plots.trials(shown, metric, is_higher_better(metric)).savefig(buffer, format="png", dpi=110)
    storage.write_bytes(storage.join(place, FIGURE), buffer.getvalue())
