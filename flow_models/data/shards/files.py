"""One shard as a file: written whole, read with its checksums."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flow_models.core import storage
from flow_models.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def write(uri: str, table: pa.Table, plain: Iterable[str] = ()) -> None:
    """Writes one shard, whole or not at all, with checksums of its pages.

    Args:
      plain: columns that are neither compressed nor encoded: pixels, which are read so fastest.
    """
    import pyarrow.parquet as pq

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
        )
        file.seek(0)
        storage.write_file(uri, file)


def read(uri: str, rows: int, columns: list[str] | None = None) -> pa.Table:
    """Columns of a shard of so many rows.

    Raises:
      UserError: it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    again = "delete it and prepare its part again: python -m flow_models prepare ... --part I/N"
    try:
        with storage.open_read(uri) as file:
            table = pq.ParquetFile(file, page_checksum_verification=True).read(columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{uri} is damaged ({' '.join(str(error).split())[:100]}): {again}"
        ) from error
    if lost := set(columns or ()) - set(table.column_names):
        raise UserError(f"{uri} is damaged (no column {min(lost)}): {again}")
    if len(table) != rows:
        raise UserError(f"{uri} has {len(table)} rows, the index says {rows}: {again}")
    return table
