"""What every source of images gives: three parts, their labels, the names of the classes, and where
the images came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core.errors import UserError
from flow_models.core.failures import pick
from flow_models.data.images.depth import Range

if TYPE_CHECKING:
    import tensorflow as tf

_SHOWN = 50  # skipped files of a kind that are kept by name
UNREADABLE = "unreadable"


@dataclass
class Skipped:
    """Files that were left out: how many of each kind (hidden, other, unreadable), and the first of
    them as (kind, location, reason)."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, kind: str, uri: str, reason: str) -> None:
        """Note a file."""
        self.counts[kind] += 1
        if self.counts[kind] <= _SHOWN:
            self.examples.append((kind, uri, reason))

    def add_unreadable(self, uri: str, reason: str, most: float) -> None:
        """Note a file that cannot be read. Raises UserError at more than `most` of them."""
        self.add(UNREADABLE, uri, reason)
        number = self.counts[UNREADABLE]
        if number > most:
            raise UserError(
                f"{number} unreadable pictures are more than --max-bad {most}; the first:"
                f" {self.first(UNREADABLE)}"
            )

    def take(self, number: int, examples: Sequence[Sequence[str]]) -> None:
        """Note unreadable files of which some are known by place and reason."""
        self.counts[UNREADABLE] += number
        self.examples += [(UNREADABLE, uri, reason) for uri, reason in examples]

    def first(self, kind: str) -> str:
        """The first file of a kind and its reason, as `location: reason`."""
        return next(f"{uri}: {reason}" for each, uri, reason in self.examples if each == kind)

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {kind}" for kind, n in self.counts.items()) or "nothing"


@dataclass(frozen=True)
class ImageData:
    """Images in three parts.

    Pixels are uint8 [n, H, W, C], 0..255, with 1 (grey) or 3 (red, green, blue) channels; labels
    are int32 [n], places in `classes`. `train` is what a trainer takes: the array `examples` itself
    if it fits in memory and nothing is augmented, else a `tf.data.Dataset` of batches without end.
    `examples` are training images as they are, all of them if they fit in memory and a random part
    otherwise: what baselines, neighbours and figures need. `test` is None where there is none.
    """

    name: str
    train: np.ndarray | tf.data.Dataset
    examples: np.ndarray
    example_labels: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    test: np.ndarray | None
    test_labels: np.ndarray | None
    classes: tuple[str, ...]
    rows: int  # training images in all
    source: str
    licence: str = ""
    example_names: Sequence[str] = ()  # files, where they are files
    held_out_names: Sequence[str] = ()
    depth: Range | None = None  # of values of more than 8 bits
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.examples.shape[1:]

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Images [n, H, W, C] and labels [n] that no training saw: the test part, else the
        validation part."""
        if self.test is None or self.test_labels is None:
            return self.validation, self.validation_labels
        return self.test, self.test_labels

    def only(self, classes: Sequence[str]) -> ImageData:
        """The data of these classes alone, in the order given. Raises UserError for an unknown one,
        or a stream."""
        if self.train is not self.examples:
            raise UserError(
                f"{self.name}: classes of streamed or augmented images are chosen when they are"
                " opened"
            )
        places = {name: place for place, name in enumerate(self.classes)}
        wanted = [pick(places, name, f"class of {self.name}") for name in dict.fromkeys(classes)]
        new_labels = np.full(len(places), -1, np.int32)
        new_labels[wanted] = np.arange(len(wanted))

        def chosen(images, labels):
            keep = np.isin(labels, wanted)
            return images[keep], new_labels[labels[keep]]

        return replace(self.changed(chosen), classes=tuple(self.classes[place] for place in wanted))

    def changed(self, change: Callable) -> ImageData:
        """The data in memory with change(images, labels) in place of the images and labels of each
        part."""
        examples, example_labels = change(self.examples, self.example_labels)
        validation, validation_labels = change(self.validation, self.validation_labels)
        test = (None, None) if self.test is None else change(self.test, self.test_labels)
        return replace(
            self,
            train=examples,
            examples=examples,
            example_labels=example_labels,
            validation=validation,
            validation_labels=validation_labels,
            test=test[0],
            test_labels=test[1],
            rows=len(examples),
            example_names=(),
            held_out_names=(),
        )
