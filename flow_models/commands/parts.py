"""A command on part i of n of its work: one Parquet file a part, which is left as it is once it is
there."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from flow_models.core import storage
from flow_models.core.share import WHOLE, Share


def add_argument(parser: argparse.ArgumentParser, what: str) -> None:
    add_part(
        parser,
        f"do part I, from 0, of N of {what}; --csv then names a folder, which gets a Parquet"
        " file a part, and a part that is there is not done again",
    )


def add_part(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--part", metavar="I/N", help=text)


def once(run: Callable[[argparse.Namespace], None], given: argparse.Namespace) -> None:
    """Runs a command with `given.share`; with --part into a file of its own, unless it is there."""
    given.share = Share.parsed(given.part) if given.part else WHOLE
    if given.part:
        given.csv = storage.join(given.csv, given.share.file_name())
        if storage.exists(given.csv):
            print(f"{given.csv} is there already")
            return
    run(given)


def told(given: argparse.Namespace, rows: int, more: str) -> str:
    """What was written, for the user."""
    return f"{rows:,} rows in {given.csv}{more}" if rows else f"part {given.part} has no file"
