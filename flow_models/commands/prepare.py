"""Turn pictures, or tables, once into shards that training reads at once and without a listing.

    python -m flow_models prepare photos/ shards/ --size 64
    python -m flow_models prepare s3://bucket/photos s3://bucket/shards --size 64 --part 7/100
    python train_flowmodels2.py --train-uri s3://bucket/shards

Part I of N takes the pictures whose names a hash puts there. A shard is a Parquet file of some 4 MB
of pixels, with class and place of each picture; it counts once the file of its part names it, so
the same command after an interruption makes only the shards that are missing. Once all N parts are
done, in any order and on any machines, training takes the folder as --train-uri.

    python -m flow_models prepare s3://bucket/tables s3://bucket/rows --part 7/100
    python train_flowmodels1.py --data s3://bucket/rows

Tables (CSV, Parquet, NPY, NPZ) become shards of rows in random order, 80 : 10 : 10 for training,
validation and test, copies of a row in one of them. Part I takes the files whose names a hash puts
there; of fewer than 8 files a part, each N-th row.

Each part lists all pictures of SOURCE; with --listing it reads the list of S3 Inventory instead,
ten million names in a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from flow_models.commands import parts, seed
from flow_models.core.errors import UserError
from flow_models.core.share import WHOLE, Share

NEEDS_MODEL = False
TABLES = {
    "columns": "columns to take (default: all)",
    "text": "columns that stay text, such as codes with zeros in front",
    "real": "columns of numbers with fractions, where the first rows have none",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    source = "folder or s3:// prefix of pictures, as train_uri has it; or a table, or one of tables"
    add("source", metavar="SOURCE", help=source)
    add("folder", metavar="DEST", help="folder or s3:// prefix of the shards")
    parts.add_part(parser, "do part I, from 0, of N of the work; each may run anywhere")
    add("--size", type=int, metavar="PIXELS", help="height and width (default: as they are)")
    add("--channels", type=int, choices=(1, 3), help="1 grey, 3 colour (default: as they are)")
    add("--classes", nargs="+", metavar="CLASS", help="class folders to take (default: all)")
    listing = "list of the pictures: manifest.json of S3 Inventory, or a table with a column key"
    add("--listing", default="", metavar="FILE", help=listing)
    held_out = "which rows are of validation and test; of pictures without a folder val (default 0)"
    add("--seed", type=seed, default=0, help=held_out)
    bad = "end a part at more unreadable pictures than N (default 10)"
    add("--max-bad", type=int, default=10, metavar="N", help=bad)

    for name, text in TABLES.items():
        add(f"--{name}", nargs="+", metavar="NAME", default=[], help=f"tables: {text}")
    add("--missing", choices=("keep", "drop"), default="keep", help="tables: rows with gaps")


def run(given: argparse.Namespace) -> None:
    from flow_models.data.tables import preparing

    share = Share.parsed(given.part) if given.part else WHOLE
    if not given.listing and preparing.is_table(given.source):
        _refuse(given, ("size", "channels", "classes"), "pictures")
        told = given.columns or None, given.text, given.real, given.missing == "drop", given.seed
        tables = preparing.Preparation(given.source, *told)
        print(preparing.prepare(tables, given.folder, share))
        return
    from flow_models.data.images.layout import wanted
    from flow_models.data.images.preparing import Preparation, prepare

    _refuse(given, TABLES, "tables")
    shape = wanted(given.size, given.channels, "center")
    asked = Preparation(
        given.source, shape, given.classes, given.seed, given.max_bad, given.listing
    )
    print(prepare(asked, given.folder, share))


def _refuse(given: argparse.Namespace, names: Iterable[str], what: str) -> None:
    """Raises UserError for settings of the other kind of source."""
    for name in names:
        if getattr(given, name):
            raise UserError(f"--{name} is for {what}, and {given.source} holds none")
