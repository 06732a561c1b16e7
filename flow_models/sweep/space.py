"""What a sweep varies.

`seed=0,1,2 depth=3,5` is a grid of six settings, in which the last name varies fastest.
`rate=1e-4..1e-2:log` is a range, from which a search draws.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

from flow_models.core.errors import UserError
from flow_models.runs import scripts

MOST = 10_000  # settings of a sweep, as AWS Batch allows an array job 10,000 children


def parse(text: str) -> dict:
    """By name, a list of values (strings) or a range (a float or int distribution of Optuna).

    A comma inside brackets is part of a value: hidden=[32,32],[64,64].

    Raises:
      UserError: the text has another form, a name occurs twice, or nothing is varied.
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


def _range(part: str, values: str):
    """Integers if both ends are written as integers, else real numbers."""
    from optuna.distributions import FloatDistribution, IntDistribution

    ends, log = values.removesuffix(":log").split("..", 1), values.endswith(":log")
    whole = all(re.fullmatch(r"[-+]?\d+", end) for end in ends)
    try:
        low, high = map(float, ends)
        if not -math.inf < low < high < math.inf:
            raise ValueError
        if whole:
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(low, high, log=log)
    except ValueError as error:
        raise UserError(
            f"SWEEP: '{part}' is not of the form setting=low..high or low..high:log, low below"
            " high, above 0 with log"
        ) from error


def size(space: Mapping, draws: int = 0, least: int = 1) -> int:
    """The number of settings: the draws of a search, or with `draws=0` the size of the grid.

    Raises:
      UserError: a grid with a range in it, or too few or too many settings.
    """
    ranges = [name for name, values in space.items() if not isinstance(values, list)]
    if ranges and not draws:
        raise UserError(
            f"{ranges[0]} is a range: --trials says how many settings to draw from it, on one"
            " machine; an array job takes values only"
        )
    count = draws or math.prod(len(values) for values in space.values())
    if not least <= count <= MOST:
        raise UserError(f"{count:,} settings; a sweep has {least} to {MOST:,}")
    return count


def settings(space: Mapping) -> list[dict[str, str]]:
    """All settings of a grid, in order. Raises UserError as `size` does."""
    size(space)
    return [dict(zip(space, values)) for values in itertools.product(*space.values())]


def try_settings(
    app: str, arguments: Sequence[str], space: Mapping, reserved: Sequence[str], why: str
):
    """Tries the flags, and each value that is varied, on the settings of the application.

    Args:
      app: number or script of the application.
      arguments: flags that all trials share.
      reserved: flags that are not the user's to set; `why` explains that.

    Returns the settings of the first trial.

    Raises:
      UserError: no such application, or a flag or a value that it does not take.
    """
    script = scripts.load(app)
    scripts.refuse([*arguments, *(f"--{name}" for name in space)], reserved, why)
    tried = [
        flags({name: flag(each)})
        for name, values in space.items()
        for each in (values if isinstance(values, list) else (values.low, values.high))
    ]
    return [scripts.settings(script, [*arguments, *each]) for each in tried or [[]]][0]


def flag(value: str | int | float) -> str:
    """A value as a flag takes it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def flags(setting: Mapping[str, str]) -> list[str]:
    """The setting as flags of a script."""
    return [f"--{name}={value}" for name, value in setting.items()]


def folder(index: int, setting: Mapping[str, str]) -> str:
    """The name of a trial's folder, for example 003-seed=1-depth=5."""
    parts = [f"{name}={re.sub('[^A-Za-z0-9.+]+', '_', value)}" for name, value in setting.items()]
    return f"{index:03d}-{'-'.join(parts)}"[:120]


def words(setting: Mapping[str, str]) -> str:
    """The setting in a line of text, for example seed=1 depth=5."""
    return " ".join(f"{name}={value}" for name, value in setting.items())
