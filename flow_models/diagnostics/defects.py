"""Planted defects of known place, and how well maps of strangeness find them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.ndimage
import scipy.stats

from flow_models.core.errors import UserError
from flow_models.diagnostics.anomaly import pixels

SIDES = 0.2, 0.4  # of a patch, as shares of the shorter side of the picture
VISIBLE = 32  # a pixel is defective where it has changed by this much, an eighth of the range
TRIES = 20  # places looked at for a patch; the first that changes a tenth of its pixels is taken
ENOUGH = 0.1


def planted(images: np.ndarray, kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Copies of images uint8 [n, H, W, C], one patch of each spoiled, and where: bool [n, H, W].

    A pixel counts as defective where it has changed by an eighth of its range or more.

    Args:
      kind: swapped (a piece of another picture, from anywhere in it), blurred, noise (uniform
        pixels) or missing (the median of the picture's border).

    Raises:
      UserError: another kind, or fewer than two pictures.
    """
    images = pixels(images)
    if kind not in KINDS or len(images) < 2:
        raise UserError(
            f"kind is {kind!r}, must be one of {', '.join(KINDS)}, of at least two pictures"
        )
    rng = np.random.default_rng((seed, list(KINDS).index(kind)))
    found = [_spoiled(images, number, KINDS[kind], rng) for number in range(len(images))]
    spoiled = np.stack(found)
    return spoiled, _changed(images, spoiled)


def _changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (np.abs(after.astype(int) - before) >= VISIBLE).any(-1)


def _spoiled(images: np.ndarray, number: int, patch_of: Callable, rng) -> np.ndarray:
    image, height, width = images[number], *images.shape[1:3]
    best, most = image, -1.0
    for _ in range(TRIES):
        side = max(2, round(min(height, width) * rng.uniform(*SIDES)))
        y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        place = slice(y, y + side), slice(x, x + side)
        other = image.copy()
        other[place] = patch_of(images, number, place, rng)
        share = _changed(image[place], other[place]).mean()
        if share > most:
            best, most = other, share
        if share >= ENOUGH:
            break
    return best


def _swapped(images, number, place, rng):
    other = images[(number + rng.integers(1, len(images))) % len(images)]
    side = place[0].stop - place[0].start
    y, x = (rng.integers(0, size - side + 1) for size in other.shape[:2])
    return other[y : y + side, x : x + side]


def _blurred(images, number, place, rng):
    side = place[0].stop - place[0].start
    soft = scipy.ndimage.gaussian_filter(images[number].astype(float), (side / 4, side / 4, 0))
    return np.round(soft[place]).astype(np.uint8)


def _noise(images, number, place, rng):
    return rng.integers(0, 256, images[number][place].shape).astype(np.uint8)


def _missing(images, number, place, rng):
    image = images[number]
    border = np.concatenate([image[[0, -1]].reshape(-1, image.shape[2]), *image[:, [0, -1]]])
    return np.median(border, 0).astype(np.uint8)


KINDS: dict[str, Callable] = {
    "swapped": _swapped,
    "blurred": _blurred,
    "noise": _noise,
    "missing": _missing,
}


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> float:
    """P(a defective pixel is higher on its map than another one), over the pixels of all pictures.

    Args:
      maps: [n, H, W].
      masks: bool [n, H, W], true where a pixel is defective.

    Raises:
      UserError: all pixels are defective, or none is.
    """
    true = np.asarray(masks, bool).ravel()
    ranks = scipy.stats.rankdata(np.asarray(maps, np.float64).ravel())
    bad, good = true.sum(), (~true).sum()
    if not bad or not good:
        raise UserError("a pixel AUROC needs defective pixels and others")
    return float((ranks[true].sum() - bad * (bad + 1) / 2) / (bad * good))


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> float:
    """Share of pictures whose highest pixel of maps [n, H, W] is a defective one (Top-down neural
    attention by excitation backprop, Zhang, Lin, Brandt, Shen and Sclaroff 2016)."""
    flat = np.asarray(maps).reshape(len(maps), -1)
    return float(
        np.take_along_axis(masks.reshape(len(maps), -1), flat.argmax(1)[:, None], 1).mean()
    )


def interval(
    maps: np.ndarray, masks: np.ndarray, resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Central 95% of `pixel_auroc` of maps and masks [n, H, W] over bootstrap draws of the
    pictures."""
    rng, number = np.random.default_rng(seed), len(maps)
    draws = (rng.integers(0, number, number) for _ in range(resamples))
    found = [pixel_auroc(maps[rows], masks[rows]) for rows in draws]
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
