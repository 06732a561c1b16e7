"""Train as jobs of AWS Batch: deploy, build, submit, parts, status, logs, cancel, delete.

    python -m flow_models batch deploy --set Spot=false
    python -m flow_models batch build --device gpu
    python -m flow_models batch submit 2 --nodes 4 --args="--steps 20000"
    python -m flow_models batch parts 100 --args="prepare s3://b/photos s3://b/runs/shards"

The same as make batch-deploy and so on. --dry-run prints what would be sent to AWS, and sends
nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys

from flow_models.aws_batch import DEVICES
from flow_models.commands import flags
from flow_models.core.errors import UserError
from flow_models.sweep import METRIC

NEEDS_MODEL = False
ACTIONS = {
    "deploy": "make the stack, or change it to the present template",
    "build": "build the image on AWS from these sources",
    "submit": "send a training run as a job",
    "parts": "send prepare, simulate, score, classify or sample in parts, a job a part",
    "status": "show all jobs, or one",
    "logs": "show what a job has printed",
    "cancel": "end a job",
    "delete": "take the stack down; the runs stay",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a sub-command for each action."""
    shared = argparse.ArgumentParser(add_help=False)
    stack = "the stack's name in CloudFormation (default flow-models)"
    shared.add_argument("--stack", default="flow-models", help=stack)
    dry_run = "print what would be sent, and send nothing"
    shared.add_argument("--dry-run", action="store_true", help=dry_run)
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=type(parser)
    )
    added = {
        name: actions.add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False
        )
        for name, text in ACTIONS.items()
    }
    parameter = "a parameter of awsbatch-support/template.yaml, for example VpcId=vpc-1"
    added["deploy"].add_argument(
        "--set", action="append", default=[], metavar="PARAMETER=VALUE", help=parameter
    )
    for name in ("build", "submit", "parts"):
        device = "what the image is for (default gpu; jobs of 1 and 4 to 7, and parts: cpu)"
        added[name].add_argument("--device", choices=("", *DEVICES), default="", help=device)
    _add_submit(added["submit"])
    _add_parts(added["parts"])
    for name in ("status", "logs", "cancel"):
        count, job = "?" if name == "status" else None, "its id or name; id:3 in an array"
        added[name].add_argument("job", nargs=count, default="", metavar="JOB", help=job)
    added["status"].add_argument("--wait", action="store_true", help="until the job has ended")
    added["logs"].add_argument("--follow", action="store_true", help="until the job has ended")


def _add_submit(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("app", metavar="APP", help="number of the application")
    add("--nodes", type=int, default=1, metavar="N", help="machines of one run (default 1)")
    add("--sweep", default="", metavar="GRID", help="a job for each setting: 'seed=0,1 depth=3,5'")
    metric = f"the metric in metrics.json that compares the settings (default {METRIC})"
    add("--metric", default=METRIC, metavar="NAME", help=metric)
    add("--name", default="", help="of job and run (default flowmodels<APP>-<time>)")
    output = "where the run is kept (default in the stack's bucket)"
    add("--output", default="", metavar="S3", help=output)
    _add_sizes(parser, gpus="GPUs", vcpus="vCPUs", memory="MiB")
    resume = "go on with the run of this --name or --output: stopped, cancelled or at its limit"
    add("--resume", action="store_true", help=resume)
    add("--args", default="", metavar="TEXT", help="flags of the script: --args='--steps 900'")


def _add_parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parts", type=int, metavar="N", help="how many parts, 2 to 10,000")
    parser.add_argument("--name", default="", help="of the job (default <command>-<time>)")
    _add_sizes(parser, vcpus="vCPUs", memory="MiB")
    text = (
        "the command with its arguments, without --part: --args='prepare s3://a s3://b --size 64'"
    )
    parser.add_argument("--args", required=True, metavar="TEXT", help=text)


def _add_sizes(parser: argparse.ArgumentParser, **units: str) -> None:
    for what, unit in units.items():
        wanted = f"{unit} of each machine (default as deployed)"
        parser.add_argument(f"--{what}", type=int, default=0, metavar="N", help=wanted)
    share = "letters and digits: on whose account it waits for machines (default the user)"
    parser.add_argument("--share", default="", metavar="NAME", help=share)
    limit = "after which an attempt is told to save and ended (default as deployed)"
    parser.add_argument("--timeout", type=int, default=0, metavar="SECONDS", help=limit)


def run(given: argparse.Namespace) -> None:
    """Runs an action; exits with its status if that is not 0."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,60}", given.stack):
        raise UserError(
            f"stack '{given.stack}': expected a name of a-z, 0-9 and hyphens that begins with a"
            " letter"
        )
    status = _act(given)
    if status:
        sys.stdout.flush()
        sys.exit(status)


def _act(given: argparse.Namespace) -> int:
    """The status to exit with."""
    from flow_models.aws_batch import image, jobs, parts, stack, watch
    from flow_models.aws_batch.aws import Aws

    aws, name = Aws(given.dry_run), given.stack
    match given.action:
        case "deploy":
            stack.deploy(aws, name, _parameters(given.set))
        case "build":
            return image.build(aws, name, given.device or "gpu")
        case "submit":
            jobs.submit(aws, name, _job(given))
        case "parts":
            parts.submit(aws, name, _parts(given))
        case "status":
            return watch.status(aws, name, given.job, given.wait)
        case "logs":
            return watch.logs(aws, name, given.job, given.follow)
        case "cancel":
            watch.cancel(aws, name, given.job)
        case "delete":
            stack.delete(aws, name)
    return 0


def _parameters(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, equals, _ in pairs:
        if not equals:
            raise UserError(f"--set {name}: expected PARAMETER=VALUE")
    return {name: value for name, _, value in pairs}


def _job(given: argparse.Namespace):
    from flow_models.aws_batch.jobs import OF_PICTURES, Job

    given.device = given.device or ("gpu" if given.app in OF_PICTURES else "cpu")
    names = {field.name for field in dataclasses.fields(Job)} - {"arguments"}
    settings = {name: getattr(given, name) for name in names}
    return Job(arguments=flags(given.args), **settings)


def _parts(given: argparse.Namespace):
    """The command in parts, tried on its own parser: a mistake here starts no machine."""
    from flow_models.__main__ import parser
    from flow_models.aws_batch.parts import Parts

    command = flags(given.args)
    tried = parser().parse_args([*command, "--part", f"0/{given.parts}"])
    if getattr(tried, "part", None) is None:
        raise UserError(f"{command[0]} is not done in parts: its --help knows no --part")
    output = getattr(tried, "folder", None) or getattr(tried, "csv", None) or ""
    sizes = {name: getattr(given, name) for name in ("name", "vcpus", "memory", "timeout", "share")}
    return Parts(command, output, given.parts, given.device or "cpu", **sizes)
