"""Run an application: train, evaluate, report.

    python -m flow_models train 1 --data moons
    python -m flow_models train 7 --help

Flags after the number are those of the script: `train 1` is `python train_flowmodels1.py`.
"""

from __future__ import annotations

import argparse
import runpy
import sys

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="number of the application, or its script")
    parser.add_argument(
        "flags", nargs=argparse.REMAINDER, metavar="...", help="flags of the script"
    )


def run(given: argparse.Namespace) -> None:
    from flow_models.runs import scripts

    sys.argv[1:] = given.flags  # runpy sets argv[0], the name that the script goes by
    runpy.run_module(scripts.module_name(given.app), run_name="__main__", alter_sys=True)
