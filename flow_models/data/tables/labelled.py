"""Rows with labels: real tables that come inside scikit-learn, any table with a label column, and
splits by class."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np

from flow_models.core.errors import UserError
from flow_models.core.failures import pick
from flow_models.data.tables.tables import check_table, read_frame

UNLABELLED = -1
MOST_CLASSES = 1000
_SEED = 19980701  # of the noise that fills the steps of whole numbers
_MISSING = ("", "nan", "none", "<na>", "?")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Events x [N, ...] and class numbers y [N], `UNLABELLED` where there is no label."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self):
        return len(self.y)

    def __getitem__(self, rows) -> Labelled:
        return Labelled(self.x[rows], self.y[rows])

    def onehot(self, classes: int) -> np.ndarray:
        """float32 [N, M], a row of zeros where there is no label."""
        return np.eye(classes + 1, dtype=np.float32)[self.y][:, :classes]


@dataclasses.dataclass(frozen=True)
class LabelledTable:
    """Checked rows, the names of the classes, of the columns, and the source."""

    rows: Labelled
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    source: str


def names() -> list[str]:
    """The tables that come with scikit-learn."""
    return list(_TABLES)


def describe(name: str) -> str:
    """One line: what it is, source and licence."""
    return pick(_TABLES, name, "labelled table")[1]


def load(name: str) -> LabelledTable:
    """One of `names()`. The grey levels of digits are made continuous with uniform noise, x = k +
    u, from a fixed seed."""
    from sklearn import datasets

    loader, source = pick(_TABLES, name, "labelled table")
    found = loader(datasets)()
    values = found.data
    if name == "digits":
        values = values + np.random.default_rng(_SEED).random(values.shape)
    columns = tuple(str(column) for column in found.feature_names)
    rows = Labelled(check_table(values, columns, source=name), found.target.astype(np.int64))
    return LabelledTable(rows, tuple(str(label) for label in found.target_names), columns, source)


def read_labelled(
    uri: str | os.PathLike, label_column: str, columns: Sequence[str] | None = None
) -> LabelledTable:
    """A table (see `tables.read_table`) with a column of labels: text or numbers, empty where a row
    has none.

    Raises:
      UserError: no such column, no label at all, as many classes as rows, or numbers that
      `check_table` refuses.
    """
    source = os.fspath(uri)
    frame = read_frame(uri, None if columns is None else [*dict.fromkeys([*columns, label_column])])
    if label_column not in frame.columns:
        raise UserError(
            f"{source}: no column '{label_column}' for the labels; there are"
            f" {', '.join(map(repr, frame.columns[:12]))}"
        )
    labels, frame = frame[label_column], frame.drop(columns=label_column)
    if not frame.shape[1]:
        raise UserError(f"{source}: no column beside the labels '{label_column}'")
    classes, y = _numbers([_word(value) for value in labels], source, label_column)
    values = check_table(frame, source=source)
    return LabelledTable(Labelled(values, y), classes, tuple(map(str, frame.columns)), source)


def _word(value) -> str:
    """A label as text: 2.0 is 2; empty where it is missing."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    text = str(value).strip()
    return "" if value is None or text.lower() in _MISSING else text


def _numbers(words: list[str], source: str, column: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes in the order of their names (of their values, where all are numbers), and class
    numbers."""
    found = set(words) - {""}
    try:
        classes = tuple(sorted(found, key=float))
    except ValueError:
        classes = tuple(sorted(found))
    if not classes:
        raise UserError(f"{source}: column '{column}' has no label in any row")
    if len(classes) > min(MOST_CLASSES, len(words) // 2):
        raise UserError(
            f"{source}: column '{column}' has {len(classes)} different values in {len(words)} rows:"
            " labels are few and repeat; give another --label-column"
        )
    numbers = {name: number for number, name in enumerate(classes)} | {"": UNLABELLED}
    return classes, np.array([numbers[word] for word in words])


def split_by_class(rows: Labelled, fractions: Sequence[float], seed: int = 0) -> list[Labelled]:
    """Disjoint parts with the shares `fractions` of every class and of the rows without label,
    shuffled.

    The first part, for training, has at least one row of every class: the rest of a class of few
    rows goes on in order.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for label in np.unique(rows.y):
        order = rng.permutation(np.flatnonzero(rows.y == label))
        cuts = np.round(np.cumsum(fractions) * len(order)).astype(int)
        cuts[0] = max(cuts[0], 1)
        for part, piece in zip(parts, np.split(order, np.maximum.accumulate(cuts)[:-1])):
            part.append(piece)
    return [rows[rng.permutation(np.concatenate(part))] for part in parts]


def without_labels(rows: Labelled, keep: int, seed: int = 0) -> Labelled:
    """The rows with the labels of all but `keep` of them taken off, as evenly over the classes as
    there are rows."""
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[rows.y[order] != UNLABELLED]
    rank = np.zeros(len(order), int)  # of a row within its class
    for label in np.unique(rows.y[order]):
        mine = rows.y[order] == label
        rank[mine] = np.arange(mine.sum())
    kept = order[np.argsort(rank, kind="stable")[:keep]]
    y = np.full(len(rows), UNLABELLED)
    y[kept] = rows.y[kept]
    return Labelled(rows.x, y)


_TABLES: dict[str, tuple[Callable, str]] = {
    "iris": (
        lambda d: d.load_iris,
        "150 irises of three species, Fisher 1936, UCI, in scikit-learn (CC BY 4.0)",
    ),
    "wine": (
        lambda d: d.load_wine,
        "178 wines of three cultivars, Aeberhard and Forina 1992, UCI, in scikit-learn (CC BY 4.0)",
    ),
    "breast_cancer": (
        lambda d: d.load_breast_cancer,
        "569 tumours, Wolberg, Street and Mangasarian 1995, UCI, in scikit-learn (CC BY 4.0)",
    ),
    "digits": (
        lambda d: d.load_digits,
        "1,797 digits of 8x8 pixels, Alpaydin and Kaynak 1998, UCI, in scikit-learn (CC BY 4.0)",
    ),
}
