"""From one picture, or row of a table, to another through the latents of a model.

    python -m flow_models interpolate runs/flowmodels2/latest a.png b.png --png between.png
    python -m flow_models interpolate runs/flowmodels1/latest rows.csv:3 rows.csv:17 --csv way.csv
    python -m flow_models interpolate runs/flowmodels3/latest a.png b.png --class cat

Pictures are brought to the model's size and colour and make a strip. Upper row: on the circle that
keeps the latents' length; with --kind linear on the straight line, with --kind both on both. Rows
are given by their number behind the table, and come as CSV or Parquet with the fraction of the way.
In models with classes each end is of its most probable class, or both are of --class.
"""

from __future__ import annotations

import argparse
import re

import numpy as np

from flow_models.commands import writing
from flow_models.commands.sample import check_class
from flow_models.core.errors import UserError
from flow_models.models import table_rows

KINDS = {"spherical": ("spherical",), "linear": ("linear",), "both": ("spherical", "linear")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "a picture, local or s3://, or a row of a table: rows.csv:3"
    parser.add_argument("first", metavar="A", help=what)
    parser.add_argument("last", metavar="B", help="another one")
    parser.add_argument(
        "--png", metavar="FILE", help="where the strip goes (default interpolated.png)"
    )
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="where rows go; Parquet if it ends in .parquet (default interpolated.csv)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=9,
        metavar="N",
        help="pictures or rows from A to B, both included (default 9)",
    )
    parser.add_argument(
        "--kind",
        choices=tuple(KINDS),
        default="spherical",
        help="the way through latent space (default spherical)",
    )
    parser.add_argument(
        "--class", dest="label", metavar="NAME", help="of both ends (default: the most probable)"
    )


def run(given: argparse.Namespace) -> None:
    if given.steps < 2:
        raise UserError(f"--steps is {given.steps}, must be at least 2: A and B are among them")
    import flow_models as fm

    model = fm.load(given.model)
    pictures = len(model.event_shape) == 3
    _check(given, model, pictures)
    ends = [_picture(uri, model) if pictures else _row(uri, model) for uri in _ends(given)]
    place = _strip(given, model, ends) if pictures else _table(given, model, ends)
    what = "pictures" if pictures else "rows"
    print(f"{given.steps} {what} from {given.first} to {given.last} in {place}")


def _check(given, model, pictures: bool) -> None:
    if model.is_posterior:
        raise UserError(
            f"{given.model} holds a model of parameters given data, which has nothing to"
            " interpolate: draw from it with sample MODEL --observed FILE"
        )
    if given.csv if pictures else given.png:
        kind = "images: give --png" if pictures else "vectors: give --csv"
        raise UserError(f"{given.model} holds a model of {kind}")
    check_class(given, model)


def _ends(given) -> tuple[str, str]:
    return given.first, given.last


def _strip(given, model, ends) -> str:
    from flow_models.core import storage
    from flow_models.data.images.export import png, sheet

    place = given.png or "interpolated.png"
    storage.check_target(place)
    rows = [model.codec.samples(path) for path in _paths(given, model, np.concatenate(ends))]
    storage.write_bytes(place, png(sheet(np.concatenate(rows), given.steps)))
    return place


def _table(given, model, ends) -> str:
    import pandas as pd

    place = given.csv or "interpolated.csv"
    writing.check_place(place)
    names = list(model.columns)
    both = pd.concat([pd.DataFrame(end, columns=names) for end in ends], ignore_index=True)
    fraction = table_rows.free_name("fraction", names)
    kind = table_rows.free_name("kind", names)
    with writing.opened(place) as file:
        for name, path in zip(KINDS[given.kind], _paths(given, model, both)):
            frame = pd.DataFrame(path, columns=names)
            frame.insert(0, fraction, np.linspace(0, 1, given.steps))
            file.add(frame.assign(**{kind: name}) if given.kind == "both" else frame)
    return place


def _paths(given, model, ends) -> list:
    from flow_models.diagnostics import generation

    return [
        generation.path(model, ends, given.steps, kind, given.label) for kind in KINDS[given.kind]
    ]


def _picture(uri: str, model) -> np.ndarray:
    """One picture uint8 [1, H, W, C] in the model's shape."""
    pictures = [image for _, batch in model.codec.read(uri) for image in batch[:2]]
    if len(pictures) != 1:
        raise UserError(f"{uri}: one picture is expected, this is a folder of them")
    return np.stack(pictures)


def _row(uri: str, model):
    """One row [1, D] of a table, which the model can bring to its latents."""
    found = re.fullmatch(r"(.+):(\d+)", uri)
    table, number = (found[1], found[2]) if found else (uri, "")
    count = 0
    for part in table_rows.read(model, table):
        count += len(part.names)
        place = part.names.index(number) if number in part.names else None
        if found and place is not None or not found and count == 1 == len(part.names):
            return _sound(model, table, part, place or 0)
    what = f"no row {number}" if found else f"one row is expected, write {table}:1"
    raise UserError(f"{table}: {what}; the table has {count:,} rows")


def _sound(model, table: str, part: table_rows.Part, place: int):
    """The row, unless a cell is missing or it has no density."""
    from flow_models.models import missing, notes

    row, name = part.values[place : place + 1], part.names[place]
    gaps = missing.cells(model.codec, row)[0]
    error = part.errors[place]
    if gaps.any() and not error:
        error = f"column {model.columns[int(gaps.argmax())]!r} is missing: impute it first"
    error = error or notes.of_rows(model, row, model.log_prob(row))[0]
    if error:
        raise UserError(f"{table}: row {name}: {error}")
    return row
