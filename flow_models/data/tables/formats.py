"""One reader for each file format, in chunks: (binary file, what is asked of it) -> DataFrames."""

import contextlib
import dataclasses
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.data.tables import arrays, layout, numerals


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to read.

    Attributes:
      source: the file's name for messages.
      key: name of an array of an NPZ file.
      columns: those wanted, None for all.
      text: columns whose values stay text, such as labels.
      rows: of one chunk; None for one chunk of all.
      strict: whether a cell that is no number may cost the file, see `numerals.convert`.
    """

    source: str
    key: str = ""
    columns: Sequence[str] | None = None
    text: Sequence[str] = ()
    rows: int | None = None
    strict: bool = True


def read_csv(file: IO[bytes], asked: Asked) -> Iterator:
    """Separated text, see `layout.of`. A cell is missing where it is empty; in columns of numbers
    also nan, NA, null and the like."""
    import pandas as pd

    source, found = asked.source, layout.of(file, asked.source, asked.columns)
    names = _numbered(found.width) if found.names is None else found.names
    if len(set(names) - {""}) < len(names) - names.count(""):
        yield pd.DataFrame(columns=names)  # the caller refuses them
        return
    options = dict(sep=found.separator or r"\s+", skiprows=found.skipped, index_col=False)
    options |= dict(header=None, names=range(len(names)), dtype=str, na_filter=False)
    options |= dict(skipinitialspace=True, chunksize=asked.rows)
    with _ragged(source, len(names)), layout.opened(file, found.encoding) as text:
        read = pd.read_csv(text, **options)
        first = 1
        for chunk in [read] if asked.rows is None else read:
            chunk = chunk.reset_index(drop=True)
            columns = [
                _column(chunk[place], name, place, first, found.decimals[place], asked)
                for place, name in enumerate(names)
            ]
            yield pd.concat(columns, axis=1) if columns else chunk
            first += len(chunk)


def _column(cells, name: str, place: int, first: int, decimal: str, asked: Asked):
    if name in asked.text:
        return cells.where(cells != "").rename(name)
    where = f"{asked.source}: column '{name or place + 1}'"
    return numerals.convert(cells, decimal, where, first, asked.strict).rename(name)


@contextlib.contextmanager
def _ragged(source: str, width: int) -> Iterator[None]:
    """Says in one line that rows differ in length."""
    import pandas as pd

    try:
        with warnings.catch_warnings():  # rows longer than the header would lose their end
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.ParserWarning as error:
        raise UserError(
            f"{source}: the rows have more fields than the header has names ({width})"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{source}: 0 rows; the file has nothing but a header") from error
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"{source}: rows of equal length are expected: {reason}") from error


def read_npy(file: IO[bytes], asked: Asked) -> Iterator:
    """One array [N] or [N, D], or named fields [N]. Pickled objects are never loaded."""
    source = asked.source
    if file.read(6) != b"\x93NUMPY":
        raise UserError(f"{source}: not an NPY file, whatever its name; write it with numpy.save")
    file.seek(0)
    with _damage(source, "an NPY array", ValueError, EOFError):
        rows = arrays.rows_of(file, asked.rows)
        yield from (_frame(part, source) for part in rows)


def read_npz(file: IO[bytes], asked: Asked) -> Iterator:
    """The array `key`, or the only one, or several of one dimension and equal length as named
    columns. Pickled objects and single numbers beside them are left out."""
    source = asked.source
    with _damage(source, "an NPZ file", zipfile.BadZipFile, zlib.error, ValueError, EOFError):
        archive = zipfile.ZipFile(file)
        heads = arrays.heads_of(archive)
        if asked.key and asked.key not in heads:
            there = ", ".join(heads) or "none"
            raise UserError(f"{source}: no array '{asked.key}'; there are {there}")
        chosen = {asked.key: heads[asked.key]} if asked.key else heads
        objects = [name for name, head in chosen.items() if head.dtype.hasobject]
        rows = {
            name: head
            for name, head in chosen.items()
            if name not in objects and (asked.key or head.shape)
        }
        if objects and not rows:
            raise UserError(
                f"{source}: {', '.join(objects)} holds Python objects, which are not loaded: an"
                " array of numbers is expected"
            )
        left_out = [name for name in chosen if name not in rows]
        if left_out and rows:
            warn(f"{source}: left out, for they are no rows: {', '.join(left_out)}")
        _check_arrays(rows, source)
        parts = [arrays.rows_of(archive.open(f"{name}.npy"), asked.rows) for name in rows]
        for part in zip(*parts, strict=True):
            yield _one_frame(dict(zip(rows, part)), source)


def _check_arrays(heads: dict[str, arrays.Head], source: str) -> None:
    """Refuses several arrays that are not columns of one table."""
    shapes = [head.shape for head in heads.values()]
    if len(shapes) == 1 or len(set(shapes)) == 1 and len(shapes[0]) == 1:
        return
    there = ", ".join(f"{name} {list(head.shape)}" for name, head in heads.items())
    raise UserError(
        f"{source}: which array? There are {there or 'none'}; name one at the end, as in"
        " file.npz#name"
    )


def _one_frame(columns: dict[str, np.ndarray], source: str):
    import pandas as pd

    if len(columns) == 1:
        return _frame(next(iter(columns.values())), source)
    return pd.DataFrame({name: _native(column) for name, column in columns.items()})


def read_parquet(file: IO[bytes], asked: Asked) -> Iterator:
    """Parquet; only the columns wanted are decoded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _damage(asked.source, "a Parquet file", pa.ArrowException, OSError):
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        wanted = set(asked.columns or ())
        complete = wanted <= set(names) and len(set(names)) == len(names)
        # of names that are missing or repeated, the caller says what is wrong
        known = [name for name in names if name in wanted] if wanted and complete else None
        if asked.rows is None or not parquet.metadata.num_rows:
            yield _with_index(parquet.read(columns=known).to_pandas())
            return
        for groups in _groups(parquet.metadata, asked.rows):  # Arrow keeps memory for each of them
            for batch in parquet.iter_batches(asked.rows, groups, known):
                yield _with_index(batch.to_pandas())


