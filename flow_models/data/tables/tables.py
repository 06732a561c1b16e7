"""Tables of numbers: reading (CSV, NPY, NPZ, Parquet; local or s3://), checking, splitting.

A table that passes `check_table` has a density that a flow can fit: finite numbers, no constant and
no repeated column (the likelihood would be unbounded), and enough digits left in float32.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow_models.core.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt", ".npy", ".npz", ".parquet")
_STEPS = (
    100  # float32 steps that one standard deviation must span, or rounding is seen in the density
)
_WIDEST = 2_000  # columns up to which all pairs are compared
_REPEATED = 1e-12  # 1 - |correlation| below which one column says nothing that the other does not


@dataclass(frozen=True)
class Table:
    """Checked data: `values` float32 [N, D], a name (and, where known, a unit) for each column, and
    the source."""

    values: np.ndarray
    columns: tuple[str, ...]
    source: str
    units: tuple[str, ...] = ()


def read_table(
    uri: str | os.PathLike, columns: Sequence[str] | None = None, min_rows: int = 2
) -> Table:
    """Read and check a table: .csv .tsv .txt (comma, semicolon, tab or blanks; header or none),
    .npy, .npz, .parquet.

    Args:
        uri: a local path or s3://bucket/key; of an NPZ file with several arrays, `file.npz#name`
          reads one.
        columns: names of the columns to keep, in this order; all by default. Without a header they
          are x1, x2, ...
    Raises:
        UserError: no such file, not a table, no such column, or data that `check_table` refuses.
    """
    frame = read_frame(uri, columns)
    return Table(
        check_table(frame, min_rows=min_rows, source=os.fspath(uri)),
        tuple(frame.columns),
        os.fspath(uri),
    )


def read_frame(uri: str | os.PathLike, columns: Sequence[str] | None = None):
    """The raw pandas DataFrame behind `read_table`: text columns (such as labels) are kept, values
    are not checked."""
    from flow_models.core import storage
    from flow_models.data.tables import formats

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
        frame = formats.READERS[suffix](file, source, key, columns)
    return _select(_named(frame, source), columns, source)


def check_table(
    values, columns: Sequence[str] | None = None, min_rows: int = 2, source: str = "the table"
) -> np.ndarray:
    """The values as float32 [N, D], or a UserError that names the column and the first row (counted
    from 1) at fault.

    Args:
        values: array, nested list or DataFrame [N, D]; [N] is taken as [N, 1].
        columns: D names for messages; a DataFrame has its own, else x1, x2, ...
    """
    names, parts = _columns(values, columns, source)
    rows = len(parts[0])
    if rows < min_rows:
        raise UserError(
            f"{source}: {rows} row{'s' * (rows != 1)}; at least {min_rows} are expected"
        )
    numbers = np.stack([_numbers(part, name, source) for name, part in zip(names, parts)], axis=1)
    for name, column in zip(names, numbers.T):
        _check_column(column, name, source)
    _check_repeats(numbers, names, source)
    return numbers.astype(np.float32)


def as_numbers(values, source: str = "the table") -> np.ndarray:
    """The values as finite float64 [N, D], whatever their spread: what can be scored, though not
    trained on.

    Raises: UserError that names the column and the first row at fault.
    """
    names, parts = _columns(values, None, source)
    numbers = np.stack([_numbers(part, name, source) for name, part in zip(names, parts)], axis=1)
    for name, column in zip(names, numbers.T):
        _check_finite(column, f"{source}: column '{name}'")
    return numbers


def split(
    values: np.ndarray, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shuffle the rows and cut them into disjoint train, validation and test parts of at least one
    row each."""
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
            f"{rows} row{'s' * (rows != 1)} cannot be split into train, val, test by"
            f" {tuple(fractions)}"
        )
    order = np.random.default_rng(seed).permutation(rows)
    return values[order[:train]], values[order[train : train + val]], values[order[train + val :]]


def _named(frame, source: str):
    """Names as text, each once."""
    frame.columns = [str(name).strip() for name in frame.columns]
    names = list(frame.columns)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(
            f"{source}: column name{_s(repeated)} used more than once: {_quoted(repeated)}; rename"
            " them"
        )
    if not names:
        raise UserError(f"{source}: the table has no column")
    return frame


