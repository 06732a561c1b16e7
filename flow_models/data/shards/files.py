"""One shard as a file: written whole, read with its checksums."""

from __future__ import annotations

import mmap
import tempfile
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flow_models.core import storage
from flow_models.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_LARGEST = 2**30  # bytes of a page


def write(uri: str, table: pa.Table, plain: Iterable[str] = ()) -> None:
    """Writes one shard, whole or not at all, with checksums of its pages.

    Args:
      plain: columns of bytes of equal length that are neither compressed nor encoded, pixels: they
        lie in the file as they are, in one page, and `read` takes them from there.
    """
    import pyarrow.parquet as pq

    sums = {f"crc32 of {name}": str(zlib.crc32(_bytes(table[name]))) for name in plain}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **sums})
    rest = [name for name in table.column_names if name not in plain]
    compression = {name: "none" if name in plain else "zstd" for name in table.column_names}
    with tempfile.TemporaryFile() as file:
        pq.write_table(
            table,
            file,
            row_group_size=max(1, len(table)),
            compression=compression,
            use_dictionary=rest,
            write_statistics=rest,
            write_page_checksum=True,
            data_page_size=_LARGEST if sums else None,
        )
        file.seek(0)
        storage.write_file(uri, file)


def read(uri: str, rows: int, columns: list[str] | None = None) -> pa.Table:
    """Columns of a shard of so many rows.

    Raises:
      UserError: it is missing or damaged.
    """
    import pyarrow as pa

    again = "delete it and prepare its part again: python -m flow_models prepare ... --part I/N"
    try:
        table = _read(_content(uri), columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{uri} is damaged ({' '.join(str(error).split())[:100]}): {again}"
        ) from error
    if lost := set(columns or ()) - set(table.column_names):
        raise UserError(f"{uri} is damaged (no column {min(lost)}): {again}")
    if len(table) != rows:
        raise UserError(f"{uri} has {len(table)} rows, the index says {rows}: {again}")
    return table


def _content(uri: str) -> pa.Buffer:
    """A file, mapped where it is of a disk: 4 MB of new memory take as long as their checksum.

    Raises:
      ValueError: the file is empty.
    """
    import pyarrow as pa

    with storage.open_read(uri) as file:
        if storage.is_s3(uri):
            return pa.py_buffer(file.read())
        return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _read(source: pa.Buffer, columns: list[str] | None) -> pa.Table:
    """Columns of a shard; those that lie in it as they are are not copied.

    Raises:
      ArrowException: a checksum is wrong.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(pa.BufferReader(source), page_checksum_verification=True)
    sums, schema = parquet.schema_arrow.metadata or {}, parquet.schema_arrow
    names = [name for name in columns or schema.names if name in schema.names]
    plain = [name for name in names if f"crc32 of {name}".encode() in sums]
    table = parquet.read([name for name in names if name not in plain])
    for name in plain:
        of_column = parquet.metadata.row_group(0).column(schema.names.index(name))
        end = of_column.data_page_offset + of_column.total_compressed_size
        kind, rows = schema.field(name).type, parquet.metadata.num_rows
        data = source.slice(end - kind.byte_width * rows, kind.byte_width * rows)
        if str(zlib.crc32(data)) != sums[f"crc32 of {name}".encode()].decode():
            raise pa.ArrowInvalid(f"CRC of {name}")
        table = table.append_column(name, pa.Array.from_buffers(kind, rows, [None, data]))
    return table.select(names)


def _bytes(column: pa.ChunkedArray) -> pa.Buffer:
    """The bytes of a column of bytes of equal length, one value after the other."""
    array = column.combine_chunks()
    width = array.type.byte_width
    return array.buffers()[1].slice(width * array.offset, width * len(array))
