"""Rows with labels: tables inside scikit-learn, any table with a label column, splits by class."""

from __future__ import annotations

import dataclasses
import decimal
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.data.catalogue import Catalogue, Embedded
from flow_models.data.tables.checks import check_table, plural
from flow_models.data.tables.rows import warn_of_steps, without_missing
from flow_models.data.tables.table import nearest, read_frame, together

UNLABELLED = -1
MOST_CLASSES = 1000
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_SEED = 19980701  # of the noise that fills the steps of whole numbers


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Events x [N, ...] and class numbers y [N], `UNLABELLED` where there is no label; names [N]
    of their files, where they are files. x is a DataFrame where columns are of several kinds."""

    x: Any
    y: np.ndarray
    names: np.ndarray | None = None

    def __len__(self):
        return len(self.y)

    def __getitem__(self, rows) -> Labelled:
        """Some rows, by numbers or by a mask."""
        x = self.x.iloc[rows] if hasattr(self.x, "iloc") else self.x[rows]
        return Labelled(x, self.y[rows], None if self.names is None else self.names[rows])

    def onehot(self, classes: int) -> np.ndarray:
        """float32 [N, M], a row of zeros where there is no label."""
        return np.eye(classes + 1, dtype=np.float32)[self.y][:, :classes]


@dataclasses.dataclass(frozen=True)
class LabelledTable:
    """Checked rows, the names of the classes and of the columns, the source, and a codec of the
    columns where they are of several kinds."""

    rows: Labelled
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    source: str
    codec: Any = None


def joined(parts: Sequence[Any]) -> Any:
    """Arrays [N, ...], or DataFrames, one after the other."""
    if not hasattr(parts[0], "iloc"):
        return np.concatenate(parts)
    import pandas as pd

    return pd.concat(parts)


def load(name: str) -> LabelledTable:
    """One of `names()`. The grey levels of digits are made continuous with uniform noise from a
    fixed seed, x = k + u."""
    table = _CATALOGUE.get(name)
    found = table.read()
    values = found.data
    if name == "digits":
        values = values + np.random.default_rng(_SEED).random(values.shape)
    columns = tuple(map(str, found.feature_names))
    rows = Labelled(check_table(values, columns, source=name), found.target.astype(np.int64))
    return LabelledTable(rows, tuple(map(str, found.target_names)), columns, str(table))


def read_labelled(
    uri: str | os.PathLike,
    label_column: str,
    columns: Sequence[str] | None = None,
    missing: str = "refuse",
) -> LabelledTable:
    """A table of numbers (see `read_table`) with a column of labels, see `read_classes`. Warns of
    columns that have no density.

    Raises:
      UserError: numbers that `check_table` refuses, and what `read_classes` does.
    """
    return of_numbers(*read_classes(uri, label_column, columns, missing), os.fspath(uri))


def of_numbers(frame, classes: tuple[str, ...], y: np.ndarray, source: str) -> LabelledTable:
    """The table of a DataFrame of numbers."""
    values = check_table(frame, source=source, dtype=np.float64)
    warn_of_steps(frame, source)
    return LabelledTable(Labelled(values, y), classes, tuple(map(str, frame.columns)), source)


def read_classes(
    uri: str | os.PathLike,
    label_column: str,
    columns: Sequence[str] | None = None,
    missing: str = "refuse",
) -> tuple[Any, tuple[str, ...], np.ndarray]:
    """The columns beside the labels, as a DataFrame, the classes, and their numbers [N].

    Labels are text or numbers, empty where a row has none. Words such as NA, None and ? are
    classes. Where all labels are numbers, 1.5 and 1.50 are one class; 007 and 7 are two. Prints how
    many rows have no label.

    Args:
      missing: "drop" leaves rows with missing or infinite numbers out, "refuse" raises an error.

    Raises:
      UserError: no such column, no label at all, or as many classes as rows.
    """
    source = os.fspath(uri)
    wanted = None if columns is None else [*dict.fromkeys([*columns, label_column])]
    frame = read_frame(uri, wanted, text=[label_column])
    if label_column not in frame.columns:
        there = ", ".join(map(repr, frame.columns[:12]))
        raise UserError(f"{source}: no column '{label_column}' for the labels; there are {there}")
    labels, frame = frame[label_column], frame.drop(columns=label_column)
    frame = without_missing(frame, missing, source)
    labels = labels.loc[frame.index]
    if not frame.shape[1]:
        raise UserError(f"{source}: no column beside the labels '{label_column}'")
    words = ["" if gap else _word(label) for label, gap in zip(labels, labels.isna())]
    where = f"{source}: column '{label_column}'"
    classes, y = _numbers(_merged(words, where), where)
    print(f"{source}: {len(classes)} classes; {plural(words.count(''), 'row')} without a label")
    return frame, classes, y


def split_by_class(
    rows: Labelled, fractions: Sequence[float], seed: int = 0, groups: np.ndarray | None = None
) -> list[Labelled]:
    """Disjoint shuffled parts with the shares `fractions` of every class and of the rows without
    label.

    The first part, for training, has at least one row of every class; the rest of a small class
    goes to the other parts in order. Rows of a class that are of one of the `groups` [N] come into
    the same part.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for label in np.unique(rows.y):
        order = rng.permutation(np.flatnonzero(rows.y == label))
        cuts = np.round(np.cumsum(fractions) * len(order)).astype(int)
        cuts[0] = max(cuts[0], 1)
        if groups is not None:
            order, ends = together(order, groups)
            cuts = np.array([nearest(ends, cut) for cut in cuts])
        for part, piece in zip(parts, np.split(order, np.maximum.accumulate(cuts)[:-1])):
            part.append(piece)
    return [rows[rng.permutation(np.concatenate(part))] for part in parts]


