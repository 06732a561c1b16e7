"""Defaults that follow the number of rows of a table: few rows support no large network."""

from __future__ import annotations

import dataclasses
from typing import Any

from flow_models.training.settings import FitSettings

MOST = 2000  # training rows up to which the rule holds
SOME = 20_000  # training rows up to which training stops where nothing better comes
PATIENCE = 15  # evaluations
WIDEST = 64  # columns up to which a mixture is measured
# few, small couplings that start as a rotation, behind a mixture with a kernel at each row
NETWORK: dict[str, Any] = {"depth": 3, "hidden": (16, 16), "linear": True}
FIT: dict[str, Any] = {
    "steps": 2000,
    "learning_rate": 1e-3,
    "eval_every_steps": 25,
    "patience": 8,
    "ema": 0.98,
    "weight_decay": 0.1,
}


def holds(rows: int) -> bool:
    """Whether a table has few training rows."""
    return 0 < rows <= MOST


def network(rows: int, columns: int) -> dict[str, Any]:
    """Options of `spline_coupling`; none where there are many rows."""
    if not holds(rows):
        return {}
    return {**NETWORK, "kernels": rows} if columns <= WIDEST else NETWORK


def settings(given: FitSettings, rows: int, names=tuple(FIT)) -> FitSettings:
    """Settings of the training; `names` are those that may change.

    Above `MOST` rows they stay, but up to `SOME` training stops early: steps go through few rows
    hundreds of times, and the best weights often come soon.
    """
    if not holds(rows):
        stops = 0 < rows <= SOME and "patience" in names and not given.patience
        return dataclasses.replace(given, patience=PATIENCE) if stops else given
    changed = {name: FIT[name] for name in names if name in FIT}
    if "batch_size" in names:
        changed["batch_size"] = min(given.batch_size, rows)
    return dataclasses.replace(given, **changed)


def defaults(model, data) -> FitSettings:
    """Settings where none are given: by the rows, for densities of the rows of a table."""
    x = data.get("x") if isinstance(data, dict) else data
    of_table = len(model.event_shape) == 1 and set(model.codecs) == {"x"}
    rows = x.shape[0] if x is not None and of_table and getattr(x, "ndim", 0) == 2 else 0
    return settings(FitSettings(), rows, (*FIT, "batch_size"))
