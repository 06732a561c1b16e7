"""Which class are pictures, or rows of a table, of? A CSV with the probability of each class.

    python -m flow_models classify runs/flowmodels3/latest photos/ --csv classes.csv
    python -m flow_models classify runs/flowmodels4/latest table.csv --keep id,site

Pictures are brought to the model's size and colour, as in training. Rows are taken by the names of
the model's columns, or, where the table names none of them, by position.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections import Counter
from collections.abc import Iterator

from flow_models.core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = "folder, s3:// prefix, picture or embedded set; or a table (.csv, .npy, .parquet ...)"
    parser.add_argument("data", metavar="DATA", help=data)
    place = "where the classes go, local or s3:// (default classes.csv)"
    parser.add_argument("--csv", default="classes.csv", metavar="FILE", help=place)
    kept = "columns of the table to copy into the CSV, such as its labels: id,site"
    parser.add_argument("--keep", default="", metavar="NAMES", help=kept)
    most = "unreadable pictures that are skipped (default 10)"
    parser.add_argument("--max-bad", type=int, default=10, metavar="N", help=most)


def run(given: argparse.Namespace) -> None:
    import flow_models as fm
    from flow_models.core import storage

    storage.check_target(given.csv)
    model = fm.load(given.model)
    if not model.classes:
        raise UserError(
            f"{given.model} has no classes: train_flowmodels3.py and 4.py make models that have"
        )
    keep = [name.strip() for name in given.keep.split(",") if name.strip()]
    of_pictures = len(model.event_shape) == 3
    if keep and of_pictures:
        raise UserError("--keep names columns of a table, and these are pictures")
    parts = _pictures(model, given) if of_pictures else _rows(model, given.data, keep)
    counts: Counter[str] = Counter()
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", *keep, "predicted", *model.classes])
    for name, kept, shares in parts:
        missing = shares[0] != shares[0]
        predicted = "" if missing else model.classes[shares.argmax()]
        counts[predicted or "no class, as a value is missing"] += 1
        writer.writerow([name, *kept, predicted, *("" if missing else f"{p:.6g}" for p in shares)])
    storage.write_bytes(given.csv, os.fsencode(buffer.getvalue()))
    told = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(8))
    print(f"{sum(counts.values()):,} rows in {given.csv}: {told}")


def _pictures(model, given) -> Iterator[tuple]:
    """Location and p(class) of each picture."""
    from flow_models.data.images import read_images

    height, width, channels = model.event_shape
    for names, images in read_images(given.data, (height, width), channels, max_bad=given.max_bad):
        for name, shares in zip(names, model.classify(images), strict=True):
            yield name, (), shares


def _rows(model, uri: str, keep: list[str]) -> Iterator[tuple]:
    """Number, kept cells and p(class) of each row of a table."""
    from flow_models.data import tables

    frame = tables.read_frame(uri)
    absent = [name for name in keep if name not in frame.columns]
    if absent:
        raise UserError(f"{uri}: no column {absent[0]!r} to keep; there are {list(frame.columns)}")
    known = [name for name in model.columns if name in frame.columns]
    if not known and frame.shape[1] == model.event_size:
        rows = frame.set_axis(model.columns, axis=1)
    else:
        rows = frame
    shares = model.classify(rows)
    kept = frame[keep].astype(object).itertuples(index=False, name=None)
    for number, (cells, each) in enumerate(zip(kept, shares, strict=True), 1):
        yield str(number), cells, each
