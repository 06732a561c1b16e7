"""From resolution to channels, and from images to vectors."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.core.errors import UserError

# Orthogonal, symmetric: mean, horizontal, vertical and diagonal differences of a block's pixels
# (0,0) (0,1) (1,0) (1,1)
HAAR = 0.5 * np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], np.float64)


@dataclasses.dataclass(frozen=True)
class Squeeze(Layer):
    """[B, H, W, C] -> [B, H/2, W/2, 4 C]: each 2x2 block becomes one pixel; log |det| = 0.

    Attributes:
      kind: "space" keeps the four pixels as channels (Real NVP, Dinh et al. 2017); "haar" takes
        their orthonormal wavelets, means first (Guided image generation with conditional invertible
        neural networks, Ardizzone et al. 2019).

    Raises:
      UserError: another kind, or sides that are odd.
    """

    kind: str = "space"

    def __post_init__(self):
        super().__post_init__()
        if self.kind not in ("space", "haar"):
            raise UserError(f"squeeze is {self.kind!r}, must be space or haar")

    def forward_and_log_det(self, weights, x, condition=None):
        height, width, channels = x.shape[1:]
        if height % 2 or width % 2:
            raise UserError(
                f"images of {height}x{width} cannot be squeezed: both sides must be even"
            )
        y = tf.nn.space_to_depth(x, 2)
        return (self._haar(y, channels) if self.kind == "haar" else y), no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        channels = y.shape[-1] // 4
        return tf.nn.depth_to_space(
            self._haar(y, channels) if self.kind == "haar" else y, 2
        ), no_log_det(y)

    def _haar(self, x, channels):
        """The wavelet transform of the four pixels of each block and channel; its own inverse."""
        blocks = tf.reshape(x, [-1, *x.shape[1:3], 4, channels])
        mixed = tf.einsum("bhwkc,kl->bhwlc", blocks, tf.constant(HAAR, x.dtype))
        return tf.reshape(mixed, [-1, *x.shape[1:]])


@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """Images [B, H, W, C] of a fixed shape (H, W, C) -> vectors [B, H W C]."""

    shape: Sequence[int]

    def forward_and_log_det(self, weights, x, condition=None):
        return tf.reshape(x, [-1, int(np.prod(self.shape))]), no_log_det(x)

    def inverse_and_log_det(self, weights, y, condition=None):
        return tf.reshape(y, [-1, *self.shape]), no_log_det(y)
