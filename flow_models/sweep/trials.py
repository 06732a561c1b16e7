"""Runs the trials of a sweep on this machine: a process each, some at a time, every one in a folder
of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flow_models.core.errors import EX_TEMPFAIL
from flow_models.runs.tracking.parents import PARENT_VARIABLE
from flow_models.sweep import grid, results
from flow_models.sweep.study import Study

LOGS = "logs"
PAUSE = 0.1  # seconds between looks at the running trials
STOPPED = (EX_TEMPFAIL, 130)  # what a run ends with that was told to stop and can go on


@dataclass
class Runner:
    """Trials of a script, `jobs` at a time.

    Args:
      script: path of the script.
      arguments: flags that all trials have.
      folder: of the sweep.
      parent: for MLflow, "<key> <name>" of the run above.
      metric: of metrics.json, what a trial is judged by.
      told: called with the line of each trial that has ended, and its number.
    """

    script: Path
    arguments: tuple[str, ...]
    folder: Path
    parent: str
    metric: str
    told: Callable[[str, int], None]
    jobs: int = 1
    stopped: set[int] = field(default_factory=set)
    _running: dict = field(default_factory=dict)

    def run(self, study: Study) -> None:
        """All trials that are left. On Ctrl-C, SIGTERM and errors the running ones are told to save
        and stop first."""
        try:
            more = True
            while more or self._running:
                while more and len(self._running) < self.jobs:
                    taken = study.take()
                    more = taken is not None
                    if taken:
                        self._running[taken[0]] = (
                            self._start(taken[1], taken[2]),
                            time.monotonic(),
                            *taken[1:],
                        )
                self._look(study)
                time.sleep(PAUSE)
        except BaseException:
            self._stop()
            raise

    def _start(self, index: int, setting: Mapping[str, str]) -> subprocess.Popen:
        """A process of its own group, so that Ctrl-C comes to it once, from here."""
        name = grid.folder(index, setting)
        command = [
            sys.executable,
            str(self.script),
            *self.arguments,
            *grid.flags(setting),
            "--output-dir",
            str(self.folder / name),
            "--resume",
        ]
        (self.folder / LOGS).mkdir(exist_ok=True)
        with self.log(index, setting).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {PARENT_VARIABLE: self.parent},
            )

    def log(self, index: int, setting: Mapping[str, str]) -> Path:
        return self.folder / LOGS / f"{grid.folder(index, setting)}.log"

    def _look(self, study: Study) -> None:
        """Tells the study of the trials that have ended."""
        for number, (process, began, index, setting) in list(self._running.items()):
            status = process.poll()
            if status is None:
                continue
            del self._running[number]
            if status in STOPPED:
                self.stopped.add(index)
                self.told(
                    f"{grid.words(setting)}: stopped from outside, --resume goes on with it", index
                )
                continue
            (trial,) = results.collect(self.folder, [(index, setting)])
            value = trial.metrics.get(self.metric) if status == 0 else None
            study.tell(number, value)
            said = f"{self.metric} {value:.6g}" if value is not None else self._why(status, trial)
            self.told(f"{grid.words(setting)}: {said}, {time.monotonic() - began:.0f} s", index)

    def _why(self, status: int, trial: results.Trial) -> str:
        """What a trial without a value has said last."""
        log = self.log(trial.index, trial.setting)
        if status == 0:
            return f"no metric {self.metric!r} in its metrics.json ({', '.join(trial.metrics)})"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return (
            f"failed with status {status}: {lines[-1] if lines else 'it said nothing'} (all it"
            f" said: {log})"
        )

    def _stop(self) -> None:
        """Tells the running trials to save, and waits for them."""
        for process, *_ in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process, *_ in self._running.values():
            process.wait()
