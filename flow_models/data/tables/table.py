"""A table of numbers from a file (CSV, NPY, NPZ, Parquet; local or s3://), and its parts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.tables.checks import check_table, plural
from flow_models.data.tables.formats import READERS, SUFFIXES


@dataclass(frozen=True)
class Table:
    """Checked data: `values` float32 [N, D], the names of the columns, and the source."""

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
    Raises:
      UserError: no such file, not a table, no such column, or data that `check_table` refuses.
    """
    frame, source = read_frame(uri, columns), os.fspath(uri)
    values = check_table(frame, min_rows=min_rows, source=source)
    return Table(values, tuple(frame.columns), source)


def read_frame(uri: str | os.PathLike, columns: Sequence[str] | None = None):
    """The raw pandas DataFrame behind `read_table`: text columns (such as labels) are kept, values
    are not checked."""
    source = os.fspath(uri)
    path, _, key = source.partition("#") if ".npz#" in source.lower() else (source, "", "")
    suffix = os.path.splitext(path)[1].lower()
    if not storage.is_s3(path) and os.path.isdir(storage.local_path(path)):
        raise UserError(f"{source}: a file is expected; this is a folder")
    if suffix not in SUFFIXES:
        raise UserError(f"{source}: a table is a file whose name ends in {' '.join(SUFFIXES)}")
    with storage.open_read(path) as file:
        if not file.read(1):
            raise UserError(f"{source}: the file is empty")
        file.seek(0)
        frame = READERS[suffix](file, source, key, columns)
    frame.columns = [str(name).strip() for name in frame.columns]
    _check_names(list(frame.columns), source)
    return frame if columns is None else frame[_found(columns, list(frame.columns), source)]


def split(
    values: np.ndarray, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shuffled rows in disjoint train, validation and test parts of at least one row each."""
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
    return values[order[:train]], values[order[train : train + val]], values[order[train + val :]]


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
