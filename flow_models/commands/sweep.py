"""Train one application with many settings, and say which is best.

    python -m flow_models sweep 1 learning_rate=1e-3,3e-3 depth=3,5 --args="--data moons"
    python -m flow_models sweep 1 learning_rate=1e-3,3e-3 --seeds 3    # each setting with 3 seeds
    python -m flow_models sweep 1 learning_rate=1e-4..1e-2:log depth=3..6 --trials 20  # a search
    python -m flow_models sweep --show runs/flowmodels1/sweep    # or of an array job: s3://...

Values make a grid, which is tried in order. Ranges are searched with Optuna's TPE, which learns
from the earlier trials. Each trial is a run in <output-dir>/<number>-<setting>; in MLflow it is
nested below one run, which holds the table and the figure of all. A trial that fails is reported,
and the sweep goes on. Ctrl-C stops the sweep after the running trials have saved; the same command
with --resume goes on, and tries failed trials again. The exit status is 0 if all trials have a
value, else 1.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from flow_models.commands import flags
from flow_models.core.errors import UserError
from flow_models.sweep import METRIC

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    add = parser.add_argument
    add("app", nargs="?", metavar="APP", help="number of the application, or its script")
    values = "value,value or low..high or low..high:log"
    add("settings", nargs="*", metavar="SETTING=VALUES", help=values)
    shared = "flags that all trials share: --args='--data moons'"
    add("--args", default="", metavar="TEXT", help=shared)
    seeds = "try each setting with seeds 0 to N - 1; a search draws one of them"
    add("--seeds", type=int, default=0, metavar="N", help=seeds)
    draws = "number of settings to draw (default: the grid of all values)"
    add("--trials", type=int, default=0, metavar="N", help=draws)
    metric = f"the metric in metrics.json that compares the trials (default {METRIC})"
    add("--metric", default="", metavar="NAME", help=metric)
    add("--jobs", type=int, default=1, metavar="N", help="trials at a time (default 1)")
    place = "default runs/flowmodels<APP>/sweep_<time>"
    add("--output-dir", default="", metavar="FOLDER", help=place)
    add("--resume", action="store_true", help="go on with the sweep in --output-dir")
    show = "print the results of a sweep, a folder or s3:// place, and publish them again"
    add("--show", default="", metavar="PLACE", help=show)


def run(given: argparse.Namespace) -> None:
    """Runs or shows a sweep; exits with status 1 if a trial has no value."""
    from flow_models.sweep import local, record

    if given.show:
        if given.app:
            raise UserError("--show is for a sweep that exists: give no application with it")
        record.show(given.show, given.metric)
        return
    _check(given)
    seeds = [f"seed={','.join(map(str, range(given.seeds)))}"] if given.seeds else []
    space, folder = " ".join([*given.settings, *seeds]), _folder(given)
    metric = given.metric or METRIC
    asked = local.describe(given.app, space, flags(given.args), given.trials, metric, folder)
    header = local.enter(folder, asked, given.resume)
    status = local.run(given.app, header, folder, given.jobs)
    if status:
        sys.stdout.flush()
        sys.exit(status)


def _check(given: argparse.Namespace) -> None:
    if not given.app or not given.settings and not given.seeds:
        raise UserError(
            "sweep needs an application and what to vary: sweep 1 learning_rate=1e-3,3e-3; --help"
            " says more"
        )
    if min(given.seeds, given.trials) < 0 or given.jobs < 1:
        raise UserError(
            f"--seeds {given.seeds} --trials {given.trials} --jobs {given.jobs}: expected whole"
            " numbers, --jobs from 1"
        )
    if given.resume and not given.output_dir:
        raise UserError("--resume needs --output-dir, the folder of the sweep to go on with")
    if "://" in given.output_dir:
        raise UserError(
            f"--output-dir {given.output_dir}: a sweep on one machine writes locally; an array job"
            " writes into S3 (make batch-submit SWEEP=)"
        )


def _folder(given: argparse.Namespace) -> Path:
    from flow_models.sweep.local import experiment_of

    now = f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
    return Path(given.output_dir or f"runs/{experiment_of(given.app)}/sweep_{now}")
