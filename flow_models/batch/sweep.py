"""What the children of an array job vary: `seed=0,1,2 depth=3,5` is six settings, numbered in this order."""

from __future__ import annotations

import itertools
import re

from flow_models.errors import UserError

MOST = 10_000  # children that an array job may have


def parse(text: str) -> dict[str, list[str]]:
    """Values of each setting; commas inside brackets do not part values: hidden=[32,32],[64,64].

    Raises:
      UserError: not of this form, a setting twice, or more or fewer settings than an array job may have.
    """
    grid = {}
    for part in text.split():
        name, equals, values = part.partition("=")
        listed = re.split(r",(?![^\[]*\])", values)
        if not (re.fullmatch(r"[A-Za-z][\w-]*", name) and equals and all(listed)):
            raise UserError(f"SWEEP: '{part}' is not of the form setting=value,value: SWEEP='seed=0,1,2 depth=3,5'")
        if name in grid:
            raise UserError(f"SWEEP: {name} is there twice")
        grid[name] = listed
    size = count(grid)
    if not 2 <= size <= MOST:
        raise UserError(f"SWEEP: {size:,} settings; an array job has 2 to {MOST:,}")
    return grid


def count(grid: dict[str, list[str]]) -> int:
    """How many settings there are."""
    size = 1
    for values in grid.values():
        size *= len(values)
    return size


def setting(grid: dict[str, list[str]], index: int) -> dict[str, str]:
    """The setting of one child; the last name varies fastest."""
    return dict(zip(grid, next(itertools.islice(itertools.product(*grid.values()), index, None))))


def flags(chosen: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in chosen.items()]


def folder(index: int, chosen: dict[str, str]) -> str:
    """The name of a child's folder below that of the sweep: 003-seed=1-depth=5."""
    said = "-".join(f"{name}={re.sub(r'[^A-Za-z0-9.+]+', '_', value)}" for name, value in chosen.items())
    return f"{index:03d}-{said}"[:120]
