"""Scores of the rows of a table, chunk by chunk: -log p(x) in nats, and why a row has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from flow_models.core.errors import UserError, warn


def scored(model, uri: str, keep: Sequence[str] = ()) -> Iterator[dict]:
    """Names (row numbers of the file), kept columns, `nll` and `error`, in parts that need little
    memory.

    Columns are those that the model knows by name, else all others in their order. A row with a
    cell that is missing, infinite or no number has nll NaN; `error` says which. Models of missing
    cells score what is observed of a row.

    Raises:
      UserError: no such columns.
    """
    from tqdm import tqdm

    from flow_models.data import tables

    rows, bad, first = 0, 0, ""
    text = [*(name for name in keep if name not in model.columns), *_texts(model)]
    with tqdm(desc="scoring", unit=" rows", disable=None, delay=2) as bar:
        for frame in tables.read_chunks(uri, text=text, strict=False):
            part = _scored(model, frame, uri, keep)
            wrong = [place for place, reason in enumerate(part["error"]) if reason]
            if wrong and not first:
                first = f"row {part['name'][wrong[0]]}: {part['error'][wrong[0]]}"
            rows, bad = rows + len(frame), bad + len(wrong)
            bar.update(len(frame))
            yield part
    if bad:
        warn(f"{uri}: {bad:,} of {rows:,} rows have no finite score; the first: {first}")


def _scored(model, frame, uri: str, keep: Sequence[str]) -> dict:
    lost = [name for name in keep if name not in frame.columns]
    if lost:
        raise UserError(f"{uri}: no column {lost[0]!r} to keep; there are {', '.join(frame)}")
    values, errors = _numbers(model, _of_model(model, frame, uri, keep))
    ok = np.array([not error for error in errors], bool)
    nll = np.full(len(frame), np.nan)
    if ok.any():
        nll[ok] = -model.log_prob(values[ok])
    for row in np.flatnonzero(ok & ~np.isfinite(nll)):
        errors[row] = "the model gives this row no density: it is outside what the columns may hold"
    kept = {name: _words(frame[name]) for name in keep if name not in ("name", "nll", "error")}
    return {"name": [str(row) for row in frame.index], **kept, "nll": nll, "error": errors}


def _of_model(model, frame, uri: str, keep: Sequence[str]):
    """The columns of the model, by name or else by place."""
    known = ", ".join(model.columns)
    missing = [name for name in model.columns if name not in frame.columns]
    if not missing:
        return frame[list(model.columns)]
    if len(missing) < model.event_size:
        raise UserError(
            f"{uri}: no column {missing[0]!r}; the model has {known}: name all of them, or none"
        )
    frame = frame.drop(columns=list(keep))
    if frame.shape[1] != model.event_size:
        raise UserError(
            f"{uri}: {frame.shape[1]} columns, the model has {model.event_size} ({known})"
        )
    return frame.set_axis(list(model.columns), axis=1)


def _numbers(model, frame):
    """Values that the model takes, and what is wrong with each row, empty where nothing is."""
    from flow_models.models.missing import is_modelled

    errors = [""] * len(frame)
    columns = {}
    for name in frame.columns:
        column = frame[name]
        found = column if name in _others(model) else _as_numbers(column)
        columns[name] = found
        wrong = found.isna() if found.dtype.kind != "f" else ~np.isfinite(found)
        wrong = wrong & ~(column.isna() & is_modelled(model))
        for row in np.flatnonzero(wrong.to_numpy(bool)):
            cell = column.iloc[row]
            gap = column.isna().iloc[row]
            what = "is missing" if gap else f"holds {str(cell)[:40]!r}, no finite number"
            errors[row] = errors[row] or f"column '{name}' {what}"
    values = type(frame)(columns, index=frame.index)
    plain = getattr(model.codec, "is_plain", True)
    return values.to_numpy(np.float64) if plain else values, errors


def _as_numbers(column):
    """A column as numbers, NaN where a cell is none."""
    import pandas as pd

    if column.dtype.kind in "fiu":
        return column
    spaced = column.astype(str).str.contains("_", na=False)
    return pd.to_numeric(column.where(~spaced), errors="coerce").astype(np.float64)


def _others(model) -> list[str]:
    """Columns of the model whose values are no numbers: categories and dates."""
    kinds = dict(zip(model.columns, getattr(model.codec, "kinds", ())))
    return [name for name, kind in kinds.items() if kind.name in ("categorical", "date")]


def _texts(model) -> list[str]:
    """Columns whose categories are texts, even where a chunk holds numbers alone."""
    kinds = dict(zip(model.columns, getattr(model.codec, "kinds", ())))
    return [
        name
        for name, kind in kinds.items()
        if any(isinstance(value, str) for value in getattr(kind, "categories", ()))
    ]


def _words(column) -> list[str]:
    """Cells as text, empty where they are missing."""
    return ["" if gap else str(cell) for cell, gap in zip(column, column.isna())]
