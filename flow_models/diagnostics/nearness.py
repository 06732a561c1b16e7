"""How far pictures are from the nearest known one."""

from __future__ import annotations

import numpy as np

from flow_models.diagnostics.generation import nearest
from flow_models.diagnostics.maps import smoothed


def distance_to_nearest(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The rms distance [n] of images uint8 [n, H, W, C] to the nearest of the known ones uint8
    [K, H, W, C], mirrored or not.

    All are smoothed as maps are, so outlines that differ by a pixel are near.
    """
    return nearest(_smoothed(images), _smoothed(known))[1][:, 0]


def _smoothed(images):
    channels = np.moveaxis(np.asarray(images, np.float32), -1, 1)
    return np.round(np.moveaxis(smoothed(channels), 1, -1)).astype(np.uint8)
