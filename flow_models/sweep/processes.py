"""Runs trials on this machine, each as a process with a folder and a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flow_models.runs.tracking.parents import PARENT_VARIABLE
from flow_models.sweep import space
from flow_models.sweep.record import Header
from flow_models.sweep.results import Trial

LOGS = "logs"
PAUSE = 0.1  # seconds between looks at the running trials


@dataclass(frozen=True)
class Runner:
    """Runs trials of a script in the folder of a sweep, `jobs` at a time."""

    script: Path
    header: Header
    folder: Path
    jobs: int = 1

    def run(self, todo: Iterator[Trial], ended: Callable[[Trial, int, float], None]) -> None:
        """Runs all trials to their end, and calls `ended(trial, exit status, seconds)` for each.

        On Ctrl-C, SIGTERM or an error, tells the running trials to save and stop, and waits.
        """
        running: list[tuple[subprocess.Popen, Trial, float]] = []
        try:
            while True:
                while len(running) < self.jobs and (trial := next(todo, None)):
                    running.append((self._start(trial), trial, time.monotonic()))
                if not running:
                    return
                time.sleep(PAUSE)
                for each in [each for each in running if each[0].poll() is not None]:
                    running.remove(each)
                    process, trial, began = each
                    ended(trial, process.returncode, time.monotonic() - began)
        finally:
            for process, *_ in running:
                process.send_signal(signal.SIGTERM)
            for process, *_ in running:
                process.wait()

    def _start(self, trial: Trial) -> subprocess.Popen:
        """A process in a group of its own: Ctrl-C reaches it once, by way of this process."""
        command = [sys.executable, str(self.script), *self.header.arguments]
        command += [*space.flags(trial.setting), "--resume"]
        command += ["--output-dir", str(self.folder / trial.folder)]
        (self.folder / LOGS).mkdir(exist_ok=True)
        with self.log(trial).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | {PARENT_VARIABLE: self.header.parent},
            )

    def log(self, trial: Trial) -> Path:
        """The file that holds what the trial prints."""
        return self.folder / LOGS / f"{trial.folder}.log"

    def last_line(self, trial: Trial) -> str:
        """The last line that the trial has printed."""
        text = self.log(trial).read_text(errors="replace").strip()
        return text.splitlines()[-1] if text else "it printed nothing"
