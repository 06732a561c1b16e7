"""How strange are pictures, or rows of a table? A CSV, the higher a score the stranger.

    python -m flow_models score runs/flowmodels2/latest photos/ --csv scores.csv
    python -m flow_models score runs/flowmodels1/latest table.parquet --csv s3://bucket/scores.csv

Of pictures: all scores of the run, and for each its tail, the share of known held-out pictures that
are at least as strange. A picture that cannot be read has a row too, without scores, with the
reason in the column `error`. Of rows: -log p(x), nats, and the same column. The CSV is written a
batch at a time, so any number of pictures or rows needs the memory of a few batches.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from flow_models.commands import refuse_posterior, score_rows, seed
from flow_models.core.errors import warn
from flow_models.data.images.dataset import UNREADABLE, Skipped

Columns = dict[str, Sequence | np.ndarray]


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
        help="where the scores go, local or s3://; Parquet if it ends in .parquet (default"
        " scores.csv)",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of a table that stand beside its scores, such as identifiers",
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


def run(given: argparse.Namespace) -> None:
    from flow_models.core import storage

    storage.check_target(given.csv)
    with tempfile.TemporaryFile() as file:
        written = _Written(_Parquet(file) if given.csv.endswith(".parquet") else _CSV(file))
        for columns in _scored(given):
            written.add(columns)
        written.out.close()
        file.seek(0)
        storage.write_file(given.csv, file)
    print(f"{written.rows:,} rows in {given.csv}; the strangest: {written.strangest()}")


class _CSV:
    """A CSV that grows part by part."""

    def __init__(self, file):
        # names of files that are not UTF-8 as they are
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="", write_through=True)
        self._text, self._csv, self._header = text, csv.writer(text, lineterminator="\n"), False

    def add(self, columns: Columns) -> None:
        if not self._header:
            self._csv.writerow(columns)
            self._header = True
        for row in zip(*columns.values(), strict=True):
            self._csv.writerow([_cell(each) for each in row])

    def close(self) -> None:
        """The file stays open, for it is sent yet."""


class _Parquet:
    """A Parquet file that grows part by part."""

    def __init__(self, file):
        self._file, self._writer = file, None

    def add(self, columns: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: list(values) for name, values in columns.items()})
        self._writer = self._writer or pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer:
            self._writer.close()


class _Written:
    """What was written to `out`, and the three strangest rows."""

    def __init__(self, out: _CSV | _Parquet):
        self.out = out
        self._top: list[tuple[float, int, str]] = []
        self.rows, self._by = 0, ""

    def add(self, columns: Columns) -> None:
        self.out.add(columns)
        # what tells best: the likelihood ratio where the run has a background model
        self._by = "likelihood_ratio" if "likelihood_ratio" in columns else "nll"
        scores = np.asarray(columns[self._by], float)
        places = range(self.rows, self.rows + len(scores))
        found = [each for each in zip(-scores, places, columns["name"]) if each[0] == each[0]]
        self._top = sorted([*self._top, *found])[:3]
        self.rows += len(scores)

    def strangest(self) -> str:
        return ", ".join(f"{name} ({self._by} {-score:.4g})" for score, _, name in self._top)


def _cell(value) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def _scored(given) -> Iterator[Columns]:
    """Names and scores of all that was given, in parts."""
    import flow_models as fm

    model = fm.load(given.model)
    refuse_posterior(given.model, model)
    if len(model.event_shape) == 1:
        yield from score_rows.scored(model, given.data, given.keep)
    else:
        yield from _pictures(given)


class _Unreadable(Skipped):
    """Notes unreadable pictures until their rows are written; keeps the first alone."""

    def __init__(self):
        super().__init__()
        self._waiting: list[tuple[str, str]] = []

    def add(self, kind: str, uri: str, reason: str) -> None:
        self.counts[kind] += 1
        self.examples = self.examples or [(kind, uri, reason)]
        self._waiting.append((uri, reason))

    def taken(self) -> list[tuple[str, str]]:
        found, self._waiting = self._waiting, []
        return found


def _pictures(given) -> Iterator[Columns]:
    from tqdm import tqdm

    from flow_models.models.detector import load_detector, pixels_of

    detector, log, readable = load_detector(given.model), _Unreadable(), 0
    most = np.inf if given.max_bad is None else given.max_bad
    batches = pixels_of(detector.model).read(given.data, max_bad=most, log=log)
    keys: list[str] = []
    with tqdm(desc="scoring", unit=" pictures", disable=None, delay=2) as bar:
        for names, images in batches:
            columns = _of_batch(detector, names, images, given.seed)
            keys, readable = list(columns), readable + len(names)
            yield _with_errors(columns, log.taken())
            bar.update(len(names))
    if rest := log.taken():
        yield _with_errors(dict.fromkeys(keys, ()), rest)
    if number := log.counts[UNREADABLE]:
        warn(
            f"{number:,} of {number + readable:,} pictures could not be read, see the column"
            f" `error` of {given.csv}; the first: {log.first(UNREADABLE)}"
        )


def _of_batch(detector, names: list[str], images: np.ndarray, seed: int) -> Columns:
    """Scores of pictures, and the tail of each."""
    from flow_models.models.detector import pixels_of

    scores = detector.scores(images, seed)
    tails = {f"{name}_tail": tail for name, tail in detector.tails(scores).items()}
    bits = pixels_of(detector.model).bits_per_dim(-scores["nll"])
    return {"name": names, "bits_per_dim": bits, **scores, **tails, "error": [""] * len(names)}


def _with_errors(columns: Columns, bad: list[tuple[str, str]]) -> Columns:
    """Further rows without scores."""
    uris, reasons = zip(*bad) if bad else ((), ())
    ends = {"name": uris, "error": reasons}
    empty = [np.nan] * len(bad)
    return {key: [*values, *ends.get(key, empty)] for key, values in columns.items()}
