"""What a sweep varies: `seed=0,1,2 depth=3,5` is six settings, numbered in this order;
`rate=1e-4..1e-2:log` a range."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass

from flow_models.core.errors import UserError

MOST = 10_000  # children that an array job may have
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"


@dataclass(frozen=True)
class Range:
    """From low to high, evenly or in the logarithm; whole where both ends are whole numbers."""

    low: float
    high: float
    log: bool
    whole: bool


def parse(text: str) -> dict[str, list[str]]:
    """Values of each setting; commas inside brackets do not part values: hidden=[32,32],[64,64].

    Raises:
      UserError: not of this form, a setting twice, or more or fewer settings than a sweep may have.
    """
    grid = space(text)
    ranges = [name for name, values in grid.items() if isinstance(values, Range)]
    if ranges:
        raise UserError(
            f"SWEEP: {ranges[0]} is a range; a grid has values, and only a search (--trials) draws"
            " from ranges"
        )
    size = count(grid)
    if not 2 <= size <= MOST:
        raise UserError(f"SWEEP: {size:,} settings; a sweep has 2 to {MOST:,}")
    return grid


def space(text: str) -> dict[str, list[str] | Range]:
    """`parse`, where a setting may also have a range, low..high or low..high:log.

    Raises:
      UserError: not of this form, a setting twice, or none.
    """
    found = {}
    for part in text.split():
        name, equals, values = part.partition("=")
        listed = re.split(r",(?![^\[]*\])", values)
        if not (re.fullmatch(r"[A-Za-z][\w-]*", name) and equals and all(listed)):
            raise UserError(
                f"SWEEP: '{part}' is not of the form setting=value,value: SWEEP='seed=0,1,2"
                " depth=3,5'"
            )
        if name in found:
            raise UserError(f"SWEEP: {name} is there twice")
        found[name] = _range(part, values) if ".." in values else listed
    if not found:
        raise UserError("SWEEP: nothing is varied: SWEEP='seed=0,1,2 depth=3,5'")
    return found


def _range(part: str, values: str) -> Range:
    matched = re.fullmatch(rf"({_NUMBER})\.\.({_NUMBER})(:log)?", values, re.IGNORECASE)
    low, high = (float(matched[i]) for i in (1, 2)) if matched else (math.nan, math.nan)
    if not (low < high and (low > 0 or not matched[3])):
        raise UserError(
            f"SWEEP: '{part}' is not of the form setting=low..high or low..high:log, low below"
            " high, above 0 with log"
        )
    return Range(
        low, high, bool(matched[3]), all(re.fullmatch(r"[-+]?\d+", matched[i]) for i in (1, 2))
    )


def count(grid: dict[str, list[str]]) -> int:
    """How many settings there are."""
    return math.prod(len(values) for values in grid.values())


def setting(grid: dict[str, list[str]], index: int) -> dict[str, str]:
    """The setting of one child; the last name varies fastest."""
    return dict(zip(grid, next(itertools.islice(itertools.product(*grid.values()), index, None))))


def settings(grid: dict[str, list[str]]) -> list[dict[str, str]]:
    """All settings, in their order."""
    return [dict(zip(grid, values)) for values in itertools.product(*grid.values())]


def flags(chosen: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in chosen.items()]


def folder(index: int, chosen: dict[str, str]) -> str:
    """The name of a child's folder below that of the sweep: 003-seed=1-depth=5."""
    said = "-".join(
        f"{name}={re.sub(r'[^A-Za-z0-9.+]+', '_', value)}" for name, value in chosen.items()
    )
    return f"{index:03d}-{said}"[:120]


def words(chosen: dict[str, str]) -> str:
    """A setting as a line has it."""
    return " ".join(f"{name}={value}" for name, value in chosen.items())
