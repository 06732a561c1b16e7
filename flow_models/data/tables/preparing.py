"""Part i of n of the rows of a table, or of the tables below a folder or prefix, as shards that
training reads: typed alike, in random order, in training, validation and test."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.share import WHOLE, Share
from flow_models.data.shards.folder import SHARD_BYTES, Part, refuse_inside
from flow_models.data.tables import shuffling
from flow_models.data.tables.formats import SUFFIXES
from flow_models.data.tables.rows import bad_cells
from flow_models.data.tables.schema import PLACE, Schema, agreed
from flow_models.data.tables.table import read_chunks
from flow_models.data.tables.witnesses import Witnesses

if TYPE_CHECKING:
    import pyarrow as pa

KIND, WITNESSES = "tables", "witnesses"
SPLITS = {"train": 0.8, "validation": 0.9, "test": 1.0}  # up to which hash a row is of which
FIRST = 1000  # files that tell pictures from tables
FILES = 8  # a part, below which all parts read all files: hashes are uneven
HEAD, HEADS = 10_000, 16  # rows of so many files tell the types of the columns
FREQUENT, COPIES = 0.01, 20  # share and number of equal rows, above which they are no copies


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What becomes of tables.

    Attributes:
      source: a table, or a folder or prefix of tables.
      columns: to take; None for all.
      text: columns that stay text, such as codes with zeros in front.
      real: columns of numbers with fractions, where the first rows have none.
      drop: whether rows with missing or infinite cells are left out.
      seed: which rows are of validation and test: a tenth each.
    """

    source: str
    columns: Sequence[str] | None = None
    text: Sequence[str] = ()
    real: Sequence[str] = ()
    drop: bool = False
    seed: int = 0

    @property
    def settings(self) -> dict:
        """What must be equal in all parts."""
        found = dataclasses.asdict(self)
        in_s3 = storage.is_s3(self.source)
        return {
            **found,
            "source": self.source.rstrip("/") if in_s3 else os.path.abspath(self.source),
        }


def is_table(source: str) -> bool:
    """Whether a source is a table, or a folder of tables without pictures among its first files."""
    if _is_file(source):
        return True
    from flow_models.data.images.listing import SUFFIXES as PICTURES

    if not storage.is_s3(source) and not os.path.isdir(storage.local_path(source)):
        return False
    first = itertools.islice(storage.list_files(source), FIRST)
    names = [each.uri.lower() for each in first if not each.hidden]
    return any(map(_ends(SUFFIXES), names)) and not any(map(_ends(PICTURES), names))


