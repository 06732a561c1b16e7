"""Settings as text for one screen."""

import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 100  # columns of a line
LONGEST = 60  # characters of a value


def shown(settings, flat: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """What `repr` of settings says: what they are, what differs from the defaults, and the rest.

    Args:
      flat: all values by name; `defaults` those of a new object.
    """
    title = (inspect.getdoc(type(settings)) or "").partition("\n")[0]
    lines = [f"{type(settings).__name__}: {title}"[:WIDTH]]
    changed = {name: value for name, value in flat.items() if value != defaults[name]}
    rest = {name: value for name, value in flat.items() if name not in changed}
    for what, values in (("changed", changed), ("by default", rest)):
        listed = ", ".join(f"{name}={_short(value)}" for name, value in values.items())
        text = f"{what}: {listed}" if values else f"{what}: nothing"
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def flat_repr(settings) -> str:
    """`repr` of settings without groups."""
    values = [
        {field.name: getattr(each, field.name) for field in dataclasses.fields(each)}
        for each in (settings, type(settings)())
    ]
    return shown(settings, *values)
