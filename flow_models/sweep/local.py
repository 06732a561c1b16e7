"""A sweep on this machine, from checking its flags to printing the best setting."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from flow_models.core.errors import UserError
from flow_models.core.failures import local_failures
from flow_models.runs import scripts
from flow_models.runs.tracking.folder import public
from flow_models.sweep import record, results
from flow_models.sweep import space as spaces
from flow_models.sweep.processes import Runner
from flow_models.sweep.record import Header
from flow_models.sweep.results import Trial
from flow_models.sweep.study import Study

_WHY = "each trial has its own folder, and --resume of the sweep goes on with its trials"


def experiment_of(app: str) -> str:
    """The MLflow experiment of an application. Raises UserError if there is no such application."""
    return scripts.path_of(app).stem.removeprefix("train_")


def describe(
    app: str, space: str, arguments: Sequence[str], trials: int, metric: str, folder: Path
) -> Header:
    """Describes a sweep, after trying all its flags and values on the application's settings.

    The parameters are those of `Header`; `app` is the number or the script of the application.

    Raises:
      UserError: a flag or a value that the application does not take, or too many settings.
    """
    varied = spaces.parse(space)
    spaces.size(varied, trials)
    config = spaces.try_settings(app, arguments, varied, scripts.OF_A_RUN, _WHY)
    asked = (experiment_of(app), space, list(arguments), trials, metric)
    parent = f"{uuid.uuid4().hex} {folder.resolve().name}"
    return Header(*asked, parent, config.run.mlflow, config.run.tracking_uri)


def enter(folder: Path, asked: Header, resume: bool) -> Header:
    """Begins a sweep in an empty folder, or goes on with the same sweep that the folder holds.

    Raises:
      UserError: the folder holds something else, or a sweep and `resume` is false.
    """
    with local_failures(str(folder)):
        if not folder.is_dir() or not any(folder.iterdir()):
            folder.mkdir(parents=True, exist_ok=True)
            asked.write(folder)
            return asked
    known = record.read_header(folder)
    if not resume:
        raise UserError(
            f"{folder} holds another sweep: use --resume to go on with it, or another --output-dir"
        )
    for name in ("experiment", "space", "arguments", "trials", "metric"):
        there, wanted = str(getattr(known, name)), public(str(getattr(asked, name)))
        if there != wanted:
            raise UserError(
                f"{folder} holds a sweep with {name} {there}, not {wanted}: take another"
                " --output-dir"
            )
    return dataclasses.replace(asked, parent=known.parent, mlflow=known.mlflow)


def run(app: str, header: Header, folder: Path, jobs: int) -> int:
    """Runs the trials that are left, `jobs` at a time; returns 0 if all have a value, else 1.

    Raises:
      KeyboardInterrupt: on Ctrl-C and SIGTERM, after the running trials have saved.
    """
    study = Study(folder, header)
    runner = Runner(scripts.path_of(app), header, folder, jobs)
    where = f", MLflow: experiment {header.experiment}, run {folder.name}" if header.mlflow else ""
    print(f"{study.size} trials in {folder}{where}", flush=True)

    def ended(trial: Trial, status: int, seconds: float) -> None:
        trial = study.ended(trial.index, status)
        line = f"{spaces.words(trial.setting)}: {_outcome(trial, status, runner, header.metric)}"
        print(f"{trial.index + 1:3d} of {study.size}  {line}, {seconds:.0f} s", flush=True)
        record.publish(folder, study.trials, header, "RUNNING")

    try:
        runner.run(study.todo(), ended)
    except KeyboardInterrupt:
        record.publish(folder, study.trials, header, "KILLED")
        print(
            f"to go on where this stopped: the same command with --resume --output-dir {folder}",
            file=sys.stderr,
        )
        raise
    is_stopped = any(trial.state == "unfinished" for trial in study.trials)
    record.publish(folder, study.trials, header, "KILLED" if is_stopped else "FINISHED")
    return _conclude(study.trials, header.metric, folder)


def _outcome(trial: Trial, status: int, runner: Runner, metric: str) -> str:
    """What became of a trial: its value, or why it has none."""
    if status:
        said, log = runner.last_line(trial), runner.log(trial)
        return f"failed with status {status}: {said} (its whole output: {log})"
    if metric in trial.metrics:
        return f"{metric} {trial.value(metric):.6g}"
    return f"no metric {metric!r} in its metrics.json ({', '.join(trial.metrics)})"


def _conclude(trials: Sequence[Trial], metric: str, folder: Path) -> int:
    print(results.described(trials, metric))
    print(
        f"everything is in {folder}: {results.TABLE}, {results.FIGURE}, and a folder for each trial"
    )
    missing = [trial.folder for trial in trials if not trial.is_done(metric)]
    if missing:
        print(
            f"{len(missing)} of {len(trials)} trials have no {metric}: {', '.join(missing[:5])}"
            f"{' ...' if missing[5:] else ''}; --resume tries them again",
            file=sys.stderr,
        )
    return 1 if missing else 0
