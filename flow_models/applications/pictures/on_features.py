"""Application 2 with a network in front: the flow learns feature maps in place of pixels."""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models.architectures.features import fastflow
from flow_models.core.errors import UserError
from flow_models.data.images.dataset import ImageData
from flow_models.models.feature_maps import FeatureMaps
from flow_models.models.pixels import Pixels

NUMBERS = 2**28  # in the maps of the training pictures, at most


@dataclasses.dataclass(frozen=True)
class OnFeatures:
    """The codec, and the maps float32 [N, h, w, D] of training and validation pictures."""

    codec: FeatureMaps
    train: np.ndarray
    validation: np.ndarray


def measured(config, known: ImageData, pixels: Pixels) -> OnFeatures:
    """The maps of the known pictures, mirrored ones too where the settings mirror.

    Raises:
      UserError: there is no such network, or the maps are too many for the memory.
    """
    images = known.examples
    if config.pictures.flip:
        images = np.concatenate([images, images[:, :, ::-1]])
    codec, maps = FeatureMaps.of(config.features, pixels, images, config.fit.seed)
    if maps.size > NUMBERS:
        raise UserError(
            f"the features of {len(images):,} pictures are {maps.size:,} numbers: take smaller"
            " pictures (--image-size), fewer of them, or a deeper layer of the network"
        )
    return OnFeatures(codec, maps, codec.encode(known.validation, np.float32).rows)


def flow(config, codec: FeatureMaps):
    """The flow of the maps."""
    network = config.network
    options = {name: getattr(network, name) for name in ("depth", "activation", "reversible")}
    return fastflow(codec.padded_shape, hidden=network.hidden, seed=config.fit.seed, **options)
