"""Rows of NumPy arrays in files, of which only one part at a time is in memory."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy


class Head(NamedTuple):
    """What stands in front of an array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def head_of(file: IO[bytes]) -> Head:
    """The head of an NPY file; the file then stands at the numbers.

    Raises:
      ValueError: it is none.
    """
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if version >= (3, 0) and dtype.names:  # which differs in that names are UTF-8
        dtype.names = tuple(name.encode("latin1").decode() for name in dtype.names)
    return Head(shape, fortran, dtype)


def heads_of(archive: zipfile.ZipFile) -> dict[str, Head]:
    """Name -> head of each array of an NPZ file."""
    found = {}
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as file:
                found[name.removesuffix(".npy")] = head_of(file)
    return found


def rows_of(file: IO[bytes], rows: int | None) -> Iterator[np.ndarray]:
    """Parts of so many rows of an NPY file, all of it where `rows` is None; one empty part of an
    empty array. Pickled objects are never loaded.

    Arrays that lie column by column are mapped, those in an archive from a temporary file.

    Raises:
      ValueError: it is not a whole array.
    """
    head = head_of(file)
    if head.dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
    count = head.shape[0] if head.shape else 1
    if head.fortran and len(head.shape) > 1:
        whole = _by_columns(file, head, rows is not None)
        rows = rows or max(count, 1)
        for start in range(0, max(count, 1), rows):
            yield whole[start : start + rows]
        return
    rows = rows or max(count, 1)
    for start in range(0, max(count, 1), rows):
        shape = (min(rows, count - start), *head.shape[1:]) if head.shape else ()
        yield _next(file, shape, head.dtype)


def _next(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{size:,} bytes are expected, {len(data):,} are there")
    return np.frombuffer(data, dtype).reshape(shape) if size else np.empty(shape, dtype)


def _by_columns(file: IO[bytes], head: Head, in_parts: bool) -> np.ndarray:
    if not in_parts or not np.prod(head.shape):
        return _next(file, head.shape[::-1], head.dtype).T
    mapped: Any = file
    if not _is_of_disk(file):
        mapped = tempfile.TemporaryFile()
        shutil.copyfileobj(file, mapped)
        mapped.seek(0)
    return np.memmap(mapped, head.dtype, "r", mapped.tell(), head.shape, "F")


def _is_of_disk(file: IO[bytes]) -> bool:
    """Whether a file has a descriptor; what is inside an archive or in memory has none."""
    try:
        return not isinstance(file, zipfile.ZipExtFile) and file.fileno() >= 0
    except OSError:
        return False
