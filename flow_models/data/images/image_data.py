"""What every source of images gives: three parts, their labels, the names of the classes, and where
it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core.errors import UserError
from flow_models.core.failures import pick

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Skipped:
    """Files that were left out: how many of each kind, and the first of them as (kind, location,
    reason)."""

    counts: tuple[tuple[str, int], ...] = ()  # ("hidden", 3), ("other", 1), ("unreadable", 2)
    examples: tuple[tuple[str, str, str], ...] = ()

    def __str__(self) -> str:
        return (
            ", ".join(f"{number:,} {kind}" for kind, number in self.counts if number) or "nothing"
        )


@dataclass(frozen=True)
class ImageData:
    """Images in three parts.

    Pixels are uint8 [n, H, W, C], 0..255, C of 1 (grey) or 3 (red, green, blue); labels int32 [n],
    places in `classes`. `train` is what a trainer takes: the array `examples` itself where it fits
    in memory and nothing is augmented, else a `tf.data.Dataset` of batches without end. `examples`
    are training images as they are, all of them if they fit in
    memory and a random part otherwise: what baselines, neighbours and pictures need. `test` is None
    where there is none.
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
    skipped: Skipped = Skipped()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.examples.shape[1:]

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels that no training saw: the test part, or the validation part where there
        is no test."""
        return (
            (self.validation, self.validation_labels)
            if self.test is None
            else (self.test, self.test_labels)
        )

    def only(self, classes: tuple[str, ...] | list[str]) -> ImageData:
        """The data of these classes alone, in the order given. Raises UserError for an unknown one,
        or a stream."""
        if self.train is not self.examples:
            raise UserError(
                f"{self.name}: classes of streamed or augmented images are chosen when they are"
                " opened"
            )
        places = {name: place for place, name in enumerate(self.classes)}
        wanted = [pick(places, name, f"class of {self.name}") for name in dict.fromkeys(classes)]
        examples, example_labels = _of(wanted, self.examples, self.example_labels)
        validation, validation_labels = _of(wanted, self.validation, self.validation_labels)
        test, test_labels = (
            (None, None) if self.test is None else _of(wanted, self.test, self.test_labels)
        )
        return replace(
            self,
            train=examples,
            examples=examples,
            example_labels=example_labels,
            validation=validation,
            validation_labels=validation_labels,
            test=test,
            test_labels=test_labels,
            classes=tuple(self.classes[place] for place in wanted),
            rows=len(examples),
        )


def _of(wanted: list[int], images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some classes, in their order, labelled anew by the place in `wanted`."""
    keep = np.isin(labels, wanted)
    anew = {old: new for new, old in enumerate(wanted)}
    return images[keep], np.array([anew[label] for label in labels[keep]], np.int32)
