"""How strange are pictures, or rows of a table? A CSV, the higher a score the stranger.

    python -m flow_models score runs/flowmodels2/latest photos/ --csv scores.csv
    python -m flow_models score runs/flowmodels1/latest table.parquet --csv s3://bucket/scores.csv

Of pictures: all scores of the run, and for each its tail, the share of known held-out pictures that
are at least as strange. Of rows: -log p(x), nats.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
from collections.abc import Iterator

import numpy as np

from flow_models.commands import refuse_posterior, seed
from flow_models.core.errors import UserError

Columns = dict[str, list | np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        metavar="DATA",
        help="folder, s3:// prefix, picture or embedded set; or a table (.csv, .npy, .parquet ...)",
    )
    parser.add_argument(
        "--csv",
        default="scores.csv",
        metavar="FILE",
        help="where the scores go, local or s3:// (default scores.csv)",
    )
    parser.add_argument(
        "--max-bad",
        type=int,
        default=10,
        metavar="N",
        help="unreadable pictures that are skipped (default 10)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of the noise that pixels get (default 0)"
    )


def run(given: argparse.Namespace) -> None:
    from flow_models.core import storage

    storage.check_target(given.csv)
    columns = _scored(given)
    storage.write_bytes(
        given.csv, os.fsencode(_text(columns))
    )  # names of files that are not UTF-8 as they are
    print(f"{len(columns['name']):,} rows in {given.csv}; the strangest: {_strangest(columns)}")


def _scored(given) -> Columns:
    """Names and scores of all that was given."""
    import flow_models as fm

    model = fm.load(given.model)
    refuse_posterior(given.model, model)
    if len(model.event_shape) == 1:
        return _rows(model, given.data)
    parts = list(_pictures(given))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _rows(model, uri: str) -> Columns:
    """Scores of the rows of a table: of the columns that the model knows by name, else of all in
    their order."""
    from flow_models.data import tables

    frame = tables.read_frame(uri)
    missing = [name for name in model.columns if name not in frame.columns]
    if missing and len(missing) < model.event_size:
        known = ", ".join(model.columns)
        raise UserError(
            f"{uri}: no column {missing[0]!r}; the model has {known}: name all of them, or none"
        )
    frame = frame if missing else frame[model.columns]
    if frame.shape[1] != model.event_size:
        raise UserError(
            f"{uri}: {frame.shape[1]} columns, the model has {model.event_size}"
            f" ({', '.join(model.columns)})"
        )
    plain = getattr(model.codec, "is_plain", True)
    values = tables.as_numbers(frame, uri) if plain else frame.set_axis(model.columns, axis=1)
    return {"name": [str(row) for row in range(1, len(values) + 1)], "nll": -model.log_prob(values)}


def _pictures(given) -> Iterator[Columns]:
    from flow_models.data.images import read_images
    from flow_models.models.detector import load_detector, pixels_of

    detector = load_detector(given.model)
    height, width, channels = detector.model.event_shape
    for names, images in read_images(given.data, (height, width), channels, max_bad=given.max_bad):
        scores = detector.scores(images, given.seed)
        tails = {f"{name}_tail": tail for name, tail in detector.tails(scores).items()}
        yield {
            "name": names,
            "bits_per_dim": pixels_of(detector.model).bits_per_dim(-scores["nll"]),
            **scores,
            **tails,
        }


def _text(columns: Columns) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values()):
        writer.writerow([cell if isinstance(cell, str) else f"{cell:.6g}" for cell in row])
    return buffer.getvalue()


def _strangest(columns: Columns) -> str:
    """By what tells best: the likelihood ratio where the run has a background model."""
    by = "likelihood_ratio" if "likelihood_ratio" in columns else "nll"
    order = np.argsort(-np.asarray(columns[by], float), kind="stable")[:3]
    return ", ".join(f"{columns['name'][i]} ({by} {columns[by][i]:.4g})" for i in order)
