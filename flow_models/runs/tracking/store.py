"""One run folder in one MLflow store: what is sent, and what was sent already. Raises what MLflow
raises."""

from __future__ import annotations

import getpass
import logging
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from flow_models.runs.tracking import parents
from flow_models.runs.tracking.folder import PACKAGE, digest, files, history, number, public, read_state, requirements, write_state

KIND = {
    "mlflow.experimentKind": "custom_model_development"
}  # the view that MLflow's pages open an experiment in
BATCH_METRICS, BATCH_PARAMS = 900, 100  # MLflow takes 1,000 metrics and 100 parameters a request
# A server that is down is told within seconds; MLflow's own settings would try for four minutes.
# The rest is chatter.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class Store:
    """The conversation with one store about one run folder. parent: of the run above it, see
    `parents`."""

    def __init__(
        self, folder: Path, experiment: str, run_name: str | None, uri: str, parent: str = ""
    ) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow import MlflowClient

        if uri.startswith("sqlite:///"):
            _make_embedded(Path(uri.removeprefix("sqlite:///")))
        self.folder, self.experiment, self.run_name, self.uri, self.parent = (
            folder,
            experiment,
            run_name,
            uri,
            parent,
        )
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.run, self.points = None, set()

    @property
    def said(self) -> dict:
        """What mlflow.json remembers of this store: run_id, files and model, the digests of what
        was sent."""
        return read_state(self.folder)["stores"].get(public(self.uri), {})

    def remember(self, **what: str | None) -> None:
        state = read_state(self.folder)
        state |= {"experiment": self.experiment, "run_name": self.run_name}
        state["stores"][public(self.uri)] = self.said | what
        write_state(self.folder, state)

    def is_complete(self) -> bool:
        """Whether this store has the run with all its files as they are now."""
        return (
            self.said.get("files") == digest(files(self.folder)) and self._known_run() is not None
        )

    def open(self, config: Mapping[str, object]) -> None:
        """Continues the run of mlflow.json where the store has it, else makes one, and sends the
        settings."""
        self.run = self._known_run()
        if self.run is None:
            name, experiment, tags = (
                self.run_name or self.folder.resolve().name,
                self.experiment_id(),
                self.tags(),
            )
            if self.parent:
                tags[parents.ABOVE] = parents.find_or_make(
                    self.client, experiment, self.parent, tags
                )
            self.run = self.client.create_run(experiment, run_name=name, tags=tags)
            self.remember(run_id=self.run.info.run_id, files=None, model=None)
        else:
            run_id = self.run.info.run_id
            self.client.update_run(run_id, status="RUNNING")
            points = [
                self.client.get_metric_history(run_id, name) for name in self.run.data.metrics
            ]
            self.points = {(point.key, point.step) for line in points for point in line}
        self._send_settings(config)

    def send_rows(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Metrics over steps. A point that the store has, or that is not a finite number, is left
        out."""
        from mlflow.entities import Metric

        metrics = []
        for row in rows:
            step, moment = int(row["step"]), self._moment(row.get("seconds"))
            for name, value in row.items():
                value = number(value)
                if name != "step" and math.isfinite(value) and (name, step) not in self.points:
                    metrics.append(Metric(name, value, moment, step))
        for start in range(0, len(metrics), BATCH_METRICS):
            part = metrics[start : start + BATCH_METRICS]
            self.client.log_batch(self.run.info.run_id, metrics=part)
            self.points |= {(metric.key, metric.step) for metric in part}

    def send_rest(self, metrics: Mapping[str, float], folder: Path) -> Iterable[None]:
        """All that the folder holds and the store has not, and the final metrics; yields between
        the parts."""
        from mlflow.entities import Metric

        run_id, rows = self.run.info.run_id, history(folder)
        self.send_rows(rows)
        step, moment = (
            (int(rows[-1]["step"]), self._moment(rows[-1].get("seconds")))
            if rows
            else (0, self._moment(0.0))
        )
        finite = {name: value for name in metrics if math.isfinite(value := number(metrics[name]))}
        self.client.log_batch(
            run_id, metrics=[Metric(name, value, moment, step) for name, value in finite.items()]
        )
        yield
        sent = files(folder)
        done = digest(sent)
        for path in sent:
            inside = path.parent.relative_to(folder).as_posix()
            self.client.log_artifact(run_id, str(path), None if inside == "." else inside)
            yield
        if (folder / "model" / "model.json").is_file():
            yield from self._send_model(folder / "model")
        self.remember(files=done)

    def end(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self.client.set_terminated(self.run.info.run_id, status)

    def tags(self) -> dict[str, str]:
        """Of a new run: what made it, and who."""
        return {
            "mlflow.source.name": Path(sys.argv[0]).name,
            "mlflow.source.type": "LOCAL",
            "mlflow.user": _user(),
        }

    def _known_run(self):
        """The run that mlflow.json names, or None where the store has it not, or has it deleted."""
        from mlflow.exceptions import MlflowException

        if "run_id" not in self.said:
            return None
        try:
            run = self.client.get_run(self.said["run_id"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def experiment_id(self) -> str:
        """The id of the experiment, made where there is none; artifacts of an embedded store lie
        beside it.

        Where a server on the same database made it, its artifacts go through that server only: then
        "<name>-local".
        """
        from mlflow.exceptions import MlflowException

        name, found = self.experiment, self.client.get_experiment_by_name(self.experiment)
        place = None
        if self.uri.startswith("sqlite:///"):
            if found is not None and found.artifact_location.startswith("mlflow-artifacts:"):
                name += "-local"
                found = self.client.get_experiment_by_name(name)
            place = (
                Path(self.uri.removeprefix("sqlite:///")).parent / "mlartifacts" / _safe(name)
            ).as_uri()
        if found is None:
            try:
                return self.client.create_experiment(name, artifact_location=place, tags=KIND)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
        return found.experiment_id

    def _send_settings(self, config: Mapping[str, object]) -> None:
        """Settings as parameters. MLflow keeps a parameter for good: one that a resumed run changed
        becomes a tag."""
        from mlflow.entities import Param, RunTag

        kept = self.run.data.params
        texts = {_safe(name): str(value)[:6000] for name, value in config.items()}
        params = [Param(name, text) for name, text in texts.items() if name not in kept]
        tags = [
            RunTag(f"resumed.{name}", text)
            for name, text in texts.items()
            if kept.get(name, text) != text
        ]
        for start in range(0, max(len(params), 1), BATCH_PARAMS):
            self.client.log_batch(
                self.run.info.run_id, params=params[start : start + BATCH_PARAMS], tags=tags
            )

    def _send_model(self, folder: Path) -> Iterable[None]:
        """The model as a pyfunc of the run, registered under the name of the experiment; once for
        each state of it."""
        import mlflow.pyfunc
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model

        from flow_models.runs.tracking import serving

        run = self.run.info
        state = digest(sorted(path for path in folder.iterdir() if path.is_file()))
        if self.said.get("model") == state:
            return
        example = serving.example(folder)
        yield
        logged = self.client.create_logged_model(
            run.experiment_id, "model", run.run_id, model_type="normalizing flow"
        )
        card = Model(
            logged.artifact_location,
            run.run_id,
            model_id=logged.model_id,
            model_uuid=logged.model_id,
        )
        with tempfile.TemporaryDirectory() as place:
            mlflow.pyfunc.save_model(
                f"{place}/model",
                python_model=serving.__file__,
                artifacts={"model": str(folder.resolve())},
                code_paths=[str(PACKAGE)],
                signature=serving.signature(example.shape[1:]),
                input_example=example,
                pip_requirements=requirements(folder),
                mlflow_model=card,
            )
            yield
            self.client.log_model_artifacts(logged.model_id, f"{place}/model")
        yield
        self.client.finalize_logged_model(logged.model_id, "READY")
        self.client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        name = _safe(self.experiment)
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # The place itself, as "models:/<id>" would be looked up in MLflow's global store, which may
        # be another one.
        self.client.create_model_version(
            name, logged.artifact_location, run.run_id, model_id=logged.model_id
        )
        self.remember(model=state)

    def _moment(self, seconds: object) -> int:
        """The time of a row, in ms: that of the run and its seconds since, so that a row sent twice
        is one point."""
        offset = number(seconds)
        return (
            self.run.info.start_time + int(1000 * offset)
            if math.isfinite(offset)
            else int(1000 * time.time())
        )


def _make_embedded(path: Path) -> None:
    """Makes the database, by one process at a time and under another name first: MLflow itself does
    neither."""
    import fcntl

    from mlflow import MlflowClient

    if path.exists():
        return
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            partial = Path(f"{path}.partial")
            partial.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
            os.replace(partial, path)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _safe(name: str) -> str:
    """A name that MLflow takes for a parameter, a registered model and a folder."""
    return re.sub(r"[^\w.\- ]", "-", str(name))[:250]
