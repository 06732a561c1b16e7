"""A table of numbers from a file (CSV, NPY, NPZ, Parquet; local or s3://), and its parts."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError, warn
from flow_models.data.tables.checks import ROW, check_table, plural
from flow_models.data.tables.formats import READERS, SUFFIXES, Asked

_INDEX_NAMES = ("Unnamed: 0", "index", "__index_level_0__")


@dataclass(frozen=True)
class Table:
    """Checked data: `values` [N, D], float64 of files, the names of the columns, and the source."""

    values: np.ndarray
    columns: tuple[str, ...]
    source: str


def read_table(
    uri: str | os.PathLike, columns: Sequence[str] | None = None, min_rows: int = 2
) -> Table:
    """Read and check a table: .csv .tsv .txt (comma, semicolon, tab or blanks; header or none),
    .npy, .npz, .parquet.

    Args:
      uri: a local path or s3://bucket/key; for an NPZ file of several arrays, `file.npz#name` reads
        one.
      columns: names of the columns to keep, in this order; all by default. Without a header they
        are x1, x2, ...
      min_rows: fewer rows are refused.

    Raises:
      UserError: no such file, not a table, no such column, or data that `check_table` refuses.
    """
    frame, source = read_frame(uri, columns), os.fspath(uri)
    values = check_table(frame, min_rows=min_rows, source=source, dtype=np.float64)
    return Table(values, tuple(frame.columns), source)


def read_frame(
    uri: str | os.PathLike, columns: Sequence[str] | None = None, text: Sequence[str] = ()
):
    """The raw pandas DataFrame behind `read_table`: columns of any kind, values not checked. Its
    index is the number of the row in the file, from 1.

    Args:
      text: columns that stay text, such as labels: only their empty cells are missing.
    """
    (frame,) = read_chunks(uri, columns, text, None)
    return frame


def read_chunks(
    uri: str | os.PathLike,
    columns: Sequence[str] | None = None,
    text: Sequence[str] = (),
    rows: int | None = 100_000,
    strict: bool = True,
) -> Iterator:
    """`read_frame` in DataFrames of so many rows, for CSV and Parquet in constant memory.

    Args:
      strict: False leaves text in columns of numbers where cells are none, and refuses no file for
        them.
    """
    source = os.fspath(uri)
    path, _, key = source.partition("#") if ".npz#" in source.lower() else (source, "", "")
    suffix = os.path.splitext(path)[1].lower()
    if not storage.is_s3(path) and os.path.isdir(storage.local_path(path)):
        raise UserError(
            f"{source}: a file is expected; this is a folder: make shards of its tables with"
            " python -m flow_models prepare, which application 1 takes"
        )
    if suffix not in SUFFIXES:
        raise UserError(f"{source}: a table is a file whose name ends in {' '.join(SUFFIXES)}")
    with storage.open_read(path) as file:
        if not file.read(1):
            raise UserError(f"{source}: the file is empty")
        file.seek(0)
        place, left_out = 0, None
        for frame in READERS[suffix](file, Asked(source, key, columns, text, rows, strict)):
            frame.columns = [str(name).strip() for name in frame.columns]
            left_out = _left_out(frame, columns, source) if left_out is None else left_out
            kept = [i for i in range(frame.shape[1]) if i not in left_out]
            names = [frame.columns[i] or f"x{i + 1}" for i in kept]
            _check_names(names, source)
            frame = frame.iloc[:, kept].set_axis(names, axis=1)
            frame.index = _row_numbers(place, len(frame))
            place += len(frame)
            yield frame if columns is None else frame[_found(columns, names, source)]


def _row_numbers(place: int, count: int):
    import pandas as pd

    return pd.RangeIndex(place + 1, place + count + 1, name=ROW)


def _left_out(frame, wanted: Sequence[str] | None, source: str) -> list[int]:
    """Places of columns that are no data: an index that was written in front of the table, and
    columns without name and values, which separators at the ends of lines make."""
    names = list(frame.columns)
    empty = [i for i, name in enumerate(names) if not name and frame.iloc[:, i].isna().all()]
    if len(names) < 2 or not len(frame) or names[0] in (wanted or ()) or 0 in empty:
        return empty
    if not _is_index(names[0], frame.iloc[:, 0]):
        return empty
    what = f"column '{names[0]}'" if names[0] else "the first column, which has no name,"
    warn(f"{source}: {what} holds the numbers or names of the rows and is left out")
    return [0, *empty]


def _is_index(name: str, column) -> bool:
    """Whether a first column is what pandas or R write in front of a table."""
    if name and name not in _INDEX_NAMES or column.hasnans:
        return False
    values = column.to_numpy()
    if column.dtype.kind == "f":
        if not (values == np.round(values)).all():
            return False
        values = values.astype(np.int64)
    if not name:
        return bool(column.is_unique) or _counts(values)
    start = values[0] if values.dtype.kind in "iu" and values[0] in (0, 1) else None
    return start is not None and bool((values == np.arange(start, start + len(values))).all())


def _counts(values: np.ndarray) -> bool:
    """Whether whole numbers go up by 1 in all but 5% of the rows, as those of joined tables do."""
    return values.dtype.kind in "iu" and bool((np.diff(values) == 1).mean() > 0.95)


def split(
    values: np.ndarray,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shuffled rows in disjoint train, validation and test parts of at least one row each; rows of
    one of the `groups` [N] come into the same part.

    Raises:
      UserError: the fractions are not three shares, or too few rows, or groups, for three parts.
    """
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise UserError(
            f"fractions {tuple(fractions)}: three positive numbers that sum to 1 are expected"
        )
    rows = len(values)
    val, test = (max(1, round(share * rows)) for share in shares[1:])
    train = rows - val - test
    if train < 1:
        raise UserError(
            f"{plural(rows, 'row')} cannot be split into train, val, test by {tuple(fractions)}"
        )
    order = np.random.default_rng(seed).permutation(rows)
    first, second = train, train + val
    if groups is not None:
        order, ends = together(order, groups)
        if len(ends) < 3:
            raise UserError(
                f"{plural(len(ends), 'different row')} cannot be split into three parts"
            )
        first = nearest(ends[:-2], first)
        second = nearest(ends[(ends > first) & (ends < rows)], second)
    return values[order[:first]], values[order[first:second]], values[order[second:]]


