"""Train as jobs of AWS Batch: deploy, build, submit, status, logs, cancel, delete.

    python -m flow_models batch deploy --set Spot=false
    python -m flow_models batch build --device gpu
    python -m flow_models batch submit 2 --nodes 4 --args="--steps 20000"

The same as make batch-deploy and so on; --dry-run prints what would be sent to AWS, and sends
nothing.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys

from flow_models.aws_batch import DEVICES
from flow_models.core.errors import UserError
from flow_models.sweep import METRIC

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=type(parser)
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--stack",
        default="flow-models",
        help="the stack's name in CloudFormation (default flow-models)",
    )
    shared.add_argument(
        "--dry-run", action="store_true", help="print what would be sent, send nothing"
    )
    added = {
        name: actions.add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False
        )
        for name, text in ACTIONS.items()
    }
    added["deploy"].add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PARAMETER=VALUE",
        help="a parameter of awsbatch-support/template.yaml, VpcId=vpc-1 for example",
    )
    for name in ("build", "submit"):
        added[name].add_argument(
            "--device", choices=DEVICES, default="gpu", help="what the image is for (default gpu)"
        )
    _add_submit(added["submit"])
    for name in ("status", "logs", "cancel"):
        how = "?" if name == "status" else None
        added[name].add_argument(
            "job", nargs=how, default="", metavar="JOB", help="its id or name; id:3 in an array"
        )
    added["status"].add_argument("--wait", action="store_true", help="until the job has ended")
    added["logs"].add_argument("--follow", action="store_true", help="until the job has ended")


ACTIONS = {
    "deploy": "make the stack, or bring it to the template as it is now",
    "build": "build the image on AWS out of these sources",
    "submit": "send a training run as a job",
    "status": "all jobs, or one",
    "logs": "what a job printed",
    "cancel": "end a job",
    "delete": "take the stack down; the runs stay",
}


def _add_submit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="number of the application")
    parser.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="machines of one run (default 1)"
    )
    parser.add_argument(
        "--sweep", default="", metavar="GRID", help="a job a setting: 'seed=0,1,2 depth=3,5'"
    )
    parser.add_argument(
        "--metric",
        default=METRIC,
        metavar="NAME",
        help=f"of metrics.json, to compare settings by (default {METRIC})",
    )
    parser.add_argument(
        "--name", default="", help="of job and run (default flowmodels<APP>-<time>)"
    )
    parser.add_argument(
        "--output",
        default="",
        metavar="S3",
        help="where the run is kept (default in the stack's bucket)",
    )
    for what, unit in (("gpus", "GPUs"), ("vcpus", "vCPUs"), ("memory", "MiB")):
        parser.add_argument(
            f"--{what}",
            type=int,
            default=0,
            metavar="N",
            help=f"{unit} a machine (default as deployed)",
        )
    parser.add_argument(
        "--args", default="", metavar="TEXT", help="flags of the script: --args='--steps 900'"
    )


def run(given: argparse.Namespace) -> None:
    from flow_models.aws_batch.aws import Aws

    if not re.fullmatch(r"[a-z][a-z0-9-]{0,60}", given.stack):
        raise UserError(
            f"stack '{given.stack}': a name of a-z, 0-9 and hyphens is expected, beginning with a"
            " letter"
        )
    status = _RUN[given.action](Aws(given.dry_run), given)
    if status:
        sys.stdout.flush()
        sys.exit(status)


def _deploy(aws, given) -> None:
    from flow_models.aws_batch.stack import deploy

    pairs = [each.partition("=") for each in given.set]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise UserError(f"--set {wrong[0]}: PARAMETER=VALUE is expected")
    deploy(aws, given.stack, {name: value for name, _, value in pairs})


def _build(aws, given) -> int:
    from flow_models.aws_batch.image import build

    return build(aws, given.stack, given.device)


def _submit(aws, given) -> None:
    from flow_models.aws_batch.jobs import Job, submit

    try:
        flags = tuple(shlex.split(given.args))
    except ValueError as error:
        raise UserError(f"--args {given.args!r}: {error}") from error
    submit(
        aws,
        given.stack,
        Job(
            given.app,
            flags,
            given.device,
            given.nodes,
            given.sweep,
            given.metric,
            given.name,
            given.output,
            given.gpus,
            given.vcpus,
            given.memory,
        ),
    )


def _status(aws, given) -> int:
    from flow_models.aws_batch.watch import status

    return status(aws, given.stack, given.job, given.wait)


def _logs(aws, given) -> int:
    from flow_models.aws_batch.watch import logs

    return logs(aws, given.stack, given.job, given.follow)


def _cancel(aws, given) -> None:
    from flow_models.aws_batch.watch import cancel

    cancel(aws, given.stack, given.job)


def _delete(aws, given) -> None:
    from flow_models.aws_batch.stack import delete

    delete(aws, given.stack)


_RUN = {
    "deploy": _deploy,
    "build": _build,
    "submit": _submit,
    "status": _status,
    "logs": _logs,
    "cancel": _cancel,
    "delete": _delete,
}
