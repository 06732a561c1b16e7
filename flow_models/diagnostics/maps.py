"""Where is a picture strange? Maps of what known pictures that fit would have in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import scipy.ndimage

PATCH, STEP = 3 / 7, 1 / 7  # side of a patch and way to the next, as shares of a side
FITTING = 8  # known pictures that lend a patch
FLOOR = 0.01  # of changes, as a share of the range, in their geometric mean
GAIN = 30.0  # nats by which the model must gain for a patch to count more
IMPOSSIBLE = -1e6  # log p, nats, of pictures outside the domain
SMOOTHING = 1.25 / 28  # standard deviation of the smoothing, as a share of a side

Place = tuple[slice, slice]


def anomaly_maps(log_prob: Callable | None, images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`anomaly_map` of each of the images uint8 [n, H, W, C]: [n, H, W]."""
    found = [anomaly_map(log_prob, image, known) for image in images]
    return np.stack(found) if found else np.zeros(images.shape[:3])


def anomaly_map(log_prob: Callable | None, image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """By how much each pixel would change if its surroundings were as in known pictures, [H, W].

    Patches P cover the image. The known pictures that are most like the rest of it lend theirs:

        map_i  = mean over P around i of g_P * geometric mean over k of |image_i - known_ki| / 255
        g_P^2  = log(1 + exp((max_k log p(image with P of known_k) - log p(image)) / GAIN))

    so a pixel is strange where all of them differ from it, and where the model finds the image more
    probable with one of their patches.

    Args:
      log_prob: of pictures uint8 [n, H, W, C], nats, with the same noise for all; None: g is 1.
      image, known: uint8 [H, W, C] and [K, H, W, C].
    """
    places = list(patches(*image.shape[:2]))
    lent = _lent(image, known, places)
    gains = np.ones(len(places))
    if log_prob is not None:
        gains = np.sqrt(np.logaddexp(0, _gains(log_prob, image, known, places, lent) / GAIN))
    total, times = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    for place, rows, gain in zip(places, lent, gains, strict=True):
        here = known[rows][:, *place].astype(np.float64)
        change = np.abs(here - image[place]).mean(-1) / 255
        mean = np.exp(np.log(change + FLOOR).mean(0)) - FLOOR
        total[place] += gain * np.maximum(mean, 0)
        times[place] += 1
    return smoothed(total / times)


def smoothed(maps: np.ndarray) -> np.ndarray:
    """Maps [..., H, W] with a Gaussian of `SMOOTHING` of their sides."""
    sigma = [SMOOTHING * side for side in maps.shape[-2:]]
    return scipy.ndimage.gaussian_filter(maps, sigma, axes=(-2, -1))


def patches(height: int, width: int) -> Iterator[Place]:
    """Places of patches that overlap and cover a picture."""
    rows, columns = _spans(height), _spans(width)
    return ((across, along) for across in rows for along in columns)


def _spans(size: int) -> list[slice]:
    side, step = max(1, round(PATCH * size)), max(1, round(STEP * size))
    starts = sorted({*range(0, size - side, step), size - side})
    return [slice(start, start + side) for start in starts]


def _lent(image: np.ndarray, known: np.ndarray, places: list[Place]) -> list[np.ndarray]:
    """For each patch the rows of the known pictures nearest to the image outside of it."""
    squares = np.square(known.astype(np.float32) - image).sum(-1)
    whole = squares.sum((1, 2))
    count = min(FITTING, len(known))
    outside = (whole - squares[:, *place].sum((1, 2)) for place in places)
    return [np.argpartition(each, count - 1)[:count] for each in outside]


def _gains(log_prob, image, known, places, lent) -> np.ndarray:
    """By how many nats the image gains by the best of the lent patches, for each place."""
    changed = np.repeat(image[None], 1 + sum(map(len, lent)), 0)
    shaped = changed[1:].reshape(len(places), -1, *image.shape)
    for pictures, place, rows in zip(shaped, places, lent, strict=True):
        pictures[:, *place] = known[rows][:, *place]
    found = np.asarray(log_prob(changed), np.float64)
    found = np.maximum(np.nan_to_num(found, nan=IMPOSSIBLE), IMPOSSIBLE)
    return found[1:].reshape(len(places), -1).max(1) - found[0]
