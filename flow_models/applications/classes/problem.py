"""Generative classification as data: labelled parts, names, and the truth where it is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from flow_models.applications.classes import sources
from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.shards.stream import EndlessBatches
from flow_models.data.tables.labelled import (
    UNLABELLED,
    Labelled,
    LabelledTable,
    joined,
    split_by_class,
    without_labels,
)
from flow_models.models.columns import Columns
from flow_models.models.data_of_kinds import features

SHARES = (0.64, 0.16, 0.2)  # of training, validation and test rows


@dataclasses.dataclass(frozen=True)
class Problem:
    """Labelled parts, names, and the truth where it is known.

    Attributes:
      columns: names of those of vectors; none of images.
      source, name: of the data, for the report.
      simulator: draws (x, class numbers) for training where there is one; `train` then only gives a
        start.
      stream: batches {"x", "y"} of images that are too many for `train`, which then is a random
        part of them.
      augment: changes of the training images.
      unknown: events [N, ...] of a class that training does not see.
      truth: has log_prob, posterior and entropy.
      codec: of columns of several kinds; rows are then DataFrames.

    Raises:
      UserError: a class of the validation or test rows is in no training row, or there are no such
      rows.
    """

    train: Labelled
    validation: Labelled
    test: Labelled
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    source: str
    name: str = ""
    simulator: Callable | None = None
    unknown: Any = None
    truth: Any = None
    stream: EndlessBatches | None = None
    augment: Augmentation | None = None
    codec: Columns | None = None

    def __post_init__(self):
        seen = set(self.train.y.tolist())
        for name, part in (("validation", self.validation), ("test", self.test)):
            if not len(part):
                raise UserError(f"no rows are left for {name}: give more data")
            missing = sorted(set(part.y.tolist()) - seen - {UNLABELLED})
            if missing:
                raise UserError(
                    f"class '{self.classes[missing[0]]}' has {name} rows and no training row with"
                    " its label"
                )

    def numbers(self, x) -> np.ndarray:
        """Rows as numbers [N, C], for methods that know no other kinds: features of columns of
        several kinds, else as they are."""
        return x if self.codec is None else features(self.codec, self.codec.prepare(x))

    @property
    def priors(self) -> np.ndarray:
        """Shares of the classes: the truth's, or those of the labelled training rows."""
        if self.truth is not None:
            return np.asarray(self.truth.priors)
        return (
            np.bincount(self.train.y[self.train.y != UNLABELLED], minlength=len(self.classes))
            / self.labelled
        )

    @property
    def labelled(self) -> int:
        """Training rows with a label."""
        return int((self.train.y != UNLABELLED).sum())

    def batches(self, batch_size: int, seed: int = 0) -> EndlessBatches:
        """Of images for training, {"x", "y"}."""
        return self.stream or sources.pictures(
            self.train, len(self.classes), batch_size, seed, self.augment
        )

    def leaving_out(self, name: str) -> Self:
        """The same without the rows of class `name`, which become the unknown ones."""
        if name not in self.classes or len(self.classes) < 3:
            raise UserError(
                f"cannot leave out {name!r}: give one of at least three classes, of"
                f" {', '.join(self.classes)}"
            )
        number = self.classes.index(name)
        parts = {part: getattr(self, part) for part in ("train", "validation", "test")}
        unknown = joined([part.x[part.y == number] for part in parts.values()])
        parts = {key: part[part.y != number] for key, part in parts.items()}
        parts = {
            key: dataclasses.replace(part, y=part.y - (part.y > number))
            for key, part in parts.items()
        }
        classes = tuple(other for other in self.classes if other != name)
        return dataclasses.replace(
            self, **parts, unknown=unknown, classes=classes, truth=None, simulator=None, stream=None
        )

    def with_labels(self, keep: int, seed: int = 0) -> Self:
        """The same with the labels of all but `keep` training rows taken off."""
        if keep < len(self.classes):
            raise UserError(
                f"{keep} labels are fewer than the {len(self.classes)} classes: each needs one"
            )
        if keep > self.labelled:
            raise UserError(f"{keep} labels are more than the {self.labelled} training rows have")
        return dataclasses.replace(
            self, train=without_labels(self.train, keep, seed), simulator=None, stream=None
        )


def split_problem(
    table: LabelledTable,
    name: str,
    seed: int = 0,
    min_rows: int = 40,
    groups: np.ndarray | None = None,
) -> Problem:
    """A table in training, validation and test rows, 64 : 16 : 20 of each class; rows without a
    label serve training. Rows of a class that are of one of the `groups` [N] stay together.

    Raises:
      UserError: one class only, or fewer than `min_rows` rows with a label.
    """
    labelled = table.rows.y != UNLABELLED
    known, rest = table.rows[labelled], table.rows[~labelled]
    groups = None if groups is None else groups[labelled]
    if len(table.classes) < 2:
        raise UserError(
            f"{table.source}: all labels are '{table.classes[0]}'; a classifier needs two classes,"
            " the density of one is the business of train_flowmodels1.py"
        )
    if len(known) < min_rows:
        raise UserError(
            f"{table.source}: {len(known)} rows with a label; at least {min_rows} are expected"
        )
    train, validation, test = split_by_class(known, SHARES, seed, groups)
    train = Labelled(joined([train.x, rest.x]), np.concatenate([train.y, rest.y]))
    names = table.classes, table.columns, table.source, name
    return Problem(train, validation, test, *names, codec=table.codec)
