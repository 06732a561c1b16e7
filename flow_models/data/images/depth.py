"""Pictures of more than 8 bits a channel: 10, 12 or 16 bits, whole numbers or decimals.

Their values [low, high) become 0 .. 255, k = floor(256 (v - low) / (high - low)). The range is that
of the training pictures; a model keeps it, and what it scores is scaled by it too.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np

from flow_models.core.errors import UserError, warn

Range = tuple[float, float]
SIXTEEN: Range = (0.0, 65536.0)  # the upper 8 of 16 bits
_TAIL, _FAR = 1e-3, 16.0  # of the values at either end; how far beyond the others outliers lie
_VALUES = 4096  # of a picture, among which the tails are looked for
_SWAPPED = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B"}
_SWAPPED |= {f"RGBA{each[3:]}": f"RGBA{other[3:]}" for each, other in _SWAPPED.items()}


def is_deep(image) -> bool:
    """Whether a picture, not decoded yet, has more than 8 bits a channel."""
    return image.mode.startswith("I") or image.mode == "F" or ";16" in _raw_mode(image)


def values(data: bytes) -> np.ndarray:
    """Values [H, W] or [H, W, C] of a deep picture. Raises ValueError for NaN, infinity, and kinds
    that cannot be read in full."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        raw, high = _raw_mode(image), np.asarray(image)
    if high.dtype == np.uint8:
        if raw not in _SWAPPED:
            raise ValueError(f"{raw} cannot be read in full: save it as RGB or grey, without alpha")
        return 256 * high.astype(np.int64) + _lower_bytes(data, raw)
    if bad := np.count_nonzero(~np.isfinite(high)):
        raise ValueError(f"{bad} of {high.size} values are NaN or infinite")
    return high


def _lower_bytes(data: bytes, raw: str) -> np.ndarray:
    """Pillow keeps the upper bytes of 16-bit colour; with the order of bytes swapped, the lower."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.tile = [each._replace(args=_replaced(each.args, raw)) for each in image.tile]
        return np.asarray(image)


def _replaced(args, raw: str):
    return _SWAPPED[raw] if isinstance(args, str) else (_SWAPPED[raw], *args[1:])


def _raw_mode(image) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args if isinstance(args, str) else args[0] if args else "")


def levels(found: np.ndarray, between: Range | None) -> np.ndarray:
    """Values as uint8 0 .. 255. Raises ValueError for decimals where no range is known."""
    if between is None and found.dtype.kind == "f":
        raise ValueError("values with decimals, and the pictures learned have none: no range known")
    low, high = between or SIXTEEN
    scaled = np.floor((found.astype(np.float64) - low) * (256 / (high - low)))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def find_range(pictures: Iterable[np.ndarray], name: str) -> Range:
    """The range [low, high) of values of several deep pictures. Where a few values lie far beyond
    all others (hot pixels, no-data marks), they are clipped, with a warning."""
    ends, some, whole = [], [], True
    for found in pictures:
        ends += [found.min(), found.max()]
        some.append(found.ravel()[:: max(1, found.size // _VALUES)])
        whole &= found.dtype.kind in "ui"
    low, high = float(min(ends)), float(max(ends))
    if low == high:
        raise UserError(f"{name}: all pictures have the one value {low:g}: nothing to learn")
    inner = np.quantile(np.concatenate(some), [_TAIL, 1 - _TAIL])
    if 0 < _FAR * (inner[1] - inner[0]) < high - low:
        warn(
            f"{name}: values {low:g} to {high:g}, nearly all between {inner[0]:g} and"
            f" {inner[1]:g}: what lies beyond is clipped"
        )
        low, high = map(float, inner)
    return low, high + whole


def described(between: Range | None) -> str:
    """For the report."""
    return "" if between is None else f" (values {between[0]:g} to {between[1]:g} scaled to 8 bits)"


def each_deep(files: Iterable[bytes]) -> Iterator[np.ndarray]:
    """Values of the deep pictures among files; the others are left to those who read them all."""
    from PIL import Image

    for data in files:
        try:
            with Image.open(io.BytesIO(data)) as image:
                deep = is_deep(image)
            if deep:
                yield values(data)
        except Exception:  # a decoder may raise nearly anything on broken data
            continue