def _with_index(frame):
    """The frame with what pandas took from the file as names of the rows as its first columns."""
    names = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=names) if names else frame


def _groups(metadata, rows: int) -> Iterator[list[int]]:
    """Numbers of groups of rows that follow one another, with so many rows at least."""
    groups, count = [], 0
    for number in range(metadata.num_row_groups):
        groups.append(number)
        count += metadata.row_group(number).num_rows
        if count >= rows or number == metadata.num_row_groups - 1:
            yield groups
            groups, count = [], 0


READERS = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
}
SUFFIXES = tuple(READERS)


def _frame(array: np.ndarray, source: str):
    """A DataFrame over an array, with the names of its fields if it has any; fields of several
    numbers are numbered, pos1, pos2, ..."""
    import pandas as pd

    if array.dtype.names and array.ndim == 1:
        columns: dict[str, np.ndarray] = {}
        for name in array.dtype.names:
            columns |= _field(array[name], name, source)
        return pd.DataFrame(columns)
    if array.dtype.kind not in "fiubUS":
        raise UserError(f"{source}: the array holds {array.dtype}, not real numbers")
    if array.ndim not in (1, 2):
        raise UserError(
            f"{source}: an array [rows, columns] is expected; this one has shape {array.shape}"
        )
    table = array[:, None] if array.ndim == 1 else array
    return pd.DataFrame(_native(table), columns=_numbered(table.shape[1]))


def _field(values: np.ndarray, name: str, source: str) -> dict[str, np.ndarray]:
    if values.dtype.names:
        raise UserError(f"{source}: field '{name}' has fields of its own; a column is expected")
    if values.ndim == 1:
        return {name: _native(values)}
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return {f"{name}{place}": _native(column) for place, column in enumerate(flat.T, 1)}


def _native(values: np.ndarray) -> np.ndarray:
    """In the byte order of this machine, which pandas needs; bytes as text."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _numbered(count: int) -> list[str]:
    return [f"x{place}" for place in range(1, count + 1)]


@contextlib.contextmanager
def _damage(source: str, kind: str, *errors: type[Exception]) -> Iterator[None]:
    """Say in one line that a file is not what its name says, with the reader's own reason."""
    try:
        yield
    except UserError:
        raise
    except errors as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(f"{source}: not {kind}, or damaged: {reason}") from error
