"""What one event of the data is, a vector or an image, and how the user's arrays become what the
network takes."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.serializable import Described


@dataclasses.dataclass(frozen=True)
class Vectors(Described):
    """Rows [..., D] of numbers, one a column, taken as they are."""

    columns: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an event as the user sees it."""
        return (len(self.columns),)

    canvas = shape  # of an event as the network sees it
    tiles = (
        (1, 64),
        (1, 1024),
        (16, 1024),
    )  # see `Tiled`: about 1,000 rows of a network fit into the cache

    def rows(self, x, dtype, seed: int = 0) -> tuple[np.ndarray, tuple[int, ...]]:
        """x as rows [B, D] of numbers of `dtype`, and its leading shape."""
        x = _numbers(x, dtype, self.shape)
        if x.ndim == 0 or x.shape[-1:] != self.shape:
            raise UserError(
                f"x must have shape [..., {len(self.columns)}] ({', '.join(self.columns)}), got"
                f" {list(x.shape)}"
            )
        return x.reshape(-1, *self.shape), x.shape[:-1]

    def draw(self, x: tf.Tensor, dtype: tf.DType, seed) -> tf.Tensor:
        """A batch of a training step, [B, D]."""
        return tf.cast(x, dtype)

    def uncovered(self, x):
        """From what the network gives to what the user sees."""
        return x

    samples = uncovered  # what `sample` gives

    def check(self, x) -> None:
        """Refuses columns that do not vary: their density is unbounded."""
        constant = np.flatnonzero(np.min(x, 0) == np.max(x, 0))
        if len(constant):
            raise UserError(
                f"column {constant[0]} is constant: its density is unbounded; leave it out"
            )


@dataclasses.dataclass(frozen=True)
class Images(Described):
    """Pictures [..., H, W, C]: whole numbers 0 .. 255 are pixels, numbers with decimals are
    dequantised levels.

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
    """

    height: int
    width: int
    channels: int
    bits: int = 8
    multiple: int = 1
    tiles = ((1, 8), (16, 64))  # see `Tiled`

    def __post_init__(self):
        super().__post_init__()
        if min(self.height, self.width, self.channels, self.multiple) < 1:
            raise UserError(
                f"images of {self.height}x{self.width} pixels and {self.channels} channels: all"
                " must be at least 1"
            )
        if not 1 <= self.bits <= 8:
            raise UserError(f"bits is {self.bits}, must be 1 to 8")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def canvas(self) -> tuple[int, int, int]:
        """Shape of an event as the network sees it."""
        return tuple(-(-side // self.multiple) * self.multiple for side in self.shape[:2]) + (
            self.channels,
        )

    @property
    def levels(self) -> int:
        return 2**self.bits

    def rows(self, x, dtype, seed: int = 0):
        """x as dequantised levels [B, *canvas] with noise from the seed, and its leading shape."""
        x = np.asarray(x)
        if x.dtype.kind not in "ui":
            x = _numbers(x, dtype, self.shape)
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
        x = np.pad(
            x,
            [(0, 0), *[(0, full - side) for full, side in zip(self.canvas, self.shape)]],
            mode="edge",
        )
        if whole:
            noise = np.random.default_rng(seed).random(x.shape, np.float32)
            x = np.minimum(
                (x >> (8 - self.bits)) + noise, np.nextafter(np.float32(self.levels), np.float32(0))
            )
        return x.astype(dtype), lead

    def draw(self, x: tf.Tensor, dtype: tf.DType, seed) -> tf.Tensor:
        """A batch of a training step: pixels [B, *shape] as dequantised levels [B, *canvas], new
        noise every step."""
        if tuple(x.shape[1:]) != self.canvas:
            x = _pad_edge(x, self.canvas)
        if x.dtype.is_floating:
            return tf.cast(x, dtype)
        k = tf.cast(x, tf.int32) // 2 ** (8 - self.bits)
        # at most 1 - 2^-16, so that k + u is never rounded to k + 1
        return tf.cast(k, dtype) + (1 - 2**-16) * tf.random.stateless_uniform(
            x.shape, seed, dtype=dtype
        )

    def uncovered(self, x):
        return x[:, : self.height, : self.width]

    def samples(self, x) -> np.ndarray:
        """Levels as pixels 0 .. 255."""
        k = np.clip(np.floor(self.uncovered(x)), 0, self.levels - 1)
        return np.round(k * (255 / (self.levels - 1))).astype(np.uint8)

    def check(self, x) -> None:
        """Refuses what is no picture."""
        x = np.asarray(x)
        if x.dtype != np.uint8:
            raise UserError(f"images to train on are pixels, uint8 from 0 to 255, got {x.dtype}")

    def bits_per_dim(self, log_prob: np.ndarray) -> np.ndarray:
        """-log_2 p a dimension: of the bits of a pixel, what an ideal code would need."""
        return -log_prob / (math.prod(self.shape) * math.log(2))


def _numbers(x, dtype, shape) -> np.ndarray:
    try:
        return np.asarray(x, dtype)
    except (TypeError, ValueError):
        raise UserError(f"x must be numbers [..., {', '.join(map(str, shape))}]") from None


def _pad_edge(x, canvas):
    """Copies of the last row and column up to the canvas."""
    for axis in (1, 2):
        last = tf.gather(
            x, tf.fill([canvas[axis - 1] - x.shape[axis]], x.shape[axis] - 1), axis=axis
        )
        x = tf.concat([x, last], axis)
    return x
