"""Length in bits of a lossless code of an image: what it costs without a model of its content."""

from __future__ import annotations

import bz2
import io
import lzma
import math
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics.anomaly import pixels

# Neighbours (down, right) coded before a pixel: the contexts of `context_code` consist of them.
_N, _W, _NE, _NW, _WW, _NN = (-1, 0), (0, -1), (-1, 1), (-1, -1), (0, -2), (-2, 0)
CONTEXTS = ((), (_N,), (_W, _N), (_W, _N, _NE), (_W, _N, _NW, _NE), (_W, _N, _NW, _NE, _WW, _NN))
SHARE = 0.01  # of the weight, spread anew over the contexts after each pixel
CONTEXT_NUMBERS = 2**24  # counts held at a time
# values in an image that is coded by contexts by default: larger ones take long
CONTEXT_PIXELS = 2**14


def code_length(
    images: np.ndarray, bits: int = 8, codecs: Sequence[str] | None = None
) -> np.ndarray:
    """Length [B], in bits, of the shortest lossless code of each image uint8 [B, H, W, C].

    The shortest of several codecs, as in Serra et al. 2020: each bounds the complexity of the image
    from above.

    Args:
      bits: bits of a pixel as the model sees it: k = pixel >> (8 - bits) is coded.
      codecs: names in `CODECS`, or "context" (see `context_code`). Default: all of `CODECS`, and
        "context" for images of at most `CONTEXT_PIXELS` values. What a codec of `CODECS` writes
        even for a single pixel is subtracted.

    Raises:
      UserError: an unknown codec, or images that are not uint8 [B, H, W, C].
    """
    images = pixels(images) >> (8 - bits)
    small = math.prod(images.shape[1:]) <= CONTEXT_PIXELS
    chosen = [*CODECS, *["context"] * small] if codecs is None else list(codecs)
    wrong = [name for name in chosen if name not in CODECS and name != "context"]
    if wrong or not chosen:
        raise UserError(
            f"no codec {', '.join(wrong) or 'given'}; there are {', '.join(CODECS)}, context"
        )
    lengths = [
        context_code(images, bits) if name == "context" else _lengths(CODECS[name], images)
        for name in chosen
    ]
    return np.min(lengths, axis=0)


def context_code(k: np.ndarray, bits: int) -> np.ndarray:
    """Bits [B] of an ideal adaptive arithmetic code of levels k [B, H, W, C].

        sum over pixels of -log2 sum_c w_c (n_c(k) + 1 / K) / (n_c + 1),   K = 2^bits

    n_c counts the levels that followed context c so far; a context is a set of neighbours already
    coded, each of them black, white or between (JBIG, ITU-T T.82, 1993). The weights w_c of the
    contexts follow their success, with a small share spread anew after each pixel (Tracking the
    best expert, Herbster and Warmuth 1998). On small images of few levels this code is half as long
    as the codecs', whose dictionaries do not fill. Its settings were chosen by its length on known
    images.
    """
    step = max(1, CONTEXT_NUMBERS // (3 ** len(CONTEXTS[-1]) * 2**bits))
    planes = [
        k[start : start + step, :, :, c]
        for start in range(0, len(k), step)
        for c in range(k.shape[-1])
    ]
    bits_of = [_context_bits(plane.astype(np.int64), 2**bits) for plane in planes]
    blocks = [sum(bits_of[i : i + k.shape[-1]]) for i in range(0, len(bits_of), k.shape[-1])]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def _context_bits(k: np.ndarray, levels: int) -> np.ndarray:
    """`context_code` of one plane [B, H, W]; all images are coded in parallel."""
    count, height, width = k.shape
    tone = np.pad(np.where(k == 0, 0, np.where(k == levels - 1, 2, 1)), [(0, 0), (2, 0), (2, 2)])
    places = [
        sum(
            3**i * tone[:, 2 + d : 2 + d + height, 2 + r : 2 + r + width]
            for i, (d, r) in enumerate(context)
        )
        + np.zeros_like(k)
        for context in CONTEXTS
    ]
    seen = [
        np.full((count, 3 ** len(context), levels), 1.0 / levels, np.float32)
        for context in CONTEXTS
    ]
    weights, rows, bits = (
        np.full((len(CONTEXTS), count), 1.0 / len(CONTEXTS)),
        np.arange(count),
        np.zeros(count),
    )
    totals = [np.ones(table.shape[:2]) for table in seen]
    for y, x in np.ndindex(height, width):
        level, contexts = k[:, y, x], [place[:, y, x] for place in places]
        chances = np.stack(
            [n[rows, c, level] / total[rows, c] for n, total, c in zip(seen, totals, contexts)]
        )
        joint = weights * chances
        mixed = joint.sum(0)
        bits -= np.log2(mixed)
        weights = (1 - SHARE) * joint / mixed + SHARE / len(CONTEXTS)
        for n, total, c in zip(seen, totals, contexts):
            n[rows, c, level] += 1
            total[rows, c] += 1
    return bits


def _lengths(codec: Callable[[np.ndarray], int], images: np.ndarray) -> np.ndarray:
    """Bits [B] of a codec's output for each image, less what it writes for one pixel."""
    if not len(images):
        return np.zeros(0)
    header = codec(np.zeros_like(images[0, :1, :1]))
    with ThreadPoolExecutor(2) as pool:  # the codecs release the interpreter lock
        return 8.0 * np.array([max(size - header, 1) for size in pool.map(codec, images)])


def _png(image: np.ndarray) -> int:
    """Bytes of a PNG; one PNG per channel unless there are 1 or 3 channels, as PNG requires."""
    from PIL import Image

    if image.shape[-1] not in (1, 3):
        return sum(_png(image[..., [c]]) for c in range(image.shape[-1]))
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
        buffer, "PNG", optimize=True
    )
    return len(buffer.getvalue())


def _lzma(image: np.ndarray) -> int:
    filters = [
        {
            "id": lzma.FILTER_LZMA2,
            "preset": 9 | lzma.PRESET_EXTREME,
            "lc": 0,
            "lp": 0,
            "pb": 0,
            "dict_size": 2**16,
        }
    ]
    return len(lzma.compress(image.tobytes(), format=lzma.FORMAT_RAW, filters=filters))


CODECS: dict[str, Callable[[np.ndarray], int]] = {  # image [H, W, C] -> bytes
    "png": _png,
    "zlib": lambda image: len(zlib.compress(image.tobytes(), 9)),
    "bz2": lambda image: len(bz2.compress(image.tobytes(), 9)),
    "lzma": _lzma,
}
