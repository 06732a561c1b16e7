"""Tables that a command writes part by part, as CSV or Parquet, in the memory of one part."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError

PART = 100_000  # rows of a part
_OTHERS = (".npy", ".npz", ".xlsx", ".json", ".gz", ".zip", ".png", ".jpg", ".html")
_FLOAT32 = "%.7g"  # all that a float32 has


def check_place(place: str) -> None:
    """Finds out before long work whether a table can be written there.

    Raises:
      UserError: it cannot, or its ending is that of another format.
    """
    if place.lower().endswith(_OTHERS):
        raise UserError(f"{place}: rows are written as .csv, .tsv or .parquet: give such a name")
    storage.check_target(place)


@contextlib.contextmanager
def opened(place: str, digits: int | None = None) -> Iterator[Any]:
    """A table that `add`s parts; the file is there, local or in S3, once all of it is.

    The name of the place says what it is: .parquet, tabs for .tsv, CSV for others.

    Args:
      digits: of floating numbers in text; by default seven of float32, and those of float64 that
        tell it apart.
    """
    with tempfile.TemporaryFile() as file:
        parquet = place.lower().endswith(".parquet")
        rows = _Parquet(file) if parquet else _Text(file, place, digits)
        yield rows
        rows.close()
        if file.seek(0, io.SEEK_END):  # else there were no rows
            file.seek(0)
            storage.write_file(place, file)


class _Text:
    """Separated text."""

    def __init__(self, file: IO[bytes], place: str, digits: int | None):
        # names of files that are not UTF-8 as they are
        self._text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
        self._header, self._digits = True, digits
        self._separator = "\t" if place.lower().endswith(".tsv") else ","

    def add(self, columns: Mapping) -> None:
        _frame({name: self._digited(values) for name, values in columns.items()}).to_csv(
            self._text, sep=self._separator, header=self._header, index=False, lineterminator="\n"
        )
        self._header = False

    def _digited(self, values):
        """Floating numbers as text; missing ones stay missing."""
        kind = getattr(values, "dtype", np.dtype(object))
        if kind not in (np.float32, np.float64) or (kind == np.float64 and not self._digits):
            return values
        pattern = f"%.{self._digits}g" if self._digits else _FLOAT32
        numbers = np.asarray(values)
        return [None if number != number else pattern % number for number in numbers.tolist()]

    def close(self) -> None:
        """Flushes; the file stays open, for it is sent yet."""
        self._text.flush()
        self._text.detach()


class _Parquet:
    """A Parquet file."""

    def __init__(self, file: IO[bytes]):
        self._file: IO[bytes] = file
        self._writer: Any = None

    def add(self, columns: Mapping) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        frame = _frame({name: _unicode(values) for name, values in columns.items()})
        schema = self._writer.schema if self._writer else None
        table = pa.Table.from_pandas(frame, schema, preserve_index=False)
        self._writer = self._writer or pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def _frame(columns: Mapping):
    """A DataFrame; texts as objects, for Arrow's strings take no names that are not UTF-8."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object) if isinstance(values, list) else values
            for name, values in columns.items()
        }
    )


def _unicode(values):
    """Texts that Parquet can hold: bytes that are no UTF-8 as \\x.."""
    if not isinstance(values, list):
        return values
    return [
        os.fsencode(value).decode("utf-8", "backslashreplace") if isinstance(value, str) else value
        for value in values
    ]
