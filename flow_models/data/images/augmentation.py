"""Random changes of images that keep their meaning: mirrored, turned, scaled, sheared, shifted,
whole batches at once.

One projective map for each image takes a point of the result to the point of the original that is
seen there, so that an image is interpolated once, whatever is combined. Beyond the border the edge
is repeated. Equal seeds give equal images.
"""

from dataclasses import dataclass, fields

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError

_LARGEST = {"rotation": 180, "zoom": 0.9, "shear": 80, "shift": 1}


@dataclass(frozen=True)
class Augmentation:
    """How far images are changed: uniformly at random up to these limits. The default changes
    nothing."""

    flip: bool = False  # mirror left and right, every second image
    rotation: float = 0.0  # degrees, to both sides
    zoom: float = 0.0  # 0.1: sizes of 0.9 to 1.1
    shear: float = 0.0  # degrees by which upright lines lean, to both sides
    # part of the height and of the width, to all sides; whole pixels if nothing else blurs them
    shift: float = 0.0

    def __post_init__(self):
        for name, most in _LARGEST.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UserError(f"augmentation: {name} must be from 0 to {most}, got {value}")

    @property
    def changes(self) -> bool:
        """Whether anything is ever changed."""
        return any(getattr(self, each.name) for each in fields(self))

    def apply(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Images [B, H, W, C] of the same type, uint8 or float, changed by draws from `seed` (two
        integers)."""
        images = tf.convert_to_tensor(images)
        draws = tf.random.stateless_uniform([6, tf.shape(images)[0]], seed, -1.0, 1.0)
        if self.flip:
            images = tf.where((draws[0] < 0)[:, None, None, None], images[:, :, ::-1], images)
        if not any(getattr(self, name) for name in _LARGEST):
            return images
        turn, lean = np.radians(self.rotation) * draws[1], np.radians(self.shear) * draws[2]
        down, right = self.shift * draws[4], self.shift * draws[5]
        if images.dtype.is_integer and not (self.rotation or self.zoom or self.shear):
            height, width = (tf.cast(tf.shape(images)[axis], tf.float32) for axis in (1, 2))
            down, right = tf.round(down * height) / height, tf.round(right * width) / width
        return transform(images, turn, 1 + self.zoom * draws[3], lean, down, right)


def transform(images, rotation=0.0, zoom=1.0, shear=0.0, down=0.0, right=0.0) -> tf.Tensor:
    """Images [B, H, W, C] sheared, scaled and turned about their centre, then shifted; each
    argument is a number or [B].

    Args:
      rotation: radians, counter-clockwise as one looks at the picture.
      zoom: 2 shows everything twice as large.
      shear: radians by which upright lines lean to the right.
      down, right: parts of the height and of the width.
    """
    images = tf.convert_to_tensor(images)
    batch, height, width = (tf.shape(images)[axis] for axis in range(3))
    each = (
        tf.broadcast_to(tf.cast(value, tf.float32), [batch])
        for value in (rotation, zoom, shear, down, right)
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=_maps(tf.cast(height, tf.float32), tf.cast(width, tf.float32), *each),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    moved.set_shape(images.shape)
    return tf.cast(tf.round(moved) if images.dtype.is_integer else moved, images.dtype)


def _maps(height, width, rotation, zoom, shear, down, right) -> tf.Tensor:
    """Coefficients [B, 8] of (x, y) -> (a x + b y + c, d x + e y + f): where in the original a
    point comes from.

    A point p (from the centre, y downwards) goes to zoom R S p + shift, so p = S^-1 R^-1 (q -
    shift) / zoom with R = [[cos, sin], [-sin, cos]], which turns counter-clockwise where y points
    down, and S = [[1, -tan shear], [0, 1]].
    """
    cos, sin, tan = tf.cos(rotation), tf.sin(rotation), tf.tan(shear)
    a, b = (cos + tan * sin) / zoom, (-sin + tan * cos) / zoom
    d, e = sin / zoom, cos / zoom
    x0, y0 = (width - 1) / 2, (height - 1) / 2
    x, y = x0 + right * width, y0 + down * height  # where the centre goes
    zero = tf.zeros_like(a)
    return tf.stack([a, b, x0 - a * x - b * y, d, e, y0 - d * x - e * y, zero, zero], -1)
