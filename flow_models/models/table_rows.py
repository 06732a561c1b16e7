"""Rows of the user's tables for a model, chunk by chunk, and what is wrong with each of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError, warn
from flow_models.core.share import WHOLE, Share

SHOWN = 12  # names in a message


@dataclasses.dataclass(frozen=True)
class Part:
    """Rows of a table.

    Attributes:
      names: numbers of the rows in the file, from 1; of a folder's `file.csv:1`.
      kept: columns that stand beside what is computed, as text; empty where a cell is missing.
      values: what the model takes, an array or a DataFrame [B, D].
      errors: for each row which cell no model takes, "" where all are well.
    """

    source: str
    names: list[str]
    kept: dict[str, list[str]]
    values: Any
    errors: list[str]

    @property
    def good(self) -> np.ndarray:
        """Which rows the model takes, [B]."""
        return np.array([not error for error in self.errors], bool)

    def refuse_bad(self) -> None:
        """Raises UserError for the first row that the model does not take."""
        for row, error in zip(self.names, self.errors):
            if error:
                raise UserError(f"{self.source}: row {row}: {error}")


def read(model, uri: str, keep: Sequence[str] = (), share: Share = WHOLE) -> Iterator[Part]:
    """Parts of a table, or of the tables of a folder or prefix, each in little memory: the columns
    of x, or of the data y of a posterior.

    Columns are those that the model knows by name, else all others in their order.

    Args:
      keep: names of columns, each one by itself or several with commas between.
      share: takes part of the files of a folder.

    Raises:
      UserError: no such columns.
    """
    from flow_models.data import tables

    if not _is_folder(uri, tables.SUFFIXES):
        share.refuse_one(uri)
        yield from _of_file(model, uri, keep)
        return
    for file in share.of_files(uri, tables.SUFFIXES):
        name = storage.below(file, uri)
        for part in _of_file(model, file, keep):
            yield dataclasses.replace(part, names=[f"{name}:{row}" for row in part.names])


def _is_folder(uri: str, suffixes: Sequence[str]) -> bool:
    if storage.is_s3(uri):
        return not uri.lower().partition("#")[0].endswith(tuple(suffixes))
    return os.path.isdir(storage.local_path(uri))


def _of_file(model, uri: str, keep: Sequence[str]) -> Iterator[Part]:
    from flow_models.data import tables

    codec = codec_of(model)
    text = [*keep, *(name for each in keep for name in each.split(",")), *_texts(codec)]
    text = [name for name in text if name not in codec.columns or name in _texts(codec)]
    for number, frame in enumerate(tables.read_chunks(uri, text=text, strict=False)):
        kept = _to_keep(keep, frame, uri)
        if not number:
            _warn_of_places(codec, frame.drop(columns=kept), uri)
        values, errors = _numbers(model, codec, _of_model(codec, frame, uri, kept))
        words = {name: _words(frame[name]) for name in kept}
        yield Part(uri, [str(row) for row in frame.index], words, values, errors)


def codec_of(model):
    """The codec of the rows that tables hold: of data y where x are parameters given data."""
    return model.codecs["y"] if model.is_posterior else model.codec


def free_name(name: str, taken: Sequence[str]) -> str:
    """The name, or with underscores behind it until no column has it."""
    while name in taken:
        name += "_"
    return name


def few(names: Sequence[str]) -> str:
    """The names, with commas, or the first of them."""
    return ", ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])


def _to_keep(keep: Sequence[str], frame, uri: str) -> list[str]:
    """Names of the columns to keep: a column `a,b` where there is one, else a and b."""
    names = []
    for each in keep:
        names += [each] if each in frame.columns else [name.strip() for name in each.split(",")]
    lost = [name for name in names if name and name not in frame.columns]
    if lost:
        raise UserError(f"{uri}: no column {lost[0]!r} to keep; there are {few(list(frame))}")
    return [name for name in dict.fromkeys(names) if name]


def _of_model(codec, frame, uri: str, keep: Sequence[str]):
    """The columns of the model, by name or else by place."""
    names = list(codec.columns)
    missing = [name for name in names if name not in frame.columns]
    if not missing:
        return frame[names]
    if len(missing) < len(names):
        raise UserError(
            f"{uri}: no column {missing[0]!r}; the model has {few(names)}: name all of them, or"
            " none"
        )
    frame = frame.drop(columns=list(keep))
    if frame.shape[1] != len(names):
        raise UserError(
            f"{uri}: {frame.shape[1]} columns, the model has {len(names)} ({few(names)})"
        )
    return frame.set_axis(names, axis=1)


def _warn_of_places(codec, frame, uri: str) -> None:
    """Warns where columns that have names are taken by position."""
    unnamed = [f"x{place}" for place in range(1, frame.shape[1] + 1)]
    if set(codec.columns) & set(frame.columns) or list(frame.columns) == unnamed:
        return
    if frame.shape[1] == len(codec.columns):
        taken = [f"{one!r} as {name!r}" for one, name in zip(frame.columns, codec.columns)]
        warn(f"{uri}: no column has a name of the model; by position, {few(taken)}")


def _numbers(model, codec, frame):
    """Values that the model takes, and what is wrong with each row, empty where nothing is."""
    from flow_models.models.missing import is_modelled

    errors = [""] * len(frame)
    columns = {}
    for name in frame.columns:
        column = frame[name]
        kind = _others(codec).get(name)
        found = _as_dates(column) if kind == "date" else column if kind else _as_numbers(column)
        columns[name] = found
        wrong = found.isna() if found.dtype.kind != "f" else ~np.isfinite(found)
        wrong = wrong & ~(column.isna() & is_modelled(model))
        for row in np.flatnonzero(wrong.to_numpy(bool)):
            cell = column.iloc[row]
            gap = column.isna().iloc[row]
            wanted = "date" if kind == "date" else "finite number"
            what = "is missing" if gap else f"holds {str(cell)[:40]!r}, no {wanted}"
            errors[row] = errors[row] or f"column '{name}' {what}"
    values = type(frame)(columns, index=frame.index)
    plain = getattr(codec, "is_plain", True)
    return values.to_numpy(np.float64) if plain else values, errors


def _as_numbers(column):
    """A column as numbers, NaN where a cell is none."""
    import pandas as pd

    if column.dtype.kind in "fiu":
        return column
    spaced = column.astype(str).str.contains("_", na=False)
    return pd.to_numeric(column.where(~spaced), errors="coerce").astype(np.float64)


def _as_dates(column):
    """A column as datetimes, NaT where a cell is none."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column
    texts = column.astype(str).where(column.notna())
    return pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True)


def _others(codec) -> dict[str, str]:
    """Columns whose values are no numbers, and their kinds: categorical or date."""
    kinds = dict(zip(codec.columns, getattr(codec, "kinds", ())))
    return {name: kind.name for name, kind in kinds.items() if kind.name in ("categorical", "date")}


def _texts(codec) -> list[str]:
    """Columns whose categories are texts, even where a chunk holds numbers alone."""
    kinds = dict(zip(codec.columns, getattr(codec, "kinds", ())))
    return [
        name
        for name, kind in kinds.items()
        if any(isinstance(value, str) for value in getattr(kind, "categories", ()))
    ]


def _words(column) -> list[str]:
    """Cells as text, empty where they are missing."""
    return ["" if gap else str(cell) for cell, gap in zip(column, column.isna())]
