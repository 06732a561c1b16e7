"""Defaults that follow the number of rows of a table: few rows support no large network."""

from __future__ import annotations

import dataclasses
from typing import Any

from flow_models.runs.config import flat

MOST = 2000  # training rows up to which the rule holds
NETWORK = ("architecture", "depth", "hidden", "bins", "affine", "linear")
SMALL: dict[str, Any] = {"depth": 3, "hidden": (16, 16), "linear": True}
FIT: dict[str, Any] = {
    "steps": 2000,
    "learning_rate": 1e-3,
    "eval_every_steps": 25,
    "patience": 8,
    "ema": 0.98,
}


def count(problem) -> int:
    """Training rows of a table; 0 where they are drawn from a known density."""
    train = problem.train
    return 0 if callable(train) else len(train["x"] if isinstance(train, dict) else train)


def holds(config, problem, presets) -> bool:
    """Whether a table has few rows and the user has not chosen a network."""
    return 0 < count(problem) <= MOST and not is_chosen(config, NETWORK, presets)


def network(config, problem, presets) -> dict[str, Any]:
    """Options of the architecture: few and small couplings that start as a linear map."""
    return SMALL if holds(config, problem, presets) else {}


def fit(config, problem, presets):
    """Settings of the training; those that the user gave stay."""
    rows = count(problem)
    if not 0 < rows <= MOST:
        return config.fit
    names = [name for name in FIT if not is_chosen(config, [name], presets)]
    changed = {name: FIT[name] for name in names} if holds(config, problem, presets) else {}
    if not is_chosen(config, ["batch_size"], presets):
        changed["batch_size"] = min(config.fit.batch_size, rows)
    return dataclasses.replace(config.fit, **changed)


def is_chosen(config, names, presets) -> bool:
    """Whether one of these settings is neither a default nor that of a preset."""
    given, default = flat(config), flat(type(config)())
    known = {
        name: [default[name], *(p[name] for p in presets.values() if name in p)] for name in names
    }
    return any(given[name] not in known[name] for name in names)
