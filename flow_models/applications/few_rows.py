"""The rule of few rows (`training.few_rows`), for settings that the user has not changed."""

from __future__ import annotations

from typing import Any

from flow_models.runs.config import flat
from flow_models.training import few_rows

NETWORK = ("architecture", "depth", "hidden", "bins", "affine", "linear")


def count(problem) -> int:
    """Training rows of a table; 0 where they are drawn from a known density, or streamed."""
    train = problem.train
    if getattr(problem, "stream", None):
        return 0
    return 0 if callable(train) else len(train["x"] if isinstance(train, dict) else train)


def network(config, problem, presets) -> dict[str, Any]:
    """Options of the architecture, unless the user has chosen a network."""
    if is_chosen(config, NETWORK, presets):
        return {}
    found = few_rows.network(count(problem), len(problem.columns))
    bounded = config.lower is not None or config.upper is not None
    if bounded or config.weights or config.missing == "model" or not _suits(problem):
        found = {name: value for name, value in found.items() if name != "kernels"}
    return found


def _suits(problem) -> bool:
    """Whether a mixture can be measured from these columns."""
    from flow_models.architectures import of_whole_numbers

    return problem.codec is None or of_whole_numbers(problem.codec.cdfs)


def fit(config, problem, presets):
    """Settings of the training; those that the user gave stay."""
    names = few_rows.FIT if not is_chosen(config, NETWORK, presets) else ()
    names = [name for name in (*names, "batch_size") if not is_chosen(config, [name], presets)]
    return few_rows.settings(config.fit, count(problem), names)


def is_chosen(config, names, presets) -> bool:
    """Whether one of these settings is neither a default nor that of a preset."""
    given, default = flat(config), flat(type(config)())
    known = {
        name: [default[name], *(p[name] for p in presets.values() if name in p)] for name in names
    }
    return any(given[name] not in known[name] for name in names)
