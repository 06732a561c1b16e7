"""Pictures that are in memory, brought to another size or colour: what makes sets of different origin comparable."""

from __future__ import annotations

import numpy as np

from flow_models.errors import UserError


def as_shape(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images uint8 [n, H, W, C] as [n, *shape]: resized without aliasing; grey repeated, colour made grey by Rec. 601."""
    from PIL import Image

    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or {images.shape[-1], shape[-1]} - {1, 3}:
        raise UserError(f"pictures uint8 [n, H, W, 1 or 3] to {list(shape)}: got {images.dtype} {list(images.shape)}")
    if images.shape[1:] == tuple(shape):
        return images
    out = np.empty((len(images), *shape), np.uint8)
    for i, each in enumerate(images):
        picture = Image.fromarray(each[..., 0] if each.shape[-1] == 1 else each)
        picture = picture.convert("L" if shape[-1] == 1 else "RGB").resize(shape[1::-1], Image.Resampling.BICUBIC)
        out[i] = np.asarray(picture).reshape(shape)
    return out
