"""What this machine has, what it can reach, and how to mend what it cannot.

    python -m flow_models doctor
    python -m flow_models doctor --s3 s3://bucket/prefix --tracking-uri http://mlflow:5000

Ends with status 0 if all that is set up works, 1 if something is broken. What is not set up at all,
a GPU or AWS, is no fault. --s3 writes one small object there, and deletes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--s3", default="", metavar="PLACE", help="s3://bucket/prefix to write to and read from"
    )
    parser.add_argument(
        "--tracking-uri", default="", metavar="URI", help="MLflow (default MLFLOW_TRACKING_URI)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out TensorFlow, which takes seconds to load"
    )


def run(given: argparse.Namespace) -> None:
    from flow_models.commands.doctor import machine, services
    from flow_models.commands.doctor.finding import Finding

    checks: list[Callable[[], Iterator[Finding]]] = [
        machine.python,
        machine.hardware,
        machine.driver,
    ]
    checks += [] if given.quick else [machine.tensorflow]
    checks += [
        services.aws,
        lambda: services.s3(given.s3),
        lambda: services.mlflow(given.tracking_uri or None),
    ]
    wrong = 0
    for check in checks:
        for finding in check():
            wrong += finding.state == "wrong"
            print(f"{finding.state:5s}  {finding.name:12s}  {finding.said}", flush=True)
            if finding.mend:
                print(f"{'':21s}-> {finding.mend}", flush=True)
    if wrong:
        print(f"{wrong} to mend", flush=True)
        sys.exit(1)
