"""The scripts of the applications as modules: found by import, so in the repository as in an
installed package, to try flags on their settings before anything starts elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from flow_models.core.errors import UserError
from flow_models.core.failures import pick

PREFIX = "train_flowmodels"
OF_A_RUN = (  # what a job or a trial is given, not the user's to set
    "--config",
    "--output-dir",
    "--resume",
    "--overwrite",
)


def module_name(app: str) -> str:
    """The module of an application: 1, its name or its file. Raises UserError if there is none."""
    there = {
        found.name.removeprefix(PREFIX): found.name
        for found in pkgutil.iter_modules()
        if found.name.startswith(PREFIX)
    }
    return pick(
        dict(sorted(there.items())),
        Path(app).name.removesuffix(".py").removeprefix(PREFIX),
        "application",
    )


def path_of(app: str) -> Path:
    """The file of an application. Raises UserError if there is none."""
    found = importlib.util.find_spec(module_name(app))
    assert found is not None and found.origin is not None
    return Path(found.origin)


def load(app: str) -> ModuleType:
    """The script of an application as a module. It loads nothing heavy."""
    return importlib.import_module(module_name(app))


def settings(script, arguments: Sequence[str]):
    """The settings that these flags give.

    Raises:
      UserError: flags that the script does not take, in the words of the script.
    """
    from flow_models.runs.config import parse

    return parse(script.Config, script.PRESETS, "", list(arguments))


def refuse(flags: Iterable[str], reserved: Sequence[str], why: str) -> None:
    """Raises UserError for a flag that belongs to whoever starts the script."""
    for flag in flags:
        if re.match("--", flag) and flag.partition("=")[0].replace("_", "-") in reserved:
            raise UserError(f"{flag}: {why}")
