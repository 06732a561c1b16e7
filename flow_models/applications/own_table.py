"""A table of the user's own, whose columns may be of several kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flow_models.core.errors import UserError
from flow_models.data import tables
from flow_models.data.shards.folder import is_prepared
from flow_models.data.tables.prepared import TableShards
from flow_models.data.tables.preparing import SPLITS
from flow_models.models.categories import Categorical
from flow_models.models.columns import Columns
from flow_models.models.kinds import numbers

if TYPE_CHECKING:
    from flow_models.data.shards.stream import EndlessBatches

MEMORY = 1024.0  # MB of shards that are read into memory


@dataclasses.dataclass(frozen=True)
class OwnTable:
    """Three parts of a table, rows of an array where all columns are numbers that need nothing,
    else DataFrames.

    Attributes:
      columns: their codec; without kinds where nothing is needed.
      parts: train, validation and test.
      weights: of the rows of each part, with mean 1; None for equal ones.
      kept: identifiers of the rows of each part, as DataFrames.
      frame: all rows that are learned, with their numbers in the file.
      stream: stream(batch_size, seed) -> batches of prepared rows, of shards that do not fit in
        memory; the training rows above are then some of `rows`.
    """

    columns: Columns
    parts: list[Any]
    weights: list[np.ndarray] | None
    kept: list[Any]
    frame: Any
    stream: Callable[[int, int], EndlessBatches] | None = None
    rows: int = 0


def read(
    uri: str,
    wanted: list[str] | None = None,
    kinds: dict[str, str] | None = None,
    weights: str | None = None,
    min_rows: int = 2,
    seed: int = 0,
    missing: str = "refuse",
    lower=None,
    upper=None,
    memory_limit_mb: float = MEMORY,
) -> OwnTable:
    """Reads a table, finds the kinds of its columns and splits its rows 80 : 10 : 10, equal rows of
    numbers into the same part; shards of tables are split already.

    Args:
      wanted: names of the columns to use; None for all.
      kinds: kinds by name, which win over those found (see `Columns.of`).
      weights: the column that holds the weight of each row; it is not learned. Rows of weight 0
        are left out.
      missing: "drop" leaves rows with missing or infinite cells out, "refuse" raises an error,
        "model" keeps missing cells, for a model that learns what is observed of a row.
      lower, upper: bounds, by name or one a column; rows on a bound or outside are refused.
      memory_limit_mb: shards that need more are streamed.

    Raises:
      UserError: data that have no density, with the column and the row at fault.
    """
    names = wanted if wanted is None or not weights else [*wanted, weights]
    shards = TableShards(uri, names) if is_prepared(uri) else None
    streamed = shards is not None and not shards.fits(memory_limit_mb)
    if shards is None:
        text = [name for name, kind in (kinds or {}).items() if kind == "identifier"]
        frame, label = tables.read_frame(uri, names, text), None
    else:
        frame, label = shards.frame(memory_limit_mb)
    if streamed and missing == "drop":
        raise UserError(f"{uri} is streamed: leave rows out when it is prepared, --missing drop")
    label = None if label is None else type(frame[frame.columns[0]])(label, frame.index)
    frame = _complete(frame, kinds, missing, uri)
    weight = _weights(frame, weights, uri)
    mean = 1.0 if weight is None else weight.mean()
    if weight is not None:
        frame, weight = _weighty(frame.drop(columns=weights), weight, uri)
    seen = _with_witnesses(frame, shards) if shards and streamed else frame
    columns = Columns.of(seen, kinds)
    report(columns)
    if not columns.names:
        raise UserError(f"{uri}: all columns are identifiers: there is nothing to learn")
    learned = frame[list(columns.names)]
    columns = columns.bounded(lower, upper, seen)
    _check_bounds(columns, learned, uri)
    plain = columns.is_plain and all(kind.is_plain for kind in columns.kinds)
    if plain:
        check = _check_observed if missing == "model" else tables.check_table
        values = check(learned, min_rows=min_rows, source=uri)
        # shards are not measured as arrays are
        columns = columns if streamed else dataclasses.replace(columns, kinds=())
    else:
        check_kinds(columns, learned, min_rows, uri, missing == "model")
    of_flow = [columns.names[i] for i in columns.numbers]
    tables.warn_of_steps(learned[_undated(learned, of_flow)], uri)
    parts: Sequence[np.ndarray]
    if label is None:
        groups = tables.groups_of_copies(learned, uri) if of_flow else None
        parts = tables.split(np.arange(len(frame)), seed=seed, groups=groups)
    else:
        parts = [np.flatnonzero(label[frame.index] == split) for split in SPLITS]
    if of_flow:
        tables.warn_of_copies(learned.iloc[parts[0]], learned.iloc[parts[2]], uri)
    rows = [values[part] if plain else learned.iloc[part] for part in parts]
    kept = [frame[list(columns.identifiers)].iloc[part] for part in parts]
    shares = None if weight is None else [weight[part] / weight[part].mean() for part in parts]
    found = OwnTable(columns, rows, shares, kept, learned)
    if shards is None or not streamed:
        return found
    of_stream = _Decoding(columns, weights, mean, missing == "model", uri)
    stream = lambda batch, seed: shards.batches(of_stream, of_stream.widths, batch, seed)
    return dataclasses.replace(found, stream=stream, rows=len(shards))


@dataclasses.dataclass(frozen=True)
class _Decoding:
    """Rows of a shard as a network takes them, or refused.

    Attributes:
      weights, mean: the column of weights, and its mean.
      gaps: whether cells may be missing.
    """

    columns: Columns
    weights: str | None
    mean: float
    gaps: bool
    uri: str

    @property
    def widths(self) -> dict[str, int]:
        return {"x": len(self.columns.names), **({"weight": 1} if self.weights else {})}

    def __call__(self, frame) -> tuple[np.ndarray, ...]:
        learned = frame[list(self.columns.names)]
        if not self.gaps:
            _refuse_gaps(learned, self.uri)
        _check_bounds(self.columns, learned, self.uri)
        x = self.columns.prepare(learned)
        for name, kind, column in zip(self.columns.names, self.columns.kinds, x.T):
            unknown = column == len(kind.categories) if isinstance(kind, Categorical) else ()
            for wrong, what in ((np.isinf(column), "infinite"), (unknown, "an unknown category")):
                if np.any(wrong):
                    row = tables.row_numbers(frame)[int(np.argmax(wrong))]
                    raise UserError(f"{self.uri}: column {name!r}, row {row}: {what}")
        weight = _weights(frame, self.weights, self.uri)
        if weight is None:
            return (x,)
        return x, (weight[:, None] / self.mean).astype(np.float32)


def _with_witnesses(frame, shards: TableShards):
    """A sample with the rows that show rare values and the least and largest ones."""
    import pandas as pd

    return pd.concat([frame, shards.witnesses()[list(frame.columns)]], ignore_index=True)


def _complete(frame, kinds: dict[str, str] | None, missing: str, uri: str):
    """The rows without gaps in what is learned, or all."""
    if missing in ("refuse", "model"):
        return frame
    if missing != "drop":
        raise UserError(f"missing is {missing!r}, must be refuse, drop or model")
    kept = Columns.of(frame, kinds).identifiers
    complete = tables.without_missing(frame.drop(columns=list(kept)), missing, uri)
    return frame.loc[complete.index]


def _undated(frame, names: list[str]) -> list[str]:
    """The columns of numbers; dates are none."""
    return [name for name in names if frame[name].dtype.kind in "fiu"]


def _weights(frame, name: str | None, uri: str) -> np.ndarray | None:
    """The weights of the rows [N], at least 0 and not all 0."""
    if not name:
        return None
    if name not in frame.columns:
        raise UserError(f"{uri}: no column {name!r} of weights; there are {', '.join(frame)}")
    weights = tables.as_numbers(frame[[name]], uri)[:, 0]
    if (weights < 0).any() or not weights.any():
        row = tables.row_numbers(frame)[int(np.argmin(weights))]
        raise UserError(f"{uri}: column {name!r}, row {row}: a weight is above 0 or 0")
    return weights


def _weighty(frame, weights: np.ndarray, uri: str):
    """The rows whose weight is above 0, and their weights: each part of a split then has weight."""
    kept = weights > 0
    if not kept.all():
        print(f"{uri}: {(~kept).sum():,} of {len(frame):,} rows have weight 0 and are left out")
    return frame[kept], weights[kept]


def _check_bounds(columns: Columns, frame, uri: str) -> None:
    """Refuses values on a bound or outside, with the row of the file."""
    lower, upper = (
        [getattr(kind, side, None) for kind in columns.kinds] for side in ("lower", "upper")
    )
    tables.check_bounds(frame, lower, upper, uri)


def check_kinds(columns: Columns, frame, min_rows: int, uri: str, gaps: bool = False) -> None:
    """Refuses missing cells where there may be no `gaps`, and columns of the flow that have no
    density together."""
    if not gaps:
        _refuse_gaps(frame, uri)
    if len(frame) < min_rows:
        raise UserError(f"{uri}: {len(frame)} rows; at least {min_rows} are expected")
    if columns.numbers:
        names = [columns.names[i] for i in columns.numbers]
        values = columns.prepare(frame)[:, columns.numbers]
        if gaps:
            _check_observed(type(frame)(values, frame.index, names), 2, uri)
        else:
            tables.check_table(values, names, source=uri)


def _refuse_gaps(frame, uri: str) -> None:
    for name in frame.columns:
        missing = np.flatnonzero(frame[name].isna().to_numpy())
        if len(missing):
            raise UserError(
                f"{uri}: column {name!r}: {len(missing)} missing, the first in row"
                f" {tables.row_numbers(frame)[missing[0]]}; fill them, or see --missing"
            )


def _check_observed(frame, min_rows: int, source: str) -> np.ndarray:
    """Numbers [N, D] of a DataFrame, NaN where a cell is missing. What is observed of each column
    must have a density, and the columns together in rows without gaps."""
    for name in frame.columns:
        tables.check_table(frame[[name]].dropna(), min_rows=min_rows, source=source)
    complete = frame.dropna()
    if len(complete) >= min_rows > 2:
        tables.check_table(complete, min_rows=min_rows, source=source)
    return np.stack([numbers(frame[name]) for name in frame.columns], 1).astype(np.float32)


def report(columns: Columns) -> None:
    """Prints what was found where it is not plain numbers alone."""
    found = columns.described()
    if set(found.values()) != {"continuous"}:
        for name, words in found.items():
            print(f"column {name}: {words}")
