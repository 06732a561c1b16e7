"""Pictures out of shards, see `preparing`."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core.errors import UserError
from flow_models.data.images.layout import Wanted
from flow_models.data.images.preparing import KIND, rule_of
from flow_models.data.shards.folder import Prepared
from flow_models.data.shards.reading import Reader

if TYPE_CHECKING:
    import pyarrow as pa


class PreparedPictures:
    """The pictures of a folder of shards.

    Attributes:
      rule: the size and colour of the pixels.
      classes: names of the classes.
      skipped: how many files were not readable, and (place, reason) of the first ones.

    Raises:
      UserError: not all parts are done; or another size, other colours or classes are asked for.
    """

    def __init__(self, folder: str, shape: Wanted, classes: Sequence[str] | None):
        self._index = Prepared.read(folder, KIND)
        self.rule = rule_of(self._index.about["rule"])
        self.classes = tuple(self._index.about["classes"] if classes is None else classes)
        self.skipped = self._index.notes
        self._check(folder, shape)

    def _check(self, folder: str, shape: Wanted) -> None:
        height, width, channels = self.rule.shape
        size, colours = shape.size or (height, width), shape.channels or channels
        if size != (height, width) or colours != channels:
            raise UserError(
                f"{folder} was prepared with {height}x{width} pixels and {channels} channels;"
                f" {size} and {colours} are asked for: prepare it anew, or leave --image-size out"
            )
        there = self._index.about["classes"]
        if sorted(self.classes) != there:
            raise UserError(
                f"{folder} was prepared with the classes {', '.join(there)}: prepare those that are"
                " learned, with --classes, into a folder of their own"
            )

    def reader(self, split: str) -> Reader:
        """Pixels uint8 [n, H, W, C] and labels int32 [n] by number."""
        decode = functools.partial(_decode, classes=self.classes, shape=self.rule.shape)
        return Reader(self._index.split(split), decode, ["image", "class"])

    def first(self, split: str, rows: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Pixels, labels and places of the first pictures, as good as random ones."""
        shards = self._index.split(split)
        if not len(shards):
            empty = np.zeros((0, *self.rule.shape), np.uint8)
            return empty, np.zeros(0, np.int32), []
        decode = functools.partial(_named, classes=self.classes, shape=self.rule.shape)
        columns = ["image", "class", "name"]
        images, labels, names = Reader(shards, decode, columns).first(rows)
        return images, labels, list(map(os.fsdecode, names))


def _decode(table: pa.Table, classes: Sequence[str], shape: tuple) -> tuple[np.ndarray, ...]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table["image"].combine_chunks()
    size = int(np.prod(shape))
    pixels = np.frombuffer(column.buffers()[1], np.uint8, len(column) * size, column.offset * size)
    known = pa.array(list(map(os.fsencode, classes)), pa.binary())
    labels = pc.index_in(table["class"], known).to_numpy().astype(np.int32)
    return pixels.reshape(-1, *shape), labels


def _named(table: pa.Table, classes: Sequence[str], shape: tuple) -> tuple[np.ndarray, ...]:
    names = np.array(table["name"].to_pylist(), object)
    return *_decode(table, classes, shape), names
