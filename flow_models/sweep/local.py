"""A sweep on this machine, from the check of its flags to the line that says which setting is
best."""

from __future__ import annotations

import math
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from flow_models.core.errors import UserError
from flow_models.core.failures import local_failures
from flow_models.runs import scripts
from flow_models.runs.tracking.folder import public
from flow_models.sweep import grid, results, shown
from flow_models.sweep.grid import Range
from flow_models.sweep.shown import HEADER
from flow_models.sweep.study import Study, size_of
from flow_models.sweep.trials import Runner

_WHY = "each trial has its own folder, and --resume of the sweep goes on with its trials"


@dataclass(frozen=True)
class Sweep:
    """What is asked for; `run` does it.

    Attributes:
      app: the application.
      space: what is varied, see `grid.space`.
      arguments: flags of all trials.
      trials: settings of a search, 0: the grid.
      metric: what trials are compared by.
      jobs: trials at a time.
      folder: where all goes.
    """

    app: str
    space: str
    arguments: tuple[str, ...]
    trials: int
    metric: str
    jobs: int
    folder: Path
    resume: bool

    def run(self) -> int:
        """The exit status: 0 where every trial has a value, else 1.

        Raises:
          UserError: flags or settings that the script does not take, or a folder that holds
          something else.
        """
        config, space = self.check()
        header = self._open(config)
        study = Study(
            self.folder, space, self.trials, results.is_higher_better(self.metric), self.resume
        )
        said = f"{study.size} trials in {self.folder}"
        print(
            said
            + (
                f", MLflow: experiment {header['experiment']}, run {self.folder.name}"
                if config.mlflow
                else ""
            ),
            flush=True,
        )

        def tell(line: str, index: int) -> None:
            print(f"{index + 1:3d} of {study.size}  {line}", flush=True)
            self._publish(header, study, "RUNNING")

        runner = Runner(
            scripts.path_of(self.app),
            self.arguments,
            self.folder,
            header["parent"],
            self.metric,
            tell,
            self.jobs,
        )
        try:
            runner.run(study)
        except KeyboardInterrupt:
            self._publish(header, study, "KILLED")
            print(
                "to go on where this stopped: the same command with --resume --output-dir"
                f" {self.folder}",
                file=sys.stderr,
            )
            raise
        done = self._publish(header, study, "KILLED" if runner.stopped else "FINISHED")
        return self._conclude(done)

    def check(self):
        """The settings of the first trial, and the space; every value of a list is tried on the
        script's settings."""
        space, script = grid.space(self.space), scripts.load(self.app)
        size_of(space, self.trials)
        scripts.refuse([*self.arguments, *(f"--{name}" for name in space)], scripts.OF_A_RUN, _WHY)
        trials = [
            grid.flags({name: each}) for name, values in space.items() for each in _ends(values)
        ]
        return [scripts.settings(script, [*self.arguments, *trial]) for trial in trials][0], space

    def _open(self, config) -> dict:
        """sweep.yaml of the folder, read or made."""
        experiment = scripts.path_of(self.app).stem.removeprefix("train_")
        asked = {
            "experiment": experiment,
            "space": self.space,
            "arguments": list(self.arguments),
            "trials": self.trials,
            "metric": self.metric,
        }
        with local_failures(str(self.folder)):
            if self.folder.is_dir() and any(self.folder.iterdir()):
                return self._known(asked) | {"tracking_uri": config.tracking_uri}
            self.folder.mkdir(parents=True, exist_ok=True)
            header = asked | {
                "parent": f"{uuid.uuid4().hex} {self.folder.resolve().name}",
                "mlflow": config.mlflow,
                "tracking_uri": config.tracking_uri,
            }
            shown.write_header(str(self.folder), header)
            return header

    def _known(self, asked: dict) -> dict:
        """sweep.yaml of a folder that is not empty. Raises UserError where it is not this sweep's,
        or not to be resumed."""
        if not (self.folder / HEADER).is_file():
            raise UserError(
                f"{self.folder} is not the folder of a sweep (no {HEADER}): take another"
                " --output-dir"
            )
        if not self.resume:
            raise UserError(
                f"{self.folder} holds another sweep: use --resume to go on with it, or another"
                " --output-dir"
            )
        header = shown.read_header(str(self.folder))
        asked["arguments"] = [public(each) for each in self.arguments]
        other = [
            f"{name} {header.get(name)!r}, not {value!r}"
            for name, value in asked.items()
            if header.get(name) != value
        ]
        if other:
            raise UserError(
                f"{self.folder} holds a sweep with {other[0]}: take another --output-dir"
            )
        return header

    def _publish(self, header: dict, study: Study, status: str) -> list[results.Trial]:
        """The table and the figure, here and in MLflow, of what has come so far."""
        trials = results.collect(self.folder, study.settings(), study.failed())
        shown.publish(str(self.folder), trials, header, status)
        return trials

    def _conclude(self, trials: list[results.Trial]) -> int:
        print(results.described(trials, self.metric))
        print(
            f"everything is in {self.folder}: {results.TABLE}, {results.FIGURE}, and a folder a"
            " trial"
        )
        without = [
            trial
            for trial in trials
            if not math.isfinite(results.value(trial, self.metric)) or trial.failed
        ]
        if without:
            print(
                f"{len(without)} of {len(trials)} trials have no {self.metric}:"
                f" {', '.join(trial.folder for trial in without[:5])}{' ...' if len(without) > 5 else ''};"
                " --resume tries them anew",
                file=sys.stderr,
            )
        return 1 if without else 0


def _ends(values) -> list[str]:
    """What to try of one setting: all values, or the ends of a range."""
    if not isinstance(values, Range):
        return values
    return [f"{int(each)}" if values.whole else f"{each:g}" for each in (values.low, values.high)]
