"""The scripts of the applications as modules, to try flags on their settings before anything is
started elsewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from flow_models.core.failures import pick
from flow_models.core.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
OF_A_RUN = (
    "--config",
    "--output-dir",
    "--resume",
    "--overwrite",
)  # what a job or a trial is given, not the user's to set


def path_of(app: str) -> Path:
    """The script of an application: 1, or its name. Raises UserError where there is none."""
    there = {
        path.stem.removeprefix("train_flowmodels"): path
        for path in sorted(PROJECT.glob("train_flowmodels*.py"))
    }
    return pick(
        there, Path(app).name.removesuffix(".py").removeprefix("train_flowmodels"), "application"
    )


def load(app: str):
    """The script of an application as a module; it loads nothing heavy."""
    path = path_of(app)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(
        spec
    )  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def settings(script, arguments: Sequence[str]):
    """The settings that these flags give. Raises UserError for flags that the script does not take,
    as it would say it."""
    from flow_models.runs.config import parse

    return parse(script.Config, script.PRESETS, "", list(arguments))


def refuse(flags: Iterable[str], reserved: Sequence[str], why: str) -> None:
    """Raises UserError for a flag that is set by who starts the script."""
    for flag in flags:
        if re.match("--", flag) and flag.partition("=")[0].replace("_", "-") in reserved:
            raise UserError(f"{flag}: {why}")
