"""The codec of pictures that a network of the user's turns into feature maps before the flow."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.models.backbones import Backbone, absolute
from flow_models.models.codecs import Codec, Encoded
from flow_models.models.model import Model
from flow_models.models.pixels import Pixels

MOST = 128  # channels of the features that are kept


@dataclasses.dataclass(frozen=True)
class FeatureMaps(Codec):
    """Pictures uint8 [..., H, W, C] as standardised feature maps [h, w, D] of a network.

    Densities are of the maps, in nats, in units of the standard deviation of each channel in the
    training pictures; nothing leads back to pixels, so there are neither samples nor bits per
    dimension. FastFlow: unsupervised anomaly detection and localization via 2D normalizing flows
    (Yu, Zheng, Wang, Li, Wu, Zhao and Wu 2021); CFLOW-AD (Gudovskiy, Ishizaka and Kozuka 2022).

    Attributes:
      network: its name, as `Backbone` takes it.
      pixels: what a picture is, for reading.
      size: (h, w) of the maps.
      picked: numbers of the channels that are kept, at most `MOST`, a random choice as in PaDiM
        (Defard, Setkov, Loesch and Audigier 2021).
      centre, scale: mean and standard deviation of each of them.
    """

    network: str
    pixels: Pixels
    size: tuple[int, int]
    picked: tuple[int, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def tiles(self):
        return self.pixels.tiles

    @classmethod
    def of(
        cls, network: str, pixels: Pixels, images: np.ndarray, seed: int = 0
    ) -> tuple[FeatureMaps, np.ndarray]:
        """The codec of a network, measured on training pictures uint8 [N, H, W, C], and their maps
        float32 [N, h, w, D].

        Raises:
          UserError: there is no such network, or its features are all constant, but for one.
        """
        found = _maps(_backbone(network)(images))
        varied = np.flatnonzero(
            np.ptp(found, (0, 1, 2))
        )  # rounding lets deviations of constants be > 0
        picked = np.sort(np.random.default_rng(seed).permutation(varied)[:MOST])
        if len(picked) < 2:
            raise UserError(f"{network} gives {len(picked)} features that vary; two are needed")
        found = found[..., picked]
        moments = found.mean((0, 1, 2), np.float64), found.std((0, 1, 2), np.float64)
        centre, scale = (tuple(each.tolist()) for each in moments)
        size, kept = found.shape[1:3], tuple(picked.tolist())
        codec = cls(absolute(network), pixels, size, kept, centre, scale)
        return codec, codec.standardised(found)

    @property
    def shape(self):
        return self.pixels.shape

    @property
    def padded_shape(self):
        return (*self.size, len(self.picked))

    @property
    def bits(self) -> int:
        """Of the pixels of a picture."""
        return self.pixels.bits

    @property
    def is_counted_as_it_is(self) -> bool:
        return False

    def encode(self, values, dtype, seed=0):
        """The maps of pictures, or maps [..., h, w, D] as they are; the seed is not used.

        Raises:
          UserError: values that are no pictures of this shape, or a network that gives other maps.
        """
        x = np.asarray(values)
        if x.dtype.kind == "f" and x.shape[-3:] == self.padded_shape:
            return Encoded(x.reshape(-1, *self.padded_shape).astype(dtype), x.shape[:-3])
        if x.dtype != np.uint8 or x.shape[-3:] != self.shape:
            raise UserError(
                f"pictures must be uint8 [..., {', '.join(map(str, self.shape))}], got {x.dtype}"
                f" {list(x.shape)}"
            )
        lead, x = x.shape[:-3], x.reshape(-1, *self.shape)
        found = _maps(_backbone(self.network)(x)) if len(x) else np.empty((0, *self.size, 0))
        if found.shape[1:3] != self.size or len(x) and found.shape[3] <= max(self.picked):
            raise UserError(
                f"{self.network} gives maps {list(found.shape[1:])}, not the {list(self.size)} that"
                " this model was trained on"
            )
        rows = found[..., self.picked] if len(x) else np.empty((0, *self.padded_shape))
        return Encoded(self.standardised(rows).astype(dtype), lead)

    def standardised(self, maps: np.ndarray) -> np.ndarray:
        """Kept channels [..., D] with mean 0 and standard deviation 1 in the training pictures."""
        return ((maps - np.array(self.centre)) / np.array(self.scale)).astype(np.float32)

    def draw(self, values, dtype, seed):
        """Maps, which training takes, as they are."""
        return tf.cast(values, dtype)

    def decode(self, rows):
        raise UserError(
            "this model is of features, and nothing leads from them to pictures: it has densities,"
            " scores and maps, and no samples"
        )

    def read(self, uri: str, **options):
        """Pictures, as `Pixels.read`."""
        return self.pixels.read(uri, **options)


def strangeness(model: Model, images: np.ndarray) -> np.ndarray:
    """Where images uint8 [B, H, W, C] are strange, [B, H, W]: |z|^2 / 2 a channel at each position
    of the maps, brought to the size of the pictures.

    Raises:
      UserError: the model is not of features.
    """
    from scipy.ndimage import zoom

    if not isinstance(model.codec, FeatureMaps):
        raise UserError("this model is not of features")
    z = model.encode(images).reshape(-1, *model.codec.padded_shape)
    found = 0.5 * np.square(z, dtype=np.float64).mean(-1)
    factors = [1.0, *(full / side for full, side in zip(model.event_shape, found.shape[1:]))]
    return zoom(found, factors, order=1, mode="nearest", grid_mode=True)


@functools.lru_cache(maxsize=4)
def _backbone(name: str) -> Backbone:
    return Backbone(name)


def _maps(features: np.ndarray) -> np.ndarray:
    """Vectors [B, D] are maps of one position."""
    return features[:, None, None] if features.ndim == 2 else features
