"""From the bytes of a PNG or JPEG file to pixels of one size.

A picture is decoded, turned upright, and resized without aliasing so that it covers the target;
what is over is cropped in equal parts at both sides, so that shapes keep their proportions.
crop="none" stretches instead. 16-bit PNG keeps its upper 8 bits, transparent pixels lie on white,
colour becomes grey by Rec. 601, and grey is repeated to make colour.
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
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: its tag, and values that swap the sides


class BadImage(ValueError):
    """A file that is no readable picture; the message is the reason."""


@dataclass(frozen=True)
class Rule:
    """What becomes of a picture. Where size or channels are exact, a picture of other ones is
    refused and not changed."""

    height: int
    width: int
    channels: int
    crop: str = "center"  # or "none"
    exact_size: bool = False
    exact_channels: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.height, self.width, self.channels

    @property
    def image_bytes(self) -> int:
        """Bytes of the pixels of one picture."""
        return self.height * self.width * self.channels


def decode(data: bytes, rule: Rule, name: str = "a picture") -> np.ndarray:
    """Pixels uint8 [H, W, C].

    Raises:
      BadImage: not a whole PNG or JPEG.
      UserError: a size or colour other than the rule's where it is exact.
    """
    from PIL import ImageOps

    with _opened(data) as image:
        _check(image, rule, name)
        # JPEG alone: detail that resizing removes anyway is not decoded
        image.draft(None, (4 * max(rule.height, rule.width),) * 2)
        image.load()  # a file that ends too early shows it here
        return _fitted(ImageOps.exif_transpose(image), rule)


def refit(images: np.ndarray, rule: Rule) -> np.ndarray:
    """Images uint8 [n, H, W, C] under another rule; the same array where nothing changes."""
    from PIL import Image

    if images.shape[1:] == rule.shape:
        return images
    pictures = images[..., 0] if images.shape[-1] == 1 else images
    fitted = [_fitted(Image.fromarray(picture), rule) for picture in pictures]
    return np.array(fitted, np.uint8).reshape(-1, *rule.shape)


def header(data: bytes) -> tuple[int, int, int]:
    """Height, width and channels of an upright picture, from its head alone. Raises BadImage."""
    with _opened(data) as image:
        return *_upright_size(image), _channels(image)


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
    """function(item) of each item in order, computed in parallel; at most `in_flight` items are
    taken ahead of the result."""
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
    """The picture, not decoded yet. A decoder may raise nearly anything on broken data; all of it
    becomes BadImage."""
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
    height, width = _upright_size(image)
    if rule.exact_size and (height, width) != (rule.height, rule.width):
        raise UserError(
            f"{name}: {height}x{width} pixels (height x width), where others have"
            f" {rule.height}x{rule.width}: give the size that all are brought to, --image-size"
        )
    if rule.exact_channels and _channels(image) != rule.channels:
        names = {1: "grey", 3: "in colour"}
        raise UserError(
            f"{name}: this picture is {names[_channels(image)]}, others are"
            f" {names[rule.channels]}: give --channels 1 or --channels 3"
        )


def _channels(image) -> int:
    return 1 if image.mode in _GREY else 3


def _upright_size(image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if image.getexif().get(_ORIENTATION) in _TURNED else (height, width)


def _fitted(image, rule: Rule) -> np.ndarray:
    """Pixels [H, W, C] of a picture; the filter widens with the reduction, so nothing is
    aliased."""
    from PIL import Image, ImageOps

    image, size = _plain(image, rule.channels), (rule.width, rule.height)
    if image.size != size:
        resize = Image.Image.resize if rule.crop == "none" else ImageOps.fit
        image = resize(image, size, Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(rule.shape)


def _plain(image, channels: int):
    """Mode L or RGB."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        levels = np.clip(np.asarray(image, np.int64), 0, 65535) >> 8
        image = Image.fromarray(levels.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")
