"""How strange are pictures, or rows of a table? A CSV, the higher a score the stranger.

    python -m flow_models score runs/flowmodels2/latest photos/ --csv scores.csv
    python -m flow_models score runs/flowmodels1/latest table.parquet --csv s3://bucket/scores.csv
    python -m flow_models score runs/flowmodels2/latest photos/ --maps maps/
    python -m flow_models score MODEL s3://bucket/tables --csv s3://bucket/scores --part 7/100

Of pictures: all scores of the run, and for each its tail, the share of known held-out pictures that
are at least as strange. A picture that cannot be read has a row too, without scores, with the
reason in the column `error`. --maps shows where each is strange. Of rows: -log p(x), nats, and the
same column. Of models of parameters given data, rows are data: -log p of these, by a Gaussian where
a model is of pairs alone. The file is written a batch at a time, so any number of pictures or rows
needs the memory of a few batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from flow_models.commands import parts, pictures, score_rows, seed, writing
from flow_models.commands.maps import MapFolder
from flow_models.commands.pictures import Columns
from flow_models.core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        metavar="DATA",
        help="folder, s3:// prefix, picture or embedded set; or a table (.csv, .npy, .parquet ...)"
        " or folder of tables",
    )
    parser.add_argument(
        "--csv",
        default="scores.csv",
        metavar="FILE",
        help="where the scores go, local or s3://; Parquet if it ends in .parquet (default"
        " scores.csv)",
    )
    parser.add_argument(
        "--maps",
        metavar="FOLDER",
        help="of pictures: where each is strange, as NAME.npy and NAME.png in a folder or s3://"
        " prefix, and a figure of the strangest, strangest.png; a second or so a picture",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of a table that stand beside its scores, such as identifiers: id site",
    )
    parser.add_argument(
        "--max-bad",
        type=int,
        default=None,
        metavar="N",
        help="end at more unreadable pictures than N (default: never)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="of the noise that pixels get (default 0)"
    )
    parts.add_argument(parser, "the files below DATA")


def run(given: argparse.Namespace) -> None:
    parts.once(_run, given)


def _run(given: argparse.Namespace) -> None:
    writing.check_place(given.csv)
    strangest = _Strangest()
    with writing.opened(given.csv, digits=6) as file:
        for columns in _scored(given):
            file.add(columns)
            strangest.add(columns)
    print(parts.told(given, strangest.rows, f"; the strangest: {strangest}"))


class _Strangest:
    """The three strangest rows of those that went by."""

    def __init__(self):
        self._top: list[tuple[float, int, str]] = []
        self.rows, self._by = 0, ""

    def add(self, columns: Columns) -> None:
        from flow_models.diagnostics import anomaly

        self._by = anomaly.best(columns)
        scores = np.nan_to_num(np.asarray(columns[self._by], float), nan=-np.inf)
        first = np.argsort(-scores, kind="stable")[:3]
        found = [(-scores[i], self.rows + i, columns["name"][i]) for i in first]
        self._top = sorted([*self._top, *(each for each in found if each[0] < np.inf)])[:3]
        self.rows += len(scores)

    def __str__(self) -> str:
        return ", ".join(f"{name} ({self._by} {-score:.4g})" for score, _, name in self._top)


def _scored(given) -> Iterator[Columns]:
    """Names and scores of all that was given, in parts."""
    import flow_models as fm

    model = fm.load(given.model)
    if len(model.event_shape) == 1:
        if given.maps:
            raise UserError("--maps is of pictures, and this model is of rows")
        return score_rows.scored(model, given.data, given.keep, given.share)
    if given.keep:
        raise UserError("--keep names columns of a table, and these are pictures")
    return _pictures(given)


def _pictures(given) -> Iterator[Columns]:
    from flow_models.models.detector import load_detector
    from flow_models.models.pixels import Pixels

    detector = load_detector(given.model)
    codec = detector.model.codec
    folder = MapFolder(given.maps, given.data) if given.maps else None

    def of_batch(names, images):
        scores = detector.scores(images, given.seed)
        tails = {f"{name}_tail": tail for name, tail in detector.tails(scores).items()}
        if folder:
            folder.add(names, images, detector.maps(images, given.seed), scores)
        if not isinstance(codec, Pixels):  # but features, which have no bits
            return {**scores, **tails}
        return {"bits_per_dim": codec.bits_per_dim(-scores["nll"]), **scores, **tails}

    yield from pictures.rows(codec, given, "scoring", of_batch)
    if folder:
        folder.close()
