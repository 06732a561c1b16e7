"""The command line: `python -m flow_models score|sample|interpolate MODEL ...` for trained models,
`sweep`, `doctor`, `batch`.

Loads nothing heavy before it is needed: `--help` and mistakes in the arguments answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys

from flow_models.core.errors import UserError
from flow_models.runs.config import guarded

COMMANDS = ("score", "sample", "interpolate", "sweep", "doctor", "batch")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        raise UserError(f"{message}; {self.prog} --help says more")


def parser() -> Parser:
    """A sub-command for each module of `flow_models.commands`."""
    outer = Parser(
        prog="python -m flow_models",
        description="Work with trained models, sweep over settings, train on AWS.",
        allow_abbrev=False,
    )
    inner = outer.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name in COMMANDS:
        module = importlib.import_module(f"flow_models.commands.{name}")
        summary = module.__doc__.splitlines()[0]
        command = inner.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if getattr(module, "NEEDS_MODEL", True):
            command.add_argument(
                "model", metavar="MODEL", help="folder of a run or of a model, or its s3:// place"
            )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return outer


def main(arguments: list[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    try:
        given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


if __name__ == "__main__":
    guarded(main)
    sys.exit(0)
