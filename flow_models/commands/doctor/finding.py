"""A finding of `python -m flow_models doctor`."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A line of the report.

    state: ok, none (not set up, which is no fault) or wrong. fix: what to do about it, if known.
    """

    state: str
    name: str
    said: str
    fix: str = ""


def verdict(good: bool, name: str, said: str, fix: str = "") -> Finding:
    """A finding that is ok, or else wrong with a fix."""
    return Finding("ok", name, said) if good else Finding("wrong", name, said, fix)


def one_line(error: BaseException) -> str:
    """The message of an error in one line, cut to 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