def _ends(suffixes: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda name: name.endswith(suffixes)


def prepare(asked: Preparation, folder: str, share: Share, progress: bool = True) -> str:
    """Makes the shards of a part; those that are there are left. Returns what was done, in words.

    Raises:
      UserError: no tables, tables that do not fit together, or a folder of other ones.
    """
    refuse_inside(folder, asked.source, KIND)
    part = Part(folder, share, KIND, asked.settings)
    if part.is_done:
        part.finish()
        return f"part {share.number} of {share.parts} is there already"
    if part.found is None:
        part.begin(_begun(asked, share))
    by_row = part.found["files"]
    schema = Schema.of(part.found["columns"])
    names = by_row or part.found["_files"]
    rows = _rows(asked, schema, names, share if by_row else WHOLE)
    seen = Witnesses(schema)
    split = _Splitter(asked.seed, schema, part.found["frequent"])
    with tempfile.TemporaryDirectory() as place:
        spool = shuffling.Spool(place, SHARD_BYTES)
        for table in _counted(rows, progress):
            seen.add(table)
            spool.add(table, split(table), _hash_of_places(table, asked.seed))
        for name in SPLITS:
            for number, shard in enumerate(spool.shards(list(SPLITS).index(name))):
                if not part.has(name, number):
                    part.add(name, number, shard)
    if not part.has(WITNESSES, 0):
        part.add(WITNESSES, 0, seen.table())
    last = part.finish()
    made = part.rows() - part.rows(WITNESSES)
    said = f"{made:,} rows of part {share.number} of {share.parts} are in {folder}"
    return said + ("; all parts are done" if last else "")


def _is_file(source: str) -> bool:
    return source.lower().partition("#")[0].endswith(SUFFIXES) and (
        storage.is_s3(source) or not os.path.isdir(storage.local_path(source))
    )


def _begun(asked: Preparation, share: Share) -> dict[str, Any]:
    """Types of the columns, from the first rows of some files, and the files of this part: those
    that a hash of the names puts there; of few files all, of which it takes each N-th row."""
    names = _listed(asked.source)
    chosen = np.unique(np.linspace(0, len(names) - 1, HEADS).astype(int))
    heads = [next(_chunks(asked, names[i], HEAD, asked.text)) for i in chosen]
    schema = agreed(heads, [names[i] for i in chosen], asked.text, asked.real)
    by_row = len(names) < FILES * share.parts
    some = [schema.table(head, name) for head, name in zip(heads, (names[i] for i in chosen))]
    keys = np.concatenate([_hash_of_content(each, schema) for each in some])
    values, counts = np.unique(keys, return_counts=True)
    often = values[counts > max(FREQUENT * len(keys), COPIES)]
    return {
        "columns": schema.columns,
        "frequent": [str(value) for value in often],
        "files": names if by_row else [],
        "_files": [] if by_row else [name for name in names if share.has(name)],
    }


def _listed(source: str) -> list[str]:
    """Names of the tables below the source, or of itself."""
    if _is_file(source):
        return [""]
    names = [storage.below(uri, source) for uri in storage.list_prefix(source, SUFFIXES)]
    if not names:
        raise UserError(f"{source}: no table here ({' '.join(SUFFIXES)})")
    return names


def _chunks(asked: Preparation, name: str, rows: int, text: Sequence[str]) -> Iterator:
    uri = storage.join(asked.source, name) if name else asked.source
    columns = list(asked.columns) if asked.columns else None
    return read_chunks(uri, columns, text, rows)


def _rows(
    asked: Preparation, schema: Schema, names: Sequence[str], share: Share
) -> Iterator[pa.Table]:
    """Tables of the rows of a part, with the place of each."""
    for name in names:
        shift = zlib.crc32(os.fsencode(name)) % share.parts
        for frame in _chunks(asked, name, 100_000, schema.text):
            mine = (frame.index.to_numpy() + shift) % share.parts == share.number
            frame = frame[mine] if share != WHOLE else frame
            frame = schema.chosen(frame, name or asked.source)
            frame = frame[~bad_cells(frame).any(1)] if asked.drop else frame
            if len(frame):
                yield schema.table(frame, name or os.path.basename(asked.source))


def _counted(tables: Iterator[pa.Table], progress: bool) -> Iterator[pa.Table]:
    from tqdm import tqdm

    quiet = None if progress else True
    with tqdm(desc="preparing", unit=" rows", disable=quiet, delay=2) as bar:
        for table in tables:
            yield table
            bar.update(len(table))


class _Splitter:
    """The split of each row, by a hash of its content, so that copies are of one split; of rows
    that are frequent, or of a table without numbers that vary, by a hash of its place."""

    def __init__(self, seed: int, schema: Schema, frequent: Sequence[str]):
        self._seed, self._schema = seed, schema
        self._frequent = np.array([int(value) for value in frequent], np.uint64)

    def __call__(self, table: pa.Table) -> np.ndarray:
        """Numbers of the splits [n]."""
        place = _hash_of_places(table, self._seed + 1)
        content = _hash_of_content(table, self._schema)
        common = np.isin(content, self._frequent) | (not self._schema.varies)
        key = np.where(common, place, _mixed(content, self._seed + 1))
        return np.searchsorted(list(SPLITS.values()), key / 2.0**64, side="right").clip(0, 2)


def _hash_of_content(table: pa.Table, schema: Schema) -> np.ndarray:
    """uint64 [n] of the cells of the user."""
    import pandas as pd

    return pd.util.hash_pandas_object(
        table.select(schema.names).to_pandas(), index=False
    ).to_numpy()


def _hash_of_places(table: pa.Table, seed: int) -> np.ndarray:
    import pandas as pd

    places = table[PLACE].to_numpy(zero_copy_only=False)
    return _mixed(pd.util.hash_array(places.astype(object)), seed)


def _mixed(keys: np.ndarray, seed: int) -> np.ndarray:
    """Further hashes of hashes uint64 [n]."""
    import pandas as pd

    with np.errstate(over="ignore"):
        return pd.util.hash_array(keys + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15))
