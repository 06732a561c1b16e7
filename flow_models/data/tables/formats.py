"""One reader for each file format: (binary file, its name for messages, key of an array, columns
wanted) -> DataFrame."""

import contextlib
import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from flow_models.core.errors import UserError

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_COMMENTS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*")
_DECIMAL_COMMA = re.compile(r"(?:^|[;\n])\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*(?:[;\n]|$)")
_LOOKED_AT = 100_000  # characters that tell the kind of a text


def read_csv(file: IO[bytes], source: str, key: str, columns: Sequence[str] | None):
    """Separated text. The first line is a header unless one of its fields is a number (or names a
    column wanted)."""
    import pandas as pd

    first, text = _first_line(_text(file.read(), source), source)
    separator = _separator(first)
    names = _fields(first, separator)
    header = not any(map(_is_number, names)) or bool(columns and set(columns) & set(names))
    if header and len(set(names)) < len(names):
        return pd.DataFrame(columns=names)  # pandas would rename them; the caller refuses them
    decimal_comma = separator == ";" and _DECIMAL_COMMA.search(text[:_LOOKED_AT])
    try:
        with warnings.catch_warnings():  # rows longer than the header would lose their end
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text),
                sep=separator or r"\s+",
                header=0 if header else None,
                index_col=False,
                decimal="," if decimal_comma else ".",
                skipinitialspace=True,
                float_precision="round_trip",
                low_memory=False,
            )
    except pd.errors.ParserWarning as error:
        raise UserError(
            f"{source}: the rows have more fields than the header has names ({len(names)})"
        ) from error
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise UserError(f"{source}: rows of equal length are expected: {reason}") from error
    return frame if header else frame.set_axis(_numbered(frame.shape[1]), axis=1)


def read_npy(file: IO[bytes], source: str, key: str, columns: Sequence[str] | None):
    """One array [N] or [N, D], or named fields [N]. Pickled objects are never loaded."""
    if file.read(6) != b"\x93NUMPY":
        raise UserError(f"{source}: not an NPY file, whatever its name; write it with numpy.save")
    file.seek(0)
    with _damage(source, "an NPY array", ValueError, EOFError):
        array = np.load(file, allow_pickle=False)
    return _frame(array, source)


def read_npz(file: IO[bytes], source: str, key: str, columns: Sequence[str] | None):
    """The array `key`, or the only one, or several of one dimension and equal length as named
    columns."""
    import pandas as pd

    with _damage(source, "an NPZ file", zipfile.BadZipFile, ValueError, EOFError):
        archive = np.lib.npyio.NpzFile(file, allow_pickle=False)
        if key and key not in archive.files:
            there = ", ".join(archive.files) or "none"
            raise UserError(f"{source}: no array '{key}'; there are {there}")
        chosen = [key] if key else archive.files
        arrays = {name: np.asarray(archive[name]) for name in chosen}
    if len(arrays) == 1:
        return _frame(arrays[chosen[0]], source)
    lengths = {len(array) if array.ndim == 1 else None for array in arrays.values()}
    if len(lengths) == 1 and None not in lengths:
        return pd.DataFrame(arrays)
    there = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    raise UserError(
        f"{source}: which array? There are {there or 'none'}; name one at the end, as in"
        " file.npz#name"
    )


def read_parquet(file: IO[bytes], source: str, key: str, columns: Sequence[str] | None):
    """Parquet; only the columns wanted are decoded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _damage(source, "a Parquet file", pa.ArrowException, OSError):
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        if len(set(names)) < len(names):
            return parquet.read().to_pandas()  # the caller refuses the repeated names
        known = [name for name in names if name in columns] if columns else []
        complete = columns and len(known) == len(set(columns))  # else the caller says what is wrong
        return parquet.read(columns=known if complete else None).to_pandas()


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
    """A DataFrame over an array, with the names of its fields if it has any."""
    import pandas as pd

    if array.dtype.names and array.ndim == 1:
        return pd.DataFrame({name: array[name] for name in array.dtype.names})
    if array.dtype.kind not in "fiubUS":
        raise UserError(f"{source}: the array holds {array.dtype}, not real numbers")
    if array.ndim not in (1, 2):
        raise UserError(
            f"{source}: an array [rows, columns] is expected; this one has shape {array.shape}"
        )
    table = array[:, None] if array.ndim == 1 else array
    return pd.DataFrame(table, columns=_numbered(table.shape[1]))


def _text(data: bytes, source: str) -> str:
    """UTF-8 (or UTF-16 with its mark, else Latin-1); binary data is refused."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    if _CONTROL.search(text[:_LOOKED_AT]):
        raise UserError(f"{source}: not a table of text, whatever its name: it holds binary data")
    return text


def _first_line(text: str, source: str) -> tuple[str, str]:
    """The first line that is no comment, and the text from there on.

    A comment just above it, such as `# x y`, is the header if it has as many fields.
    """
    above = next(_COMMENTS.finditer(text))[0]
    rest = text[len(above) :]
    first = rest.partition("\n")[0].rstrip("\r")
    if not first.strip() or first.lstrip().startswith("#"):
        what = "has no rows" if text.strip() else "is empty"
        raise UserError(f"{source}: the file {what}")
    separator = _separator(first)
    comment = above.strip().rpartition("\n")[2].lstrip("# \t").rstrip()
    if comment and len(_fields(comment, separator)) == len(_fields(first, separator)):
        return comment, f"{comment}\n{rest}"
    return first, rest


def _separator(line: str) -> str | None:
    """Semicolon, tab or comma; None stands for blanks."""
    return next((each for each in ";\t," if each in line), None)


def _fields(line: str, separator: str | None) -> list[str]:
    fields = line.split() if separator is None else next(csv.reader([line], delimiter=separator))
    return [field.strip() for field in fields]


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True


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
