"""The strangest rows of a table: a table of the report, a CSV and a figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from flow_models.diagnostics.strangest import gains, tail_probabilities

SHOWN, COLUMNS = 20, 6  # rows, and most columns of values in the report
MOST = 100_000  # rows up to which all are looked at, not the held-out ones alone
TITLE = (
    "The {} strangest rows{}. Tail: share of held-out rows at least as strange. Driven by: nats"
    " that log p(x) gains if that column alone takes its most probable value"
)


def strangest(model, problem, n: int = SHOWN):
    """The strangest rows as a DataFrame, strangest first, and the gains of their columns [n, D].

    Columns: row (of the file, from 1), part, identifiers, values, nll, tail_probability, driven_by.
    """
    import pandas as pd

    rows, part, number, kept = _rows(problem)
    score = model.anomaly_score(rows)
    held = score[part == "test"]
    worst = np.argsort(-np.nan_to_num(score, nan=np.inf), kind="stable")[:n]
    chosen = _take(rows, worst)
    gained = gains(model.log_prob, chosen, problem.test)
    names = list(problem.columns)
    found: dict[str, Any] = {"row": number[worst], "part": part[worst]}
    found |= {name: kept[name].to_numpy()[worst] for name in ([] if kept is None else kept)}
    found |= {
        "nll": score[worst],
        "tail_probability": tail_probabilities(score[worst], held, part[worst] == "test"),
        "driven_by": [_driven(names, gain) for gain in gained],
    }
    values = chosen if hasattr(chosen, "iloc") else pd.DataFrame(chosen, columns=names)
    values = values.reset_index(drop=True).rename(columns=lambda name: _free(name, found))
    return pd.concat([pd.DataFrame(found), values], axis=1), gained


def report_table(frame, gained: np.ndarray, names) -> tuple[str, list[str], list[list]]:
    """The table of the report, with values of the columns that drive most."""
    first = list(frame.columns[: len(frame.columns) - len(names)])
    values = list(frame.columns[len(first) :])
    kept = sorted(np.argsort(-gained.sum(0), kind="stable")[:COLUMNS])
    cut = "" if len(kept) == len(names) else f", with the {len(kept)} columns that drive most"
    shown = frame[[*first, *(values[i] for i in kept)]]
    heads = {"nll": "-log p(x)", "tail_probability": "tail", "driven_by": "driven by"}
    columns = ["", *(heads.get(name, name) for name in shown)]
    rows = [[i + 1, *row] for i, row in enumerate(shown.itertuples(index=False, name=None))]
    return TITLE.format(len(frame), cut), columns, rows


def _rows(problem):
    """Rows, the part of each, its number in the file, and identifiers where there are some."""
    import pandas as pd

    names, parts = ("training", "validation", "test"), [problem.train, problem.validation]
    if callable(problem.train) or problem.rows is None:
        test = problem.test
        return test, np.full(len(test), "test"), np.arange(1, len(test) + 1), None
    parts = [part["x"] if isinstance(part, dict) else part for part in (*parts, problem.test)]
    kept, numbers = problem.kept, problem.rows
    if sum(map(len, parts)) > MOST:
        names, parts, numbers = names[2:], parts[2:], numbers[2:]
        kept = kept and kept[2:]
    join = pd.concat if hasattr(parts[0], "iloc") else np.concatenate
    return (
        join(parts),
        np.repeat(names, [len(part) for part in parts]),
        np.concatenate(numbers),
        pd.concat(kept) if kept else None,
    )


def _take(rows, places):
    return rows.iloc[places] if hasattr(rows, "iloc") else rows[places]


def _free(name: str, taken) -> str:
    """The name, or one with a mark where a column of ours has it."""
    return f"{name} (value)" if name in taken else name


def _driven(names, gain: np.ndarray) -> str:
    """The columns whose own change would raise log p most, up to three."""
    order = np.argsort(-gain, kind="stable")[:3]
    least = max(0.2 * gain[order[0]], 0.1)
    seen = [f"{names[j]} +{gain[j]:.1f}" for j in order if gain[j] >= least]
    return ", ".join(seen) or "no single column"
