"""Which pictures are for training and which are held out, and the size and colour that they are
brought to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import embedded_images
from flow_models.data.images.listing import ImageFiles
from flow_models.data.images.reading import BadImage, Rule, header, read_bytes

_HELD_OUT = 0.1  # of each class, where no validation images are given
_SAMPLE = 16  # pictures whose heads are read to learn size and colour


def hold_out(files: ImageFiles, seed: int) -> tuple[ImageFiles, ImageFiles]:
    """Files without and with a tenth of each class, by a hash of name and seed: others that come or
    go move nothing.

    Raises: UserError where no class has two pictures.
    """
    mixed = _mix(files.order ^ np.uint64(_mix(np.array([seed % 2**64], np.uint64))[0]))
    chosen = np.zeros(len(files), bool)
    for label in range(len(files.classes)):
        rows = np.flatnonzero(files.labels == label)
        number = max(1, round(_HELD_OUT * len(rows))) if len(rows) > 1 else 0
        chosen[rows[np.argsort(mixed[rows])[:number]]] = True
    if not chosen.any():
        raise UserError(
            f"{files.root}: too few pictures to hold some out for validation: give --val-uri"
        )
    return files.take(np.flatnonzero(~chosen)), files.take(np.flatnonzero(chosen))


def _mix(numbers: np.ndarray) -> np.ndarray:
    """splitmix64: each bit of the result depends on each bit of the number (Steele, Lea and Flood
    2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def find_parts(train_uri: str, val_uri: str | None) -> tuple[str, str | None, str | None]:
    """Where the three parts are: below one folder, or where they are said to be.

    A folder `train` beside others, none of them `val`, is a class: pictures of trains beside those
    of cars.
    """
    below = {part: storage.join(train_uri, part, "") for part in ("train", "val", "test")}
    beside = set(storage.subfolders(train_uri)) - set(below)
    if not storage.exists(below["train"]) or (beside and not storage.exists(below["val"])):
        return train_uri, find_val(val_uri), None
    there = {part: uri for part, uri in below.items() if storage.exists(uri)}
    return there["train"], find_val(val_uri) or there.get("val"), there.get("test")


def find_val(val_uri: str | None) -> str | None:
    """`val` below a folder that has it, else the folder; an embedded set by its name."""
    if not val_uri or val_uri in embedded_images.names():
        return val_uri or None
    below = storage.join(val_uri, "val", "")
    return below if storage.exists(below) else val_uri


def find_rule(
    files: ImageFiles, size: tuple[int, int] | None, channels: int | None, crop: str
) -> Rule:
    """Size and colour as asked for, else as the pictures have them. Raises UserError where their
    sizes differ."""
    if size and channels:
        return Rule(*size, channels, crop)
    heads = _heads(files)
    sizes = sorted({head[:2] for head in heads})
    if len(sizes) > 1 and not size:
        shown = ", ".join(f"{height}x{width}" for height, width in sizes[:4])
        more = ", ..." if len(sizes) > 4 else ""
        raise UserError(
            f"{files.root}: pictures of different sizes (height x width: {shown}{more}): "
            "give the size that all are brought to, --image-size"
        )
    most = max(head[2] for head in heads)
    exact = channels is None and most == 1  # a later picture in colour is not made grey unasked
    return Rule(*(size or sizes[0]), channels or most, crop, not size, exact)


def _heads(files: ImageFiles) -> list[tuple[int, int, int]]:
    """Height, width and channels of some pictures, as good as random."""

    def head(row):
        try:
            return header(read_bytes(files.uri(row)))
        except BadImage as bad:
            return bad

    with ThreadPoolExecutor(_SAMPLE) as pool:
        heads = list(pool.map(head, np.argsort(files.order)[:_SAMPLE]))
    good = [each for each in heads if not isinstance(each, BadImage)]
    if not good:
        raise UserError(
            f"{files.uri(int(np.argmin(files.order)))}: {heads[0]}; no picture of {len(heads)} is"
            " readable"
        )
    return good


def as_pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    pair = (
        None
        if size is None
        else (size, size)
        if isinstance(size, (int, np.integer))
        else tuple(size)
    )
    if pair is not None and (len(pair) != 2 or any(not 1 <= side <= 10_000 for side in pair)):
        raise UserError(
            "an image size is one number of pixels or two, height and width, from 1 to 10000; got"
            f" {size}"
        )
    return pair


def as_channels(channels: int | None) -> int | None:
    if channels not in (None, 1, 3):
        raise UserError(f"channels are 1 (grey) or 3 (colour), got {channels}")
    return channels


def as_crop(crop: str) -> str:
    if crop not in ("center", "none"):
        raise UserError(f"crop is 'center' or 'none', got '{crop}'")
    return crop
