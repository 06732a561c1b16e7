"""Pictures for a background model: they keep what any picture of the kind has, and have lost what
makes them these.

The likelihood ratio (Ren et al. 2019) is to a like model of such pictures. Their paper mutates
pixels; for shapes a change of pose tells more, since noise that is not there in the pictures to
judge is all that a model of noisy ones expects.
"""

from __future__ import annotations

import numpy as np

from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation
from flow_models.diagnostics.anomaly import BACKGROUNDS, mutated, pixels

DISTORTION = Augmentation(flip=True, rotation=180.0, zoom=0.5, shear=40.0, shift=0.1)
COPIES, PICTURES = 8, 50_000  # of each picture at most, and in all
BLOCK = 1024


def background_pictures(
    images: np.ndarray, kind: str, rate: float = 0.2, seed: int = 0, bits: int = 8, copies: int = 0
) -> np.ndarray:
    """Some copies uint8 [m, H, W, C] of images uint8 [n, H, W, C], each changed in its own way.

    Args:
      kind: distorted (turned by any angle, halved or enlarged by a half, sheared, mirrored), or
        mutated (see `mutated`).
      rate: of mutation.
      copies: of each picture; 0: as many as `COPIES` and `PICTURES` allow.
    """
    images = pixels(images)
    copies = copies or max(1, min(COPIES, PICTURES // max(len(images), 1)))
    change = {
        "distorted": lambda x, i: distorted(x, (seed, i)),
        "mutated": lambda x, i: mutated(x, rate, seed + i, bits),
    }
    if kind not in change:
        raise UserError(f"background is {kind!r}, must be one of {', '.join(BACKGROUNDS)}")
    return np.concatenate([change[kind](images, number) for number in range(copies)])


def distorted(images: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    """Each image in a random pose, far beyond what augmentation would do; equal seeds, equal
    images."""
    blocks = np.split(images, range(BLOCK, len(images), BLOCK))
    return np.concatenate(
        [
            DISTORTION.apply(block, (seed[0], 2**16 * seed[1] + i)).numpy()
            for i, block in enumerate(blocks)
        ]
    )
