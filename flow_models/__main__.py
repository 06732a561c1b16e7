"""The command line, as `flow-models` and as `python -m flow_models`: `train` runs an application,
`prepare` and `simulate` make shards of what is too much for one machine, `infer` runs your own
inverse problem, `score`, `classify`, `sample`, `interpolate` and `edit` use a trained model,
`sweep`, `batch` and `doctor` do the rest.

Loads nothing heavy before it is needed: `--help` and mistakes in the arguments answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys

from flow_models.core.errors import UserError
from flow_models.runs.program import guarded

COMMANDS = (
    "train",
    "prepare",
    "simulate",
    "infer",
    "score",
    "classify",
    "sample",
    "interpolate",
    "edit",
    "explore",
    "sweep",
    "doctor",
    "batch",
)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        raise UserError(f"{message}; {self.prog} --help says more")


def parser(program: str = "python -m flow_models") -> Parser:
    """A sub-command for each module of `flow_models.commands`."""
    outer = Parser(
        prog=program,
        description="Train applications, work with trained models, sweep over settings, train on"
        " AWS.",
        allow_abbrev=False,
    )
    inner = outer.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name in COMMANDS:
        module = importlib.import_module(f"flow_models.commands.{name}")
        text = (module.__doc__ or "").replace("python -m flow_models", program)
        command = inner.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
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


def main(arguments: list[str] | None = None, program: str = "python -m flow_models") -> None:
    """Runs one command. Raises UserError for a mistake in the arguments."""
    given = parser(program).parse_args(arguments)
    try:
        given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def console() -> None:
    """The installed command `flow-models`."""
    guarded(lambda: main(program="flow-models"))


if __name__ == "__main__":
    guarded(main)
    sys.exit(0)
