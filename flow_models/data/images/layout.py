"""Which pictures are for training, validation and test, and the size and colour of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import depth, embedded
from flow_models.data.images.listing import SAMPLE, ImageFiles
from flow_models.data.images.reading import (
    BadImage,
    Rule,
    bounded_map,
    has_depth,
    header,
    read_bytes,
)

_HELD_OUT = 0.1  # of each class, where no validation images are given
_HEADS = 16  # pictures whose heads are read to learn size, colour and depth


def find_parts(train_uri: str, val_uri: str | None) -> tuple[str, str | None, str | None]:
    """Where training, validation and test pictures are: below one folder, or where they are said to
    be.

    A folder `train` beside other folders, none of them `val`, is a class of its own (trains beside
    cars).
    """
    below = {part: storage.join(train_uri, part, "") for part in ("train", "val", "test")}
    beside = set(storage.subfolders(train_uri)) - set(below)
    val = find_val(val_uri) if val_uri else None
    if not storage.exists(below["train"]) or (beside and not storage.exists(below["val"])):
        return train_uri, val, None
    there = {part: uri for part, uri in below.items() if storage.exists(uri)}
    return there["train"], val or there.get("val"), there.get("test")


def find_val(val_uri: str) -> str:
    """`val` below a folder that has it, else the folder; an embedded set by its name."""
    if val_uri in embedded.names():
        return val_uri
    below = storage.join(val_uri, "val", "")
    return below if storage.exists(below) else val_uri


def hold_out(files: ImageFiles, seed: int) -> tuple[ImageFiles, ImageFiles]:
    """Files without and with a tenth of each class, chosen by a hash of name and seed, so that
    files that come or go do not move the others.

    Raises UserError where no class has two pictures.
    """
    mixed = _mix(files.rows["order"] ^ _mix(np.array([seed % 2**64], np.uint64)))
    chosen = np.zeros(len(files), bool)
    for label in range(len(files.classes)):
        rows = np.flatnonzero(files.labels == label)
        number = max(1, round(_HELD_OUT * len(rows))) if len(rows) > 1 else 0
        chosen[rows[np.argsort(mixed[rows])[:number]]] = True
    if not chosen.any():
        raise UserError(
            f"{files.root}: too few pictures to hold some out for validation: give --val-uri"
        )
    return files.take(~chosen), files.take(chosen)


def in_held_out(order: np.ndarray, seed: int) -> np.ndarray:
    """Which files are held out, a tenth, each by its hash and the seed alone [n]."""
    mixed = _mix(order ^ _mix(np.array([seed % 2**64], np.uint64)))
    return mixed < np.uint64(_HELD_OUT * 2**64)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """splitmix64: each bit of the result depends on each bit of the number (Steele, Lea and Flood
    2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


@dataclass(frozen=True)
class Wanted:
    """Size and colour as asked for; None stands for what the pictures have."""

    size: tuple[int, int] | None
    channels: int | None
    crop: str

    def rule(self, shape: tuple[int, ...] = (0, 0, 0)) -> Rule:
        """The rule for pictures of a shape [H, W, C], which is needed where something is None."""
        height, width = self.size or shape[:2]
        return Rule(height, width, self.channels or shape[2], self.crop)


def wanted(size: int | Sequence[int] | None, channels: int | None, crop: str) -> Wanted:
    """Size (one number: both sides), channels and crop, checked. Raises UserError for others."""
    sides = [size, size] if isinstance(size, (int, np.integer)) else list(size or ())
    if size is not None and (len(sides) != 2 or any(not 1 <= side <= 10_000 for side in sides)):
        raise UserError(
            "an image size is one number of pixels or two, height and width, from 1 to 10000; got"
            f" {size}"
        )
    if channels not in (None, 1, 3):
        raise UserError(f"channels are 1 (grey) or 3 (colour), got {channels}")
    if crop not in ("center", "none"):
        raise UserError(f"crop is 'center' or 'none', got '{crop}'")
    return Wanted((sides[0], sides[1]) if sides else None, channels, crop)


def find_rule(files: ImageFiles, wanted: Wanted) -> Rule:
    """Size and colour as asked for, else as the pictures have them. Raises UserError where their
    sizes differ."""
    between = _range(files)
    if wanted.size and wanted.channels:
        return replace(wanted.rule(), depth=between)
    heads = _heads(files)
    sizes = sorted({head[:2] for head in heads})
    if len(sizes) > 1 and not wanted.size:
        shown = ", ".join(f"{height}x{width}" for height, width in sizes[:4])
        more = ", ..." if len(sizes) > 4 else ""
        raise UserError(
            f"{files.root}: pictures of different sizes (height x width: {shown}{more}): "
            "give the size that all are brought to, --image-size (of prepare, --size)"
        )
    most = max(head[2] for head in heads)
    # a later picture in colour is not made grey unasked
    exact_channels = wanted.channels is None and most == 1
    rule = wanted.rule((*sizes[0], most))
    rule = replace(rule, exact_size=not wanted.size, exact_channels=exact_channels)
    return replace(rule, depth=between)


def _range(files: ImageFiles) -> depth.Range | None:
    """The range of values, of pictures as good as random, where some have more than 8 bits."""
    rows = np.argsort(files.rows["order"])[:SAMPLE]

    def data(row) -> bytes:
        try:
            return read_bytes(files.uri(row))
        except BadImage:
            return b""  # told when all are read

    with ThreadPoolExecutor(_HEADS) as pool:
        if not any(pool.map(has_depth, map(files.uri, rows[:_HEADS]))):
            return None
        return depth.find_range(depth.each_deep(bounded_map(pool, data, rows, 64)), files.root)


def _heads(files: ImageFiles) -> list[tuple[int, int, int]]:
    """Height, width and channels of some pictures, as good as random."""

    def head(row):
        try:
            return header(read_bytes(files.uri(row)))
        except BadImage as bad:
            return bad

    rows = np.argsort(files.rows["order"])[:_HEADS]
    with ThreadPoolExecutor(_HEADS) as pool:
        heads = list(pool.map(head, rows))
    good = [each for each in heads if not isinstance(each, BadImage)]
    if not good:
        raise UserError(f"{files.uri(rows[0])}: {heads[0]}; no picture of {len(heads)} is readable")
    return good
