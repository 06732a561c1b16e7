"""Train one application with many settings, and say which is best.

    python -m flow_models sweep 1 learning_rate=1e-3,3e-3 depth=3,5 --args="--data moons --steps 3000"
    python -m flow_models sweep 1 learning_rate=1e-3,3e-3 --seeds 3                 each setting with three seeds
    python -m flow_models sweep 1 learning_rate=1e-4..1e-2:log depth=3..6 --trials 20        a search over ranges
    python -m flow_models sweep --show runs/flowmodels1/sweep          of a sweep here, or of an array job: s3://...

Values are a grid, tried in order; ranges are searched (Optuna's TPE), where later trials learn from
earlier ones. Each trial is a run of its own, in <output-dir>/<number>-<setting> and in MLflow below
one run, which gets the table and the figure of all. A trial that fails is told, and the sweep goes
on. Ctrl-C stops after the running trial has saved; the same command with --resume goes on, and
tries failed trials anew. Ends with status 0 if all trials have a value, else 1.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from pathlib import Path

from flow_models.core.errors import UserError
from flow_models.sweep import METRIC

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "app", nargs="?", metavar="APP", help="number of the application, or its script"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="SETTING=VALUES",
        help="value,value or low..high or low..high:log",
    )
    parser.add_argument(
        "--args",
        default="",
        metavar="TEXT",
        help="flags that all trials have: --args='--data moons'",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=0,
        metavar="N",
        help="each setting with seeds 0 .. N - 1; a search draws one of them",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=0,
        metavar="N",
        help="settings to draw (default: the grid of all values)",
    )
    parser.add_argument(
        "--metric",
        default="",
        metavar="NAME",
        help=f"of metrics.json, to compare by (default {METRIC})",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="trials at a time (default 1)"
    )
    parser.add_argument(
        "--output-dir",
        default="",
        metavar="FOLDER",
        help="default runs/flowmodels<APP>/sweep_<time>",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the sweep in the output-dir"
    )
    parser.add_argument(
        "--show",
        default="",
        metavar="PLACE",
        help="a sweep's folder or s3:// place: table and figure anew, and the best",
    )


def run(given: argparse.Namespace) -> None:
    from flow_models.sweep import local, shown

    if given.show:
        if given.app:
            raise UserError("--show is of a sweep that there is: give no application with it")
        shown.show(given.show, given.metric)
        return
    if not given.app or not given.settings and not given.seeds:
        raise UserError(
            "sweep needs an application and what to vary: sweep 1 learning_rate=1e-3,3e-3; --help"
            " says more"
        )
    if min(given.seeds, given.trials) < 0 or given.jobs < 1:
        raise UserError(
            f"--seeds {given.seeds} --trials {given.trials} --jobs {given.jobs}: whole numbers,"
            " --jobs from 1"
        )
    try:
        flags = tuple(shlex.split(given.args))
    except ValueError as error:
        raise UserError(f"--args {given.args!r}: {error}") from error
    seeds = [f"seed={','.join(map(str, range(given.seeds)))}"] if given.seeds else []
    sweep = local.Sweep(
        given.app,
        " ".join([*given.settings, *seeds]),
        flags,
        given.trials,
        given.metric or METRIC,
        given.jobs,
        _folder(given),
        given.resume,
    )
    status = sweep.run()
    if status:
        sys.stdout.flush()
        sys.exit(status)


def _folder(given: argparse.Namespace) -> Path:
    if given.resume and not given.output_dir:
        raise UserError("--resume needs --output-dir, the folder of the sweep to go on with")
    if "://" in given.output_dir:
        raise UserError(
            f"--output-dir {given.output_dir}: a sweep on one machine writes locally; into S3 goes"
            " an array job (make batch-submit SWEEP=)"
        )
    name = Path(given.app).name.removesuffix(".py").removeprefix("train_")
    name = name if name.startswith("flowmodels") else f"flowmodels{name}"
    return Path(
        given.output_dir or f"runs/{name}/sweep_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
    )
