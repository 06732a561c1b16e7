"""Lists of files that somebody has written, as S3 Inventory does daily, in place of a listing of
the store: ten million names in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote_plus

from flow_models.core import storage
from flow_models.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_FORMATS = ("csv", "csv.gz", "parquet", "orc")
_COLUMNS = ("bucket", "key", "islatest", "isdeletemarker")


@dataclass(frozen=True)
class Inventory:
    """The files that a list names.

    Attributes:
      uri: manifest.json of S3 Inventory, or a table (.csv, .csv.gz, .parquet, .orc) with a column
        `key`: of a place in S3 the whole keys, of a folder the names below it.
      source: the folder or prefix whose files it lists, maybe among others.
    """

    uri: str
    source: str

    def files(self, folder: str) -> Iterator[storage.Found]:
        """The files below a folder of the source, as `storage.list_files` has them, without size.

        Raises:
          UserError: no list, a damaged one, or one of another bucket.
        """
        base = storage.join(self.source, "")
        if storage.is_s3(base):
            base = "/".join([*base.split("/")[:3], ""])
        prefix = storage.join(folder, "").removeprefix(base)
        for key in self._keys(base, prefix):
            hidden = "/." in f"/{key[len(prefix) :]}"
            yield storage.Found(base + key, -1, "", hidden)

    def _keys(self, base: str, prefix: str) -> Iterator[str]:
        """Keys of the present versions of all objects below a prefix, which are no folders."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            for table in self._tables(base):
                keys = table["key"].cast(pa.string())
                here = pc.and_(pc.starts_with(keys, prefix), pc.invert(pc.ends_with(keys, "/")))
                for name, kept in (("islatest", True), ("isdeletemarker", False)):
                    if name in table.column_names:
                        flags = table[name].cast(pa.bool_()).fill_null(kept)
                        here = pc.and_(here, flags if kept else pc.invert(flags))
                yield from keys.filter(here).to_pylist()
        except (pa.ArrowException, OSError) as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"{self.uri}: this list is damaged: {line}") from error

    def _tables(self, base: str) -> Iterator[pa.Table]:
        """Tables of the list; the next file is on its way while one is read."""
        if not self.uri.endswith(".json"):
            yield from _tables(storage.open_read(self.uri), self.uri)
            return
        manifest = self._manifest(base)
        is_csv = manifest["fileFormat"].lower() == "csv"
        names = [each.strip() for each in manifest["fileSchema"].split(",")] if is_csv else None
        place = f"s3://{manifest['destinationBucket'].rpartition(':')[2]}"
        uris = [f"{place}/{each['key']}" for each in manifest["files"]]
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(storage.open_read, uri) for uri in uris[:1]]
            for uri, following in zip(uris, [*uris[1:], None]):
                file = ahead.pop().result()
                ahead += [pool.submit(storage.open_read, following)] if following else []
                yield from _tables(file, uri, names)

    def _manifest(self, base: str) -> dict:
        """Raises UserError where it is none, or of another bucket than the source's."""
        try:
            manifest = json.loads(storage.read_bytes(self.uri))
            bucket, _ = manifest["sourceBucket"], [manifest[n] for n in ("files", "fileSchema")]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.uri}: no manifest of S3 Inventory ({type(error).__name__}: {error})"
            ) from error
        if base != f"s3://{bucket}/":
            raise UserError(f"{self.uri} lists s3://{bucket}, and pictures are asked of {base}")
        return manifest


def _tables(file: IO[bytes], uri: str, names: list[str] | None = None) -> Iterator[pa.Table]:
    """Some hundred thousand rows at a time; `names` are those of the columns of a CSV of S3
    Inventory, whose keys are encoded as in an address."""
    import pyarrow as pa

    with file:
        for table in _read(file, uri, names):
            plain = [name.lower().replace("_", "") for name in table.column_names]
            table = table.rename_columns(plain)
            if "key" not in plain:
                raise UserError(f"{uri}: no column 'key' among {', '.join(plain[:8])}")
            if names:
                keys = pa.array(map(unquote_plus, table["key"].to_pylist()), pa.string())
                table = table.set_column(plain.index("key"), "key", keys)
            yield table.select([name for name in _COLUMNS if name in plain])


def _read(file: IO[bytes], uri: str, names: list[str] | None) -> Iterator[pa.Table]:
    import pyarrow as pa

    if uri.lower().endswith(".parquet"):
        import pyarrow.parquet as pq

        table = pq.ParquetFile(file)
        wanted = [n for n in table.schema_arrow.names if n.lower().replace("_", "") in _COLUMNS]
        yield from (pa.Table.from_batches([batch]) for batch in table.iter_batches(columns=wanted))
    elif uri.lower().endswith(".orc"):
        from pyarrow import orc

        yield orc.ORCFile(file).read()
    elif uri.lower().endswith((".csv", ".csv.gz")):
        from pyarrow import csv

        plain = pa.CompressedInputStream(file, "gzip") if uri.lower().endswith("gz") else file
        read = csv.ReadOptions(column_names=names, block_size=2**24)
        text = csv.ConvertOptions(column_types=dict.fromkeys(("key", "Key"), pa.string()))
        with csv.open_csv(plain, read, convert_options=text) as batches:
            yield from (pa.Table.from_batches([batch]) for batch in batches)
    else:
        raise UserError(f"{uri}: a list is manifest.json, or a table: {', '.join(_FORMATS)}")
