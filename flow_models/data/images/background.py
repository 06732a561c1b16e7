"""Pictures for a background model: they keep what all pictures of the kind have in common, and lose
what makes them these.

The likelihood ratio (Likelihood Ratios for Out-of-Distribution Detection, Ren et al. 2019) compares
with a like model of such pictures. The paper mutates pixels. For shapes a change of pose works
better: a model of noisy pictures expects noise, which the scored pictures do not have.
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
      kind: distorted (turned by any angle, scaled by half to one and a half, sheared, mirrored), or
        mutated (see `mutated`).
      rate: of mutation.
      copies: of each picture; 0: as many as `COPIES` and `PICTURES` allow.
    """
    changes = {
        "distorted": lambda x, number: distorted(x, (seed, number)),
        "mutated": lambda x, number: mutated(x, rate, seed + number, bits),
    }
    if kind not in changes:
        raise UserError(f"background is {kind!r}, must be one of {', '.join(BACKGROUNDS)}")
    images = pixels(images)
    copies = copies or max(1, min(COPIES, PICTURES // max(len(images), 1)))
    return np.concatenate([changes[kind](images, number) for number in range(copies)])


def distorted(images: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    """Each image in a random pose, far beyond usual augmentation; equal seeds, equal images."""
    blocks = np.split(images, range(BLOCK, len(images), BLOCK))
    changed = [
        DISTORTION.apply(block, (seed[0], 2**16 * seed[1] + number))
        for number, block in enumerate(blocks)
    ]
    return np.concatenate(changed)
