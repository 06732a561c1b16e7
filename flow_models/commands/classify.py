"""Which class are pictures, or rows of a table, of? A CSV with the probability of each class.

    python -m flow_models classify runs/flowmodels3/latest photos/ --csv classes.csv
    python -m flow_models classify runs/flowmodels4/latest table.csv --keep id,site

Pictures are brought to the model's size and colour, as in training. Rows are taken by the names of
the model's columns, or, where the table names none of them, by position. A picture that cannot be
read, or a row with a cell that is missing or no number, has no class, and the column `error` says
why. The file is written part by part, so any number of rows needs the memory of one part.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import numpy as np

from flow_models.commands import parts, pictures, writing
from flow_models.commands.pictures import Columns
from flow_models.core.errors import UserError, warn
from flow_models.models import table_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data = (
        "folder, s3:// prefix, picture or embedded set; or a table (.csv, .npy, .parquet ...) or"
        " folder of tables"
    )
    parser.add_argument("data", metavar="DATA", help=data)
    place = "where the classes go, local or s3://; Parquet if it ends so (default classes.csv)"
    parser.add_argument("--csv", default="classes.csv", metavar="FILE", help=place)
    kept = "columns of the table to copy, such as its labels: id site, or id,site"
    parser.add_argument("--keep", nargs="+", default=[], metavar="COLUMN", help=kept)
    most = "end at more unreadable pictures than N (default: never)"
    parser.add_argument("--max-bad", type=int, default=None, metavar="N", help=most)
    parts.add_argument(parser, "the files below DATA")


def run(given: argparse.Namespace) -> None:
    parts.once(_run, given)


def _run(given: argparse.Namespace) -> None:
    import flow_models as fm

    writing.check_place(given.csv)
    model = fm.load(given.model)
    if not model.classes:
        raise UserError(
            f"{given.model} has no classes: train_flowmodels3.py and 4.py make models that have"
        )
    of_pictures = len(model.event_shape) == 3
    if given.keep and of_pictures:
        raise UserError("--keep names columns of a table, and these are pictures")
    counts: Counter[str] = Counter()
    with writing.opened(given.csv, digits=6) as file:
        for columns in _pictures(model, given) if of_pictures else _rows(model, given):
            file.add(columns)
            counts.update(columns["predicted"])
    told = ", ".join(f"{count:,} {name or 'no class'}" for name, count in counts.most_common(8))
    print(parts.told(given, sum(counts.values()), f": {told}"))


def _pictures(model, given) -> Iterator[Columns]:
    taken = ("name", "predicted", "error")

    def of_batch(names, images):
        return _of(model, model.classify(images), taken)

    return pictures.rows(model.codec, given, "classifying", of_batch)


def _rows(model, given) -> Iterator[Columns]:
    """Number, kept cells and p(class) of each row of a table."""
    from tqdm import tqdm

    bad, count, first = 0, 0, ""
    with tqdm(desc="classifying", unit=" rows", disable=None, delay=2) as bar:
        for part in table_rows.read(model, given.data, given.keep, given.share):
            shares, errors = _classified(model, part)
            taken = ["name", "predicted", "error"]
            kept = {table_rows.free_name(name, taken): cells for name, cells in part.kept.items()}
            columns = _of(model, shares, [*taken, *kept])
            yield {"name": part.names, **kept, **columns, "error": errors}
            wrong = [place for place, error in enumerate(errors) if error]
            first = first or (f"row {part.names[wrong[0]]}: {errors[wrong[0]]}" if wrong else "")
            bad, count = bad + len(wrong), count + len(errors)
            bar.update(len(errors))
    if bad:
        warn(f"{given.data}: {bad:,} of {count:,} rows: see the column `error`; {first}")


def _classified(model, part: table_rows.Part) -> tuple[np.ndarray, list[str]]:
    """p(class) [B, M], NaN where a row has none, and what is wrong with each row."""
    from flow_models.models import classification, notes

    good, errors = part.good, list(part.errors)
    shares = np.full((len(good), len(model.classes)), np.nan)
    if good.any():
        values = part.values[good]
        log_p = classification.averaged_log_prob(model, values)
        shares[good] = classification.shares(model, log_p)
        reasons = notes.of_rows(model, values, log_p.max(-1))
        for row, reason in zip(np.flatnonzero(good), reasons):
            errors[row] = f"{reason}: the shares are the priors" if reason else ""
    return shares, errors


def _of(model, shares: np.ndarray, taken) -> dict:
    """The class of the highest share, empty where there is none, and the share of each class."""
    known = ~np.isnan(shares).any(1)
    best = np.where(known, shares.argmax(1), 0)
    predicted = [model.classes[k] if ok else "" for k, ok in zip(best, known)]
    names = [table_rows.free_name(name, taken) for name in model.classes]
    return {"predicted": predicted, **dict(zip(names, shares.T))}