def without_labels(rows: Labelled, keep: int, seed: int = 0) -> Labelled:
    """The rows with only `keep` of their labels, spread over the classes as evenly as their rows
    allow."""
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[rows.y[order] != UNLABELLED]
    rank = np.zeros(len(order), int)  # of a row within its class
    for label in np.unique(rows.y[order]):
        mine = rows.y[order] == label
        rank[mine] = np.arange(mine.sum())
    kept = order[np.argsort(rank, kind="stable")[:keep]]
    y = np.full(len(rows), UNLABELLED)
    y[kept] = rows.y[kept]
    return dataclasses.replace(rows, y=y)


def _word(value) -> str:
    """A label as text: 2.0 is 2; empty where it is missing."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", str(value).strip())


def _merged(words: list[str], where: str) -> list[str]:
    """The words, equal numbers among them as the shortest one. Where a word is none, or a code such
    as 007, they stay; a warning names codes that are equal as numbers."""
    found = sorted(set(words) - {""}, key=lambda word: (len(word), word))
    if not all(re.fullmatch(_NUMBER, word) for word in found):
        return words
    names: dict[decimal.Decimal, str] = {}
    for word in found:
        names.setdefault(decimal.Decimal(word), word)
    codes = [word for word in found if re.fullmatch(r"0\d+", word)]
    if not codes:
        return [word and names[decimal.Decimal(word)] for word in words]
    alike = [word for word in codes if names[decimal.Decimal(word)] != word]
    if alike:
        other = names[decimal.Decimal(alike[0])]
        warn(f"{where}: {alike[0]!r} and {other!r} are two classes, as codes with zeros in front")
    return words


def _numbers(words: list[str], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes in the order of their names (of their values, if all are numbers), and the class
    number of each row."""
    found = set(words) - {""}
    numeric = all(re.fullmatch(_NUMBER, word) for word in found)
    classes = tuple(sorted(found, key=lambda word: (float(word) if numeric else 0.0, word)))
    if not classes:
        raise UserError(f"{where} has no label in any row")
    if len(classes) > min(MOST_CLASSES, len(words) // 2):
        raise UserError(
            f"{where} has {len(classes)} different values in {len(words)} rows: labels are few and"
            " repeat; give another --label-column"
        )
    numbers = {name: number for number, name in enumerate(classes)} | {"": UNLABELLED}
    return classes, np.array([numbers[word] for word in words])


def _bundled(name: str, text: str, author: str) -> Embedded:
    """A table of scikit-learn, whose names of columns and classes come with the values."""

    def read():
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")()

    return Embedded(name, text, f"{author}, UCI, in scikit-learn", "CC BY 4.0", (), read)


_CATALOGUE = Catalogue(
    "labelled table",
    [
        _bundled("iris", "150 irises of three species", "Fisher 1936"),
        _bundled("wine", "178 wines of three cultivars", "Aeberhard and Forina 1992"),
        _bundled("breast_cancer", "569 tumours", "Wolberg, Street and Mangasarian 1995"),
        _bundled("digits", "1,797 digits of 8x8 pixels", "Alpaydin and Kaynak 1998"),
    ],
)
names, describe = _CATALOGUE.names, _CATALOGUE.describe
