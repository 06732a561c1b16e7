"""What this machine has, what it can reach, and how to fix what does not work.

    python -m flow_models doctor
    python -m flow_models doctor --s3 s3://bucket/prefix --tracking-uri http://mlflow:5000

The exit status is 0 if everything that is set up works, else 1. A GPU or AWS that is not set up is
no fault. --s3 writes one small object there, and deletes it.
"""

from __future__ import annotations

import argparse
import sys

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this command."""
    place = "s3://bucket/prefix to write to and read from"
    parser.add_argument("--s3", default="", metavar="PLACE", help=place)
    uri = "MLflow server or store (default MLFLOW_TRACKING_URI)"
    parser.add_argument("--tracking-uri", default="", metavar="URI", help=uri)
    quick = "leave out TensorFlow, which takes seconds to load"
    parser.add_argument("--quick", action="store_true", help=quick)


def run(given: argparse.Namespace) -> None:
    """Prints a finding for each check; exits with status 1 if something is wrong."""
    from flow_models.commands.doctor import machine, services

    checks = [machine.python, machine.hardware, machine.driver]
    checks += [] if given.quick else [machine.tensorflow]
    checks += [
        services.aws,
        lambda: services.s3(given.s3),
        lambda: services.mlflow(given.tracking_uri),
    ]
    wrong = 0
    for check in checks:
        for finding in check():
            wrong += finding.state == "wrong"
            print(f"{finding.state:5s}  {finding.name:12s}  {finding.said}", flush=True)
            if finding.fix:
                print(f"{'':21s}-> {finding.fix}", flush=True)
    if wrong:
        print(f"{wrong} to fix", flush=True)
        sys.exit(1)