def together(order: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of rows in which those of a group [N] follow the first of them, and where each group
    ends. Without groups of several rows it is the same order."""
    _, first, number = np.unique(groups[order], return_index=True, return_inverse=True)
    place = first[number]
    order, place = order[np.argsort(place, kind="stable")], np.sort(place)
    return order, np.append(np.flatnonzero(np.diff(place)) + 1, len(order))


def nearest(ends: np.ndarray, cut: int) -> int:
    """The one of the ends [K], rising numbers of rows, that is nearest to a cut."""
    return int(ends[np.abs(ends - cut).argmin()])


def _check_names(names: list[str], source: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(
            f"{source}: column name{'s' * (len(repeated) > 1)} used more than once:"
            f" {_quoted(repeated)}; rename them"
        )
    if not names:
        raise UserError(f"{source}: the table has no column")


def _found(columns: Sequence[str], names: list[str], source: str) -> list[str]:
    """The columns wanted, all of which are in the table."""
    wanted = [columns] if isinstance(columns, str) else list(columns)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UserError(
            f"{source}: no column{'s' * (len(missing) > 1)} {_quoted(missing)}; there are"
            f" {_quoted(names)}"
        )
    if not wanted or len(set(wanted)) < len(wanted):
        raise UserError(
            f"{source}: columns {_quoted(wanted)}: at least one is expected, and each only once"
        )
    return wanted


def _quoted(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
