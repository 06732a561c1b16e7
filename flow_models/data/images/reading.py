"""Bytes of a PNG or JPEG file to pixels of one size: decoded, turned upright, resized without
aliasing, cropped.

Resizing covers the target and crops what is over, in equal parts at both sides, so that shapes keep
their proportions; crop="none" stretches instead. 16-bit PNG keeps its upper 8 bits, transparency
lies on white, colour becomes grey by Rec. 601, grey becomes colour by repetition.
"""

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.failures import is_of_one_file

_GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")
_ORIENTATION, _TURNED = (
    0x0112,
    (5, 6, 7, 8),
)  # the EXIF tag, and its values that exchange height and width


class BadImage(ValueError):
    """A file that is no readable picture; the message is the reason."""


@dataclass(frozen=True)
class Rule:
    """What becomes of a picture. With `exact`, one of another size or colour is refused, not
    changed."""

    height: int
    width: int
    channels: int
    crop: str = "center"  # or "none"
    exact_size: bool = False
    exact_channels: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels


def decode(data: bytes, rule: Rule, name: str = "a picture") -> np.ndarray:
    """Pixels uint8 [H, W, C].

    Raises:
      BadImage: not a whole PNG or JPEG.
      UserError: a size or colour other than the rule's where it is exact.
    """
    from PIL import ImageOps

    with _opened(data) as image:
        _check(image, rule, name)
        _decode_smaller(image, rule)
        image.load()  # a file that ends too early shows it here
        return _fitted(ImageOps.exif_transpose(image), rule)


def refit(images: np.ndarray, rule: Rule) -> np.ndarray:
    """Images uint8 [n, H, W, C] under another rule, the same array where nothing changes."""
    from PIL import Image

    if images.shape[1:] == rule.shape:
        return images
    grey = images.shape[-1] == 1
    out = [_fitted(Image.fromarray(image[..., 0] if grey else image), rule) for image in images]
    return np.stack(out) if out else np.zeros((0, *rule.shape), np.uint8)


def header(data: bytes) -> tuple[int, int, int]:
    """Height, width and channels of a picture as it will be seen, from its head alone. Raises
    BadImage."""
    with _opened(data) as image:
        return _upright_size(image) + (1 if image.mode in _GREY else 3,)


def read(uri: str, rule: Rule) -> np.ndarray | BadImage:
    """Pixels of a file, or why it is left out. Raises UserError for what concerns more than this
    file."""
    try:
        return decode(read_bytes(uri), rule, uri)
    except BadImage as bad:
        return bad


def read_bytes(uri: str) -> bytes:
    """The file's content. Raises BadImage for what concerns this file alone, UserError for a dead
    network or disk."""
    try:
        return storage.read_bytes(uri)
    except UserError as error:
        if not is_of_one_file(error):
            raise
        raise BadImage(str(error).removeprefix(f"{uri}: ")) from error


def bounded_map(pool: Executor, function: Callable, items: Iterable, in_flight: int) -> Iterator:
    """function(item) of each item in order, computed in parallel, never more than `in_flight` at a
    time or waiting."""
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()


@contextlib.contextmanager
def _opened(data: bytes):
    """The picture, not decoded yet. On broken data a decoder raises nearly anything; here all of it
    is BadImage."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            yield image
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not a PNG or JPEG picture" if data else "an empty file") from error
    except Exception as error:
        raise BadImage(f"broken: {' '.join(str(error).split()) or type(error).__name__}") from error


def _check(image, rule: Rule, name: str) -> None:
    size = _upright_size(image)
    if rule.exact_size and size != (rule.height, rule.width):
        raise UserError(
            f"{name}: {size[0]}x{size[1]} pixels (height x width), where others have"
            f" {rule.height}x{rule.width}: give the size that all are brought to, --image-size"
        )
    channels = 1 if image.mode in _GREY else 3
    if rule.exact_channels and channels != rule.channels:
        names = {1: "grey", 3: "in colour"}
        raise UserError(
            f"{name}: this picture is {names[channels]}, others are {names[rule.channels]}: "
            "give --channels 1 or --channels 3"
        )


def _upright_size(image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if image.getexif().get(_ORIENTATION) in _TURNED else (height, width)


def _decode_smaller(image, rule: Rule) -> None:
    """Let a JPEG decoder skip detail that goes anyway, down to four times the size wanted; no other
    format can."""
    side = 4 * max(rule.height, rule.width)
    image.draft(None, (side, side))


def _fitted(image, rule: Rule) -> np.ndarray:
    """Pixels [H, W, C] of a picture; the filter widens with the reduction, so nothing is
    aliased."""
    from PIL import Image, ImageOps

    plain, size, how = (
        _plain(image, rule.channels),
        (rule.width, rule.height),
        Image.Resampling.BICUBIC,
    )
    if plain.size != size:
        plain = plain.resize(size, how) if rule.crop == "none" else ImageOps.fit(plain, size, how)
    return np.asarray(plain).reshape(rule.shape)


def _plain(image, channels: int):
    """Mode L or RGB."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(
            (np.clip(np.asarray(image, np.int64), 0, 65535) >> 8).astype(np.uint8)
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")
