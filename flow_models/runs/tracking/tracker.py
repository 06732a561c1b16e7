"""MLflow beside the training: one background thread, so that training never waits, and never fails
for its sake.

    with Tracker(run_folder, "flowmodels1") as tracker:
        tracker.start(config)
        fit(..., callback=tracker.log_row)
        tracker.finish(metrics)

A run that could not be sent goes up later: `make mlflow-upload RUN=<folder>`, which is
`python -m flow_models.runs.tracking <folder>`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from flow_models.core import storage
from flow_models.core.errors import UserError, WorkerLost
from flow_models.runs.mirror import Mirror
from flow_models.runs.tracking.folder import public, read_state, store_uri, write_state
from flow_models.runs.tracking.parents import PARENT_VARIABLE

FLUSH_SECONDS, FLUSH_ROWS = 5.0, 100  # rows are sent when either is reached
PATIENCE = 90.0  # seconds without progress after which `close` no longer waits


REASONS = (  # what a long message of the HTTP library comes down to
    ("refused", "connection refused"),
    ("aborted|reset by peer|Broken pipe|RemoteDisconnected", "connection broken off"),
    ("[Rr]esolve|Name or service", "no such host"),
    ("timed out|Timeout", "no answer in time"),
    ("too many 5|50[0-9] error", "the server answers with errors"),
)


class Tracker:
    """One run in MLflow. Its methods return at once and raise nothing for MLflow's sake; `close`
    waits for the rest.

    Args:
        run_folder: the local folder of the run; mlflow.json there remembers the run, and a resumed
          one continues it.
        experiment: name of the experiment and of the registered model.
        run_name: by default the name of the folder.
        tracking_uri: by default MLFLOW_TRACKING_URI, else the embedded store of the project (see
          `folder.store_uri`).
        enabled: False makes every method do nothing.
        shown: what the user knows the folder as, where it is the copy of one in S3.

    A run of a sweep, told so by PARENT_VARIABLE of the environment, is nested below the run of the
    sweep. As a context manager it ends the run as FINISHED, KILLED (Ctrl-C, a lost worker) or
    FAILED (any other exception).

    Raises:
        UserError: run_folder is a URL.
    """

    def __init__(
        self,
        run_folder: str | os.PathLike,
        experiment: str,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        enabled: bool = True,
        shown: str | None = None,
    ) -> None:
        if enabled and "://" in str(run_folder):
            raise UserError(
                f"MLflow tracking needs a local run folder; got {run_folder}. Turn tracking off or"
                " write locally."
            )
        self.folder, self.experiment, self.run_name, self.enabled = (
            Path(run_folder),
            experiment,
            run_name,
            enabled,
        )
        self.shown, self.uri, self.parent = (
            shown or str(run_folder),
            store_uri(tracking_uri),
            os.environ.get(PARENT_VARIABLE, ""),
        )
        self._queue: queue.Queue = queue.Queue()
        self._thread: threading.Thread | None = None
        self._store, self._down, self._warned, self._beat = None, False, False, time.monotonic()

    def start(self, config: Mapping[str, object]) -> None:
        """Begins the run, or continues the one in mlflow.json, with these settings as its
        parameters."""
        if self.enabled and self._thread is None:
            self._thread = threading.Thread(
                target=self._work, args=(dict(config),), name="mlflow", daemon=True
            )
            self._thread.start()

    def log_row(self, row: Mapping[str, object]) -> None:
        """Metrics of one step, row["step"]; what is not a finite number is left out."""
        self._put("row", dict(row))

    def finish(
        self, metrics: Mapping[str, float], artifacts: str | os.PathLike | None = None
    ) -> None:
        """Sends final metrics, the files of the run folder (`artifacts`) and its model, registered
        as a pyfunc."""
        self._put("finish", (dict(metrics), artifacts))

    def close(self, status: str = "FINISHED") -> None:
        """Ends the run as FINISHED, FAILED or KILLED, and waits until all is sent or nothing moved
        for PATIENCE s."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(("close", status))
        self._beat = time.monotonic()
        while thread.is_alive() and time.monotonic() - self._beat < PATIENCE:
            thread.join(0.2)
        if thread.is_alive():
            self._lost(TimeoutError(f"no answer within {PATIENCE:g} s"))

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind, error, trace) -> None:
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit, WorkerLost))
        right = kind is None or (stopped and getattr(error, "code", 1) in (0, None))
        self.close("FINISHED" if right else "KILLED" if stopped else "FAILED")

    def _put(self, kind: str, value: object) -> None:
        if self._thread is not None:
            self._queue.put((kind, value))

    def _work(self, config: dict) -> None:
        """The thread: opens the run, then sends what comes until it is closed."""
        self._attempt(self._open, config)
        rows, last, kind = [], time.monotonic(), "start"
        while kind != "close":
            try:
                kind, value = self._queue.get(timeout=FLUSH_SECONDS)
            except queue.Empty:
                kind, value = "idle", None
            rows += [value] if kind == "row" else []
            if rows and (
                kind != "row" or len(rows) >= FLUSH_ROWS or time.monotonic() - last > FLUSH_SECONDS
            ):
                self._attempt(self._rows, rows)
                rows, last = [], time.monotonic()
            if kind == "finish":
                self._down = False  # all is in the folder by now, so it is worth another try
                self._attempt(self._finish, config, *value)
            elif kind == "close":
                self._attempt(self._end, value)

    def _attempt(self, action, *args) -> None:
        """Runs the action unless the store is down; a failure means that it is."""
        if self._down:
            return
        try:
            action(*args)
        except Exception as error:
            self._down = True
            self._lost(error)
        self._beat = time.monotonic()

    def _open(self, config: dict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        intent = {
            "experiment": self.experiment,
            "run_name": self.run_name,
            "tracking_uri": public(self.uri),
            "parent": self.parent,
        }
        write_state(self.folder, read_state(self.folder) | intent)
        from flow_models.runs.tracking.store import Store

        store = Store(self.folder, self.experiment, self.run_name, self.uri, self.parent)
        store.open(config)
        self._store = store

    def _rows(self, rows: list) -> None:
        self._store.send_rows(rows)

    def _finish(self, config: dict, metrics: dict, artifacts) -> None:
        if self._store is None:
            self._open(config)
        for _ in self._store.send_rest(metrics, Path(artifacts or self.folder)):
            self._beat = time.monotonic()
        if self._warned:
            print("MLflow: the store answers again; the run is complete there.", file=sys.stderr)

    def _end(self, status: str) -> None:
        if self._store is not None:
            self._store.end(status)

    def _lost(self, error: BaseException) -> None:
        """One line on stderr, once a run."""
        if not self._warned:
            self._warned = True
            line = f"MLflow: {public(self.uri)}: {reason(error)}. The run goes on without it;"
            print(
                f"{line} send it later: make mlflow-upload RUN={self.shown}",
                file=sys.stderr,
                flush=True,
            )


def upload(
    run_folder: str | os.PathLike, experiment: str | None = None, tracking_uri: str | None = None
) -> str:
    """Sends a run folder to a store and returns the id of its run there; what the store has already
    is not sent again.

    experiment: by default that of mlflow.json, else the name of the folder around the run.
    tracking_uri: by default MLFLOW_TRACKING_URI, else the store that the run was meant for, else
    the embedded one. A folder in S3 is copied here for it, and told what was sent.

    Raises:
        UserError: the folder is not that of a run, or the store does not take it.
    """
    if storage.is_s3(run_folder):
        with contextlib.closing(Mirror(os.fspath(run_folder))) as mirror:
            mirror.fetch(leave_out="checkpoint")
            sent = _upload(
                mirror.path, mirror.uri, mirror.uri.split("/")[-2], experiment, tracking_uri
            )
            mirror.send()
        return sent
    folder = Path(run_folder)
    return _upload(folder, str(folder), folder.resolve().parent.name, experiment, tracking_uri)


def _upload(
    folder: Path, shown: str, around: str, experiment: str | None, tracking_uri: str | None
) -> str:
    """`upload` of a local folder that the user knows as `shown`, with the folder `around` it."""
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"{shown} is not the folder of a run: it holds no config.yaml. Give the one a training"
            " script wrote."
        )
    import yaml

    state, uri = read_state(folder), store_uri(tracking_uri, folder)
    experiment = experiment or state.get("experiment") or around
    ended = (folder / "metrics.json").is_file()
    try:
        from flow_models.runs.tracking.store import Store

        store = Store(folder, experiment, state.get("run_name"), uri, state.get("parent", ""))
        if store.is_complete():
            return store.said["run_id"]
        store.open(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {})
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8")) if ended else {}
        for _ in store.send_rest(metrics, folder):
            pass
        store.end("FINISHED" if ended else "KILLED")
    except Exception as error:
        raise UserError(
            f"MLflow at {public(uri)} did not take {shown}: {reason(error)}."
        ) from error
    return store.said["run_id"]


def reason(error: BaseException) -> str:
    """What went wrong, in a few words on one line and without passwords."""
    text = public(" ".join(str(error).split())) or type(error).__name__
    return next(
        (said for pattern, said in REASONS if re.search(pattern, text)), text[:200].rstrip(".")
    )
