"""From the bytes of a picture to pixels of one size.

A picture is decoded, turned upright, and resized without aliasing so that it covers the target;
what is over is cropped in equal parts at both sides, so that shapes keep their proportions.
crop="none" stretches instead. More than 8 bits are scaled by the range of the training pictures
(see `depth`), transparent pixels lie on white, colour becomes grey by Rec. 601, and grey is
repeated to make colour. Of several frames or pages the first is taken.
"""

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError, warn
from flow_models.core.failures import is_of_one_file
from flow_models.data.images.depth import Range, is_deep, levels, values

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP")
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
    depth: Range | None = None  # of values of more than 8 bits

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
      BadImage: not a whole picture.
      UserError: a size or colour other than the rule's where it is exact.
    """
    from PIL import ImageOps

    with _opened(data) as image:
        deep = is_deep(image)  # before EXIF is looked for, which decodes a PNG
        _check(image, rule, name)
        turned = image.getexif().get(_ORIENTATION)
        _tell(image, deep, rule)
        # JPEG alone: detail that resizing removes anyway is not decoded
        image.draft(None, (4 * max(rule.height, rule.width),) * 2)
        image.load()  # a file that ends too early shows it here
        upright = _shallow(data, rule, turned) if deep else image
        return _fitted(ImageOps.exif_transpose(upright), rule)


def _shallow(data: bytes, rule: Rule, turned: int | None):
    """A deep picture as one of 8 bits, not turned yet."""
    from PIL import Image

    image = Image.fromarray(levels(values(data), rule.depth))
    if turned:
        image.getexif()[_ORIENTATION] = turned
    return image


def _tell(image, deep: bool, rule: Rule) -> None:
    """Warns of what a picture loses. Equal lines, so that many pictures are told of once."""
    if deep and rule.depth is None:
        warn(
            "pictures of more than 8 bits where those learned have 8: their upper 8 bits are used;"
            " scale them as the training pictures are"
        )
    elif not deep and rule.depth is not None:
        warn("pictures of 8 bits beside deeper ones: 0 to 255 is taken as it is")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        warn("pictures of several frames or pages: the first one is taken")


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


def has_depth(uri: str) -> bool:
    """Whether a file has more than 8 bits a channel, from its head alone; False where it cannot be
    read, which is told when all are."""
    from PIL import Image

    try:
        with storage.open_read(uri) as file, Image.open(file, formats=FORMATS) as image:
            return is_deep(image)
    except UserError as error:
        if not is_of_one_file(error):
            raise
    except Exception:  # a decoder may raise nearly anything on broken data
        pass
    return False


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
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            yield image
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise BadImage("not a readable picture" if data else "an empty file") from error
    except Exception as error:
        raise BadImage(f"broken: {' '.join(str(error).split()) or type(error).__name__}") from error


def _check(image, rule: Rule, name: str) -> None:
    height, width = _upright_size(image)
    if rule.exact_size and (height, width) != (rule.height, rule.width):
        raise UserError(
            f"{name}: {height}x{width} pixels (height x width), where others have"
            f" {rule.height}x{rule.width}: give the size that all are brought to, --image-size"
            " (of prepare, --size)"
        )
    if rule.exact_channels and _channels(image) != rule.channels:
        names = {1: "grey", 3: "in colour"}
        raise UserError(
            f"{name}: this picture is {names[_channels(image)]}, others are"
            f" {names[rule.channels]}: give --channels 1 or --channels 3"
        )


def _channels(image) -> int:
    return 1 if image.mode in _GREY or _palette_of_greys(image) else 3


def _palette_of_greys(image) -> bool:
    """A palette of greys alone."""
    if image.mode != "P":
        return False
    red, green, blue = np.array(image.getpalette("RGB")).reshape(-1, 3).T
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


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

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")
