"""One run folder in one MLflow store. Raises what MLflow raises."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flow_models.runs.history import read_history, to_number
from flow_models.runs.tracking import about, registry
from flow_models.runs.tracking.client import connect, experiment_id, ignored, origin_tags, safe_name
from flow_models.runs.tracking.folder import digest, files, public, read_state, write_state
from flow_models.runs.tracking.parents import ABOVE, find_or_make

MOST_METRICS, MOST_PARAMS = 900, 100  # MLflow accepts 1,000 metrics and 100 parameters a request
LONGEST = 6000  # characters of a parameter that every store accepts
LONGEST_TAG = 5000  # characters of a tag


class Store:
    """Sends a run folder to a store, and nothing that is there already.

    Args:
      folder: the run folder, whose mlflow.json remembers what was sent.
      parent: "<key> <name>" of the run above, see `parents`; empty: none.
      register: register the model that the folder holds.
    """

    def __init__(
        self,
        folder: Path,
        experiment: str,
        run_name: str | None,
        uri: str,
        parent: str = "",
        register: bool = False,
    ) -> None:
        self.client = connect(uri)
        self.folder, self.experiment, self.run_name = folder, experiment, run_name
        self.uri, self.parent, self.register = uri, parent, register
        self.run: Any = None  # MLflow's, once it is open
        self.points: set[tuple[str, int]] = set()  # (metric, step) that the store has

    @property
    def sent(self) -> dict:
        """What mlflow.json knows of this store: `run_id`, and digests of the `files` and the
        `model` that were sent."""
        return read_state(self.folder)["stores"].get(public(self.uri), {})

    def is_complete(self) -> bool:
        """Whether the store has the run with all its files as they are now."""
        return (
            self.sent.get("files") == digest(files(self.folder))
            and not (self.register and self.sent.get("model") is None)
            and self._known_run() is not None
        )

    def open(self, config: Mapping[str, object]) -> None:
        """Continues the run of mlflow.json where the store has it, else creates one, and sends the
        settings."""
        self.run = self._known_run()
        if self.run is None:
            self.run = self._new_run()
            self._remember(run_id=self.run.info.run_id, files=None, model=None)
        else:
            run_id = self.run.info.run_id
            self.client.update_run(run_id, status="RUNNING")
            for name in self.run.data.metrics:
                points = self.client.get_metric_history(run_id, name)
                self.points |= {(name, point.step) for point in points}
        self._send_settings(config)
        self._send_about()

    def send_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Sends metrics over steps, but for points that the store has and values that are not
        finite."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, to_number(value), self._moment(row), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name != "step" and (name, int(row["step"])) not in self.points
        ]
        finite = [metric for metric in metrics if math.isfinite(metric.value)]
        for part in _parts(finite, MOST_METRICS):
            self.client.log_batch(self.run.info.run_id, metrics=part)
            self.points |= {(metric.key, metric.step) for metric in part}

    def send_rest(self, metrics: Mapping[str, Any], folder: Path) -> None:
        """Sends final metrics and all that the folder holds and the store does not have; warnings
        become a tag."""
        if told := metrics.get("warnings"):
            self.client.set_tag(self.run.info.run_id, "warnings", "\n".join(told)[:LONGEST_TAG])
        self._send_note(metrics)
        rows = read_history(folder)
        self.send_rows(rows)
        self._send_metrics(metrics, rows[-1] if rows else {"step": 0, "seconds": 0.0})
        paths = files(folder)
        sent = digest(paths)
        for path in paths:
            inside = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(
                self.run.info.run_id, str(path), None if inside == "." else inside
            )
        if self.register and (folder / "model" / "model.json").is_file():
            self._send_model(folder / "model")
        self._remember(files=sent)

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run.info.run_id, status)

    def _known_run(self):
        """The run that mlflow.json names; None where the store does not have it, or deleted it."""
        if "run_id" in self.sent:
            with ignored("RESOURCE_DOES_NOT_EXIST"):
                run = self.client.get_run(self.sent["run_id"])
                return run if run.info.lifecycle_stage == "active" else None
        return None

    def _new_run(self):
        experiment, tags = experiment_id(self.client, self.uri, self.experiment), origin_tags()
        if self.parent:
            tags[ABOVE] = find_or_make(self.client, experiment, self.parent, tags)
        name = self.run_name or self.folder.resolve().name
        return self.client.create_run(experiment, run_name=name, tags=tags)

    def _send_settings(self, config: Mapping[str, object]) -> None:
        """Sends settings as parameters. MLflow never changes a parameter, so a setting that a
        resumed run changed becomes a tag."""
        from mlflow.entities import Param

        run_id, known = self.run.info.run_id, self.run.data.params
        texts = {safe_name(name): str(value)[:LONGEST] for name, value in config.items()}
        params = [Param(name, text) for name, text in texts.items() if name not in known]
        for part in _parts(params, MOST_PARAMS):
            self.client.log_batch(run_id, params=part)
        for name, text in texts.items():
            if known.get(name, text) != text:
                self.client.set_tag(run_id, f"resumed.{name}", text)

    def _send_about(self) -> None:
        """Sends tags, data sets and a description of the run and of a new experiment."""
        known, run_id = about.read(self.folder), self.run.info.run_id
        if not known:
            return
        for name, value in known["tags"].items():
            self.client.set_tag(run_id, name, public(value)[:LONGEST_TAG])
        self.client.log_inputs(run_id, datasets=about.data_sets(known))
        experiment = self.client.get_experiment(self.run.info.experiment_id)
        if about.NOTE not in experiment.tags:
            title = known["title"].partition(":")[0]
            self.client.set_experiment_tag(experiment.experiment_id, about.NOTE, title)
        self._send_note({})

    def _send_note(self, metrics: Mapping[str, Any]) -> None:
        """Describes the run, unless a user has written another description by now."""
        known, run_id = about.read(self.folder), self.run.info.run_id
        there = self.client.get_run(run_id).data.tags.get(about.NOTE)
        if known and there in (None, "", self.sent.get("note")):
            text = about.note(known, metrics)[:LONGEST_TAG]
            self.client.set_tag(run_id, about.NOTE, text)
            self._remember(note=text)

    def _send_metrics(self, metrics: Mapping[str, Any], row: Mapping[str, float]) -> None:
        """Sends final metrics at the step and the time of a row."""
        from mlflow.entities import Metric

        finite = {
            name: value for name in metrics if math.isfinite(value := to_number(metrics[name]))
        }
        moment, step = self._moment(row), int(row["step"])
        self.client.log_batch(
            self.run.info.run_id,
            metrics=[Metric(name, value, moment, step) for name, value in finite.items()],
        )

    def _send_model(self, folder: Path) -> None:
        """Registers the model, once for each of its states."""
        state = digest(sorted(path for path in folder.iterdir() if path.is_file()))
        if self.sent.get("model") != state:
            run = self.client.get_run(self.run.info.run_id)
            registry.register(self.client, run, self.experiment, folder)
            self._remember(model=state)

    def _moment(self, row: Mapping[str, object]) -> int:
        """The time of a row in ms, from the start of the run: a row sent twice is one point."""
        seconds = to_number(row.get("seconds"))
        if not math.isfinite(seconds):
            return int(1000 * time.time())
        return self.run.info.start_time + int(1000 * seconds)

    def _remember(self, **what: str | None) -> None:
        state = read_state(self.folder)
        state |= {"experiment": self.experiment, "run_name": self.run_name}
        state["stores"][public(self.uri)] = self.sent | what
        write_state(self.folder, state)


def _parts(items: Sequence, size: int) -> Iterator[Sequence]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