def _select(frame, columns: Sequence[str] | None, source: str):
    if columns is None:
        return frame
    wanted = [columns] if isinstance(columns, str) else list(columns)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise UserError(
            f"{source}: no column{_s(missing)} {_quoted(missing)}; there are"
            f" {_quoted(frame.columns)}"
        )
    if not wanted or len(set(wanted)) < len(wanted):
        raise UserError(
            f"{source}: columns {_quoted(wanted)}: at least one is expected, and each only once"
        )
    return frame[wanted]


def _columns(
    values, columns: Sequence[str] | None, source: str
) -> tuple[list[str], list[np.ndarray]]:
    """Names and one-dimensional arrays, whatever the values came as."""
    if hasattr(values, "columns") and hasattr(values, "iloc"):
        names, parts = (
            [str(c) for c in values.columns],
            [values.iloc[:, i].to_numpy() for i in range(values.shape[1])],
        )
    else:
        array = _array(values, source)
        parts = list(array.T)
        names = [f"x{i + 1}" for i in range(len(parts))]
    if columns is not None and len(columns) != len(parts):
        raise UserError(f"{source}: {len(columns)} column names given for {len(parts)} columns")
    if not parts:
        raise UserError(f"{source}: the table has no column")
    return (names if columns is None else [str(c) for c in columns]), parts


def _array(values, source: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UserError(
            f"{source}: rows of equal length are expected: {' '.join(str(error).split())}"
        ) from error
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2:
        raise UserError(
            f"{source}: an array [rows, columns] is expected; this one has shape {array.shape}"
        )
    return array


def _numbers(part: np.ndarray, name: str, source: str) -> np.ndarray:
    """One column as float64; a missing value becomes NaN."""
    if part.dtype.kind in "fiu":
        return part.astype(np.float64)
    if part.dtype.kind not in "OUSTb":
        raise UserError(f"{source}: column '{name}' holds {part.dtype}, not real numbers")
    out = np.empty(len(part))
    for row, value in enumerate(part):
        try:
            out[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError):
            out[row] = np.nan
        if np.isnan(out[row]) and not _missing(value) or isinstance(value, (bool, np.bool_)):
            raise UserError(
                f"{source}: column '{name}', row {row + 1}: a number is expected, not"
                f" {str(value)[:40]!r}"
            )
    return out


def _missing(value) -> bool:
    return (
        value is None
        or isinstance(value, (float, np.floating))
        or str(value).strip().lower() in ("", "nan", "<na>")
    )


def _check_column(column: np.ndarray, name: str, source: str) -> None:
    """Finite, within float32, not constant, and not so far from zero that float32 rounds its
    variation away."""
    where = f"{source}: column '{name}'"
    _check_finite(column, where)
    largest = np.abs(column).max()
    if largest > np.finfo(np.float32).max:
        raise UserError(
            f"{where}: {largest:.3g} is too large for 32-bit numbers (3.4e38); rescale the column"
        )
    if column.min() == column.max():
        raise UserError(
            f"{where} is constant ({column[0]:g}): its likelihood would be unbounded; leave it out"
        )
    deviation = column.std()
    if deviation < max(_STEPS * float(np.spacing(np.float32(largest))), np.finfo(np.float32).tiny):
        raise UserError(
            f"{where} varies by {deviation:.3g} around {column.mean():.9g}: too little for 32-bit"
            " numbers; subtract an offset (or rescale) first"
        )


def _check_finite(column: np.ndarray, where: str) -> None:
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        raise UserError(
            f"{where}: {bad.size} value{_s(bad)} missing, NaN or infinite (first in row"
            f" {bad[0] + 1}); remove or fill these rows"
        )


def _check_repeats(numbers: np.ndarray, names: Sequence[str], source: str) -> None:
    """No column may be another one again, whatever its scale: that density is unbounded too."""
    if not 1 < len(names) <= _WIDEST or len(numbers) < 3:
        return
    standard = (numbers - numbers.mean(0)) / numbers.std(0)
    likeness = np.abs(np.triu(standard.T @ standard / len(numbers), 1))
    first, second = np.unravel_index(likeness.argmax(), likeness.shape)
    if likeness[first, second] > 1 - _REPEATED:
        raise UserError(
            f"{source}: column '{names[second]}' is a multiple of column '{names[first]}': the"
            " likelihood would be unbounded; leave one out"
        )


def _s(items) -> str:
    return "" if len(items) == 1 else "s"


def _quoted(names, most: int = 12) -> str:
    names = [f"'{name}'" for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
