"""Sends a run to MLflow while it trains: one background thread, so that training neither waits nor
fails for MLflow.

    with Tracker(run_folder, "flowmodels1") as tracker:
        tracker.start(config)
        fit(..., callback=tracker.log_row)
        tracker.finish(metrics)

A run that could not be sent goes up later: `make mlflow-upload RUN=<folder>`, which is
`python -m flow_models.runs.tracking <folder>`.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from flow_models.core.errors import UserError, WorkerLost
from flow_models.runs.tracking.folder import public, read_state, reason, store_uri, write_state
from flow_models.runs.tracking.parents import PARENT_VARIABLE
from flow_models.runs.tracking.store import Store

FLUSH_SECONDS = 5.0  # between batches of rows
PATIENCE = 300.0  # seconds after which `close` stops waiting; a dead server is told much sooner


class Tracker:
    """One run in MLflow.

    The methods return at once and raise nothing on account of MLflow; only `close` waits. As a
    context manager it ends the run as FINISHED, KILLED (Ctrl-C, a lost worker) or FAILED (any
    other exception). A run of a sweep, which PARENT_VARIABLE in the environment names, is nested
    below the run of the sweep.

    Args:
      run_folder: a local folder. Its mlflow.json remembers the run, and a resumed run continues it.
      experiment: name of the experiment and of the registered model.
      run_name: by default the name of the folder.
      tracking_uri: see `folder.store_uri`.
      enabled: False makes every method do nothing.
      register: whether the model is registered at the end; never that of a run of a sweep.
      shown: what the user calls the folder, if it is the copy of one in S3.

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
        register: bool = False,
    ) -> None:
        if enabled and "://" in str(run_folder):
            raise UserError(
                f"MLflow tracking needs a local run folder; got {run_folder}. Turn tracking off or"
                " write locally."
            )
        self.folder, self.shown = Path(run_folder), shown or str(run_folder)
        self.experiment, self.run_name, self.enabled = experiment, run_name, enabled
        self.uri, self.parent = store_uri(tracking_uri), os.environ.get(PARENT_VARIABLE, "")
        self.register = register and not self.parent
        self._thread: threading.Thread | None = None
        self._store: Any = None  # a `Store`, once it is open
        self._down, self._warned = False, False
        self._rows: deque[Mapping[str, object]] = deque()
        self._results: Mapping[str, Any] | None = None  # see `finish`
        self._status, self._closing = "FINISHED", threading.Event()

    def start(self, config: Mapping[str, object]) -> None:
        """Begins the run, or continues the one in mlflow.json, with these settings as its
        parameters."""
        if self.enabled and self._thread is None:
            self._thread = threading.Thread(
                target=self._work, args=(dict(config),), name="mlflow", daemon=True
            )
            self._thread.start()

    def log_row(self, row: Mapping[str, object]) -> None:
        """Metrics at one step, row["step"]; values that are not finite numbers are left out."""
        if self._thread is not None:
            self._rows.append(dict(row))

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Has `close` send these final metrics, of which a list "warnings" becomes a tag, the files
        of the run folder, and, where that was asked for, its model, which it registers as a
        pyfunc."""
        self._results = dict(metrics)

    def close(self, status: str = "FINISHED") -> None:
        """Ends the run as FINISHED, FAILED or KILLED. Waits until all is sent, but at most
        PATIENCE seconds."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._status = status
        self._closing.set()
        thread.join(PATIENCE)
        if thread.is_alive():
            self._warn(TimeoutError(f"no answer within {PATIENCE:g} s"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, error, trace) -> None:
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit, WorkerLost))
        if kind is None or (stopped and getattr(error, "code", 1) in (0, None)):
            self.close("FINISHED")
        else:
            self.close("KILLED" if stopped else "FAILED")

    def _work(self, config: dict) -> None:
        """The thread: opens the run, sends rows until it is closed, then the rest."""
        self._attempt(self._open, config)
        while not self._closing.wait(FLUSH_SECONDS):
            self._attempt(self._send_rows)
        self._attempt(self._send_rows)
        if self._results is not None:
            self._down = False  # the folder is complete now, which is worth another attempt
            self._attempt(self._send_rest, config, self._results)
        self._attempt(self._end)

    def _attempt(self, action, *args) -> None:
        """Runs the action, unless an earlier one failed."""
        if self._down:
            return
        try:
            action(*args)
        except Exception as error:  # of MLflow, the database, the network: none may end a run
            self._down = True
            self._warn(error)

    def _open(self, config: dict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        intent = {
            "experiment": self.experiment,
            "run_name": self.run_name,
            "tracking_uri": public(self.uri),
            "parent": self.parent,
        }
        write_state(self.folder, read_state(self.folder) | intent)
        store = Store(
            self.folder, self.experiment, self.run_name, self.uri, self.parent, self.register
        )
        store.open(config)
        self._store = store

    def _send_rows(self) -> None:
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        if rows:
            self._store.send_rows(rows)

    def _send_rest(self, config: dict, metrics: Mapping[str, object]) -> None:
        if self._store is None:
            self._open(config)
        self._store.send_rest(metrics, self.folder)
        if self._warned:
            print("MLflow: the store answers again; the run is complete there.", file=sys.stderr)

    def _end(self) -> None:
        self._store.end(self._status)

    def _warn(self, error: BaseException) -> None:
        """One line on stderr, once a run."""
        if not self._warned:
            self._warned = True
            print(
                f"MLflow: {public(self.uri)}: {reason(error)}. The run goes on without it; send it"
                f" later: make mlflow-upload RUN={self.shown}",
                file=sys.stderr,
                flush=True,
            )
