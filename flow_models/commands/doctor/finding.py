"""What a machine has and can reach: findings that `python -m flow_models doctor` prints."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report: ok, none (not set up, which is no fault), or wrong with what mends
    it."""

    state: str
    name: str
    said: str
    mend: str = ""


def one_line(error: BaseException) -> str:
    """What an error says, on one line and not too long."""
    return " ".join(str(error).split())[:300] or type(error).__name__
