"""The codec of pictures."""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.share import WHOLE, Share
from flow_models.models.arguments import generator
from flow_models.models.codecs import Codec, Encoded

if TYPE_CHECKING:
    from flow_models.data.images.dataset import Skipped


@dataclasses.dataclass(frozen=True)
class Pixels(Codec):
    """Pictures [..., H, W, C]; whole numbers 0 .. 255 are pixels, others dequantised levels.

    Pixels are reduced to `bits` bits, k = pixel >> (8 - bits), and made continuous with uniform
    noise, x = k + u in [0, 2^bits): log p(x) is then a lower bound on log P(k), in nats a picture
    (A note on the evaluation of generative models, Theis, van den Oord and Bethge 2016).

    Sides that are not multiples of `multiple` are padded below and on the right with copies of the
    edge, and cropped on the way out. A padded picture is not more probable than the picture itself,
    so the bound holds.

    Attributes:
      height, width, channels: as the user sees them.
      bits: 1 to 8.
      multiple: what the network divides sides by.
      depth: range [low, high) of the values in files of more than 8 bits, which become 0 .. 255.
      noise: standard deviation of Gaussian noise that training adds, as a share of the range;
        samples have it taken off (see `denoised`). Densities are of pictures without it.
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    multiple: int = 1
    depth: tuple[float, float] | None = None
    noise: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if min(self.height, self.width, self.channels, self.multiple) < 1:
            raise UserError(
                f"images of {self.height}x{self.width} pixels and {self.channels} channels: all"
                " must be at least 1"
            )
        if not 1 <= self.bits <= 8:
            raise UserError(f"bits is {self.bits}, must be 1 to 8")
        if not 0 <= self.noise < math.inf:
            raise UserError(f"noise is {self.noise}, must be at least 0")

    @property
    def shape(self):
        return self.height, self.width, self.channels

    @property
    def padded_shape(self):
        """Shape of an event as the network sees it."""
        return tuple(-(-side // self.multiple) * self.multiple for side in self.shape[:2]) + (
            self.channels,
        )

    @property
    def tiles(self):
        """A loop pays for small pictures only."""
        return (1, 8), (16 if math.prod(self.padded_shape) <= 256 else 1, 64)

    @property
    def levels(self) -> int:
        """2^bits, the number of values of a pixel that the model knows."""
        return 2**self.bits

    def encode(self, values, dtype, seed=0):
        """Dequantised levels, with noise from the seed where the values are pixels.

        Raises:
          UserError: pictures of another shape, or values out of their range.
        """
        x = np.asarray(values)
        x = x if x.dtype.kind in "ui" else self._levels(x, dtype)
        if x.shape[-3:] != self.shape:
            raise UserError(
                f"images must have shape [..., {', '.join(map(str, self.shape))}], got"
                f" {list(x.shape)}"
            )
        lead, x = x.shape[:-3], x.reshape(-1, *self.shape)
        whole = x.dtype.kind in "ui"
        if x.size and not (x.min() >= 0 and x.max() <= (255 if whole else self.levels)):
            raise UserError(
                f"images have values from {x.min()} to {x.max()}: whole numbers are pixels from 0"
                f" to 255, numbers with decimals levels from 0 to {self.levels}"
            )
        missing = [full - side for full, side in zip(self.padded_shape, self.shape, strict=True)]
        x = np.pad(x, [(0, 0), *[(0, each) for each in missing]], mode="edge")
        if whole:
            x = self.with_noise(x, generator(seed).random(x.shape, np.float32))
        return Encoded(x.astype(dtype), lead)

    def with_noise(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Pixels [..., H, W, C] as levels k + u, for noise u in [0, 1), alike or broadcast."""
        below = np.nextafter(np.float32(self.levels), np.float32(0))
        return np.minimum((x >> (8 - self.bits)) + noise, below)

    def decode(self, rows):
        return rows[:, : self.height, : self.width]

    def _levels(self, x, dtype):
        try:
            return np.asarray(x, dtype)
        except (TypeError, ValueError):
            shape = ", ".join(map(str, self.shape))
            raise UserError(f"x must be numbers [..., {shape}]") from None

    def draw(self, values, dtype, seed):
        """Pixels [B, *shape] as dequantised levels [B, *padded_shape]; new noise every step."""
        x = values
        if tuple(x.shape[1:]) != self.padded_shape:
            x = _pad_edge(x, self.padded_shape)
        x = tf.cast(x, dtype) if x.dtype.is_floating else self._dequantised(x, dtype, seed)
        if not self.noise:
            return x
        e = tf.random.stateless_normal(x.shape, tf.random.fold_in(seed, 1), dtype=dtype)
        return x + self.noise * self.levels * e

    def _dequantised(self, x, dtype, seed):
        k = tf.cast(x, tf.int32) // 2 ** (8 - self.bits)
        # at most 1 - 2^-16, so that k + u is never rounded to k + 1
        return tf.cast(k, dtype) + (1 - 2**-16) * tf.random.stateless_uniform(
            x.shape, seed, dtype=dtype
        )

    def samples(self, rows):
        """Levels as pixels 0 .. 255."""
        k = np.clip(np.floor(self.decode(rows)), 0, self.levels - 1)
        return np.round(k * (255 / (self.levels - 1))).astype(np.uint8)

    def check(self, values):
        """Refuses training data that are not pixels."""
        dtype = np.asarray(values).dtype
        if dtype != np.uint8:
            raise UserError(f"images to train on are pixels, uint8 from 0 to 255, got {dtype}")

    def read(
        self,
        uri: str,
        *,
        batch_size: int = 64,
        max_bad: float = 10,
        log: "Skipped | None" = None,
        share: Share = WHOLE,
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Pictures of a folder, prefix, file or embedded set in batches (names, pixels uint8
        [n, H, W, C]), resized and scaled as the training pictures were; see `read_images`."""
        from flow_models.data.images.scoring import read_images

        size = (self.height, self.width)
        return read_images(
            uri,
            size,
            self.channels,
            depth=self.depth,
            batch_size=batch_size,
            max_bad=max_bad,
            log=log,
            share=share,
        )

    def bits_per_dim(self, log_prob: np.ndarray) -> np.ndarray:
        """-log_2 p a dimension of log p [...], nats: what an ideal code needs of the bits of a
        pixel."""
        return -log_prob / (math.prod(self.shape) * math.log(2))


def _pad_edge(x, padded_shape):
    """Copies of the last row and column up to the padded_shape."""
    for axis in (1, 2):
        last = tf.gather(
            x, tf.fill([padded_shape[axis - 1] - x.shape[axis]], x.shape[axis] - 1), axis=axis
        )
        x = tf.concat([x, last], axis)
    return x
