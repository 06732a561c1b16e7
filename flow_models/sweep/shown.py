"""Table and figure of a sweep put where they belong: beside its trials, and into the run above them
in MLflow."""

from __future__ import annotations

import csv
import functools
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.sweep import grid, results

HEADER = "sweep.yaml"
FIELDS = {
    "experiment",
    "space",
    "arguments",
    "trials",
    "metric",
    "parent",
    "mlflow",
    "tracking_uri",
}


def publish(place: str, trials: Sequence[results.Trial], header: dict, status: str) -> None:
    """trials.csv and trials.png below `place`; in MLflow, where it is on: these, counts, the best
    value, what was varied.

    header: as in sweep.yaml, see FIELDS. status: of the run, RUNNING where more is to come. A store
    that does not answer is told on stderr; the next call, or `sweep --show`, makes it good.
    """
    metric = header["metric"]
    results.write(place, trials, metric)
    if not header["mlflow"]:
        return
    from flow_models.runs.tracking.folder import public, store_uri
    from flow_models.runs.tracking.parents import publish as send
    from flow_models.runs.tracking.tracker import reason

    uri = store_uri(header["tracking_uri"] or None)
    settings = {
        "sweep": header["space"],
        "arguments": public(" ".join(header["arguments"])),
        "metric": metric,
    }
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = [_copy(place, name, Path(folder)) for name in (results.TABLE, results.FIGURE)]
            send(
                uri,
                header["experiment"],
                header["parent"],
                results.summary(trials, metric),
                settings,
                files,
                status,
            )
    except Exception as error:  # MLflow's own, SQL's, the network's: none may end a sweep
        _tell(
            f"MLflow: {public(uri)}: {reason(error)}. The sweep goes on without it; python -m"
            f" flow_models sweep --show {place} sends its table later"
        )


@functools.cache
def _tell(line: str) -> None:
    """A line on stderr, once."""
    print(line, file=sys.stderr, flush=True)


def _copy(place: str, name: str, folder: Path) -> Path:
    file = folder / name
    file.write_bytes(storage.read_bytes(storage.join(place, name)))
    return file


def show(place: str, metric: str = "") -> None:
    """Prints the best of a sweep and the state of its trials, and brings table, figure and MLflow
    up to date.

    Raises:
      UserError: no sweep is there.
    """
    header = read_header(place)
    header["metric"] = metric = metric or header["metric"]
    trials = results.collect(place, *_numbered(place, header))
    left = header.get("trials", 0) - len(trials)  # of a search: those that it has not drawn yet
    done = left <= 0 and all(trial.state != "unfinished" for trial in trials)
    publish(place, trials, header, "FINISHED" if done else "RUNNING")
    for trial in trials:
        print(f"{trial.state:10s}  {trial.folder}  {results.value(trial, metric):.6g}")
    print(results.described(trials, metric))


def read_header(place: str) -> dict:
    """sweep.yaml. Raises UserError where there is none, or it is damaged."""
    file = storage.join(place, HEADER)
    if not storage.exists(file):
        raise UserError(f"{place} is not the place of a sweep: it holds no {HEADER}")
    text = storage.read_bytes(file)
    try:
        header = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        header = None
    if not isinstance(header, dict) or not FIELDS <= set(header):
        raise UserError(f"{file} is damaged: move {place} away, and begin anew")
    return header


def write_header(place: str, header: dict) -> None:
    """sweep.yaml, whole or not at all, and without the password of a store."""
    from flow_models.runs.tracking.folder import public

    kept = header | {
        "arguments": [public(each) for each in header["arguments"]],
        "tracking_uri": public(header["tracking_uri"]),
    }
    storage.write_bytes(storage.join(place, HEADER), yaml.safe_dump(kept, sort_keys=False).encode())


def _numbered(place: str, header: dict) -> tuple[list[tuple[int, dict[str, str]]], set[int]]:
    """(number, setting) of all trials, and the numbers of those that are known to have failed."""
    space, table = grid.space(header["space"]), storage.join(place, results.TABLE)
    text = storage.read_bytes(table).decode() if storage.exists(table) else ""
    rows = list(csv.DictReader(io.StringIO(text)))
    failed = {int(row["number"]) for row in rows if row["state"] == "failed"}
    if header.get("trials"):  # a search: what it has drawn is in the table alone
        return [(int(row["number"]), {name: row[name] for name in space}) for row in rows], failed
    return list(enumerate(grid.settings(space))), failed
