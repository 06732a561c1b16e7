"""Networks of the user's that turn pictures into features, found by name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flow_models.core import user_file
from flow_models.core.errors import UserError

Function = Callable[[np.ndarray], np.ndarray]
BATCH = 256  # pictures at a time
KERAS = "keras:"
EXAMPLES = "module:function, FILE.py:function, or keras:NAME (of tf_keras.applications, or a file)"


class Backbone:
    """Features of pictures uint8 [B, H, W, C], by a network with a name: maps [B, h, w, D], or
    vectors [B, D].

    Args:
      name: module:function or FILE.py:function, of pixels 0 .. 255 as float32 [B, H, W, C]; or
        keras:NAME, of `tf_keras.applications` (keras:ResNet50, with its weights of ImageNet) or of
        a file that Keras saved (keras:mine.keras), which sees pixels 0 .. 255 in three colours or
        as many channels as it has.

    Raises:
      UserError: there is no such network.
    """

    def __init__(self, name: str):
        self.name = name
        self.function = _keras(name.removeprefix(KERAS)) if name.startswith(KERAS) else _own(name)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Raises UserError where the network fails, or gives no finite numbers of these shapes."""
        parts = np.array_split(images, range(BATCH, len(images), BATCH))
        found = [self._of(part) for part in parts]
        if len({each.shape[1:] for each in found}) > 1:
            shapes = " and ".join(str(list(each.shape)) for each in (found[0], found[-1]))
            raise UserError(f"{self.name} gives features of different shapes: {shapes}")
        return np.concatenate(found)

    def _of(self, images):
        try:
            found = np.asarray(self.function(images.astype(np.float32)), np.float32)
        except Exception as error:  # of any library
            message = " ".join(str(error).split())[: user_file.LONGEST]
            raise UserError(
                f"{self.name} fails for pictures {list(images.shape)}: {type(error).__name__}:"
                f" {message}"
            ) from error
        if found.ndim not in (2, 4) or len(found) != len(images) or not np.isfinite(found).all():
            raise UserError(
                f"{self.name} gives {list(found.shape)} for pictures {list(images.shape)}; finite"
                f" features [{len(images)}, D] or maps [{len(images)}, h, w, D] are expected"
            )
        return found


def absolute(name: str) -> str:
    """The name with the whole path of its file, where it is one, so that any process finds it."""
    front, back = (KERAS, "") if name.startswith(KERAS) else ("", ":" + name.rpartition(":")[2])
    place = name.removeprefix(front).removesuffix(back)
    is_file = Path(place).suffix in (".py", ".keras", ".h5") or front and Path(place).is_dir()
    return f"{front}{os.path.abspath(place)}{back}" if is_file else name


def pooled(features: np.ndarray) -> np.ndarray:
    """Features [B, D]: of maps [B, h, w, D] their mean."""
    return features.mean((1, 2)) if features.ndim == 4 else features


def _own(name: str) -> Function:
    """The function of a module or file. Raises UserError where there is none."""
    place, _, path = name.rpartition(":")
    if not place:
        raise UserError(f"no features {name!r}: give {EXAMPLES}")
    if place.endswith(".py"):
        module = user_file.load(os.path.abspath(place))
    else:
        try:
            module = importlib.import_module(place)
        except Exception as error:  # of the user's module
            message = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UserError(f"features {name!r}: {message}; give {EXAMPLES}") from error
    function = getattr(module, path, None)
    if not callable(function):
        raise UserError(f"{place} has no function {path}")
    return function


def _keras(name: str) -> Function:
    """A network of tf_keras.applications without its last layers, or one of a file."""
    import tf_keras

    if Path(name).suffix in (".keras", ".h5") or Path(name).is_dir():
        if not Path(name).exists():
            raise UserError(f"there is no file {name}")
        network = _opened(name)
        return lambda images: network(_coloured(images, network.input_shape[-1]), training=False)
    kind = getattr(tf_keras.applications, name, None)
    if kind is None or not callable(kind):
        raise UserError(f"tf_keras.applications has no {name!r}: give keras:ResNet50, say")
    try:
        network = kind(include_top=False, weights="imagenet")
    except Exception as error:  # no network, a damaged file
        raise UserError(
            f"keras:{name}: its weights cannot be had ({' '.join(str(error).split())[:120]}): put"
            " them into ~/.keras/models, or save a network of yours and give keras:FILE.keras"
        ) from error
    home = importlib.import_module(kind.__module__)
    return lambda images: network(home.preprocess_input(_coloured(images, 3)), training=False)


def _opened(file: str):
    import tf_keras

    try:
        return tf_keras.models.load_model(file, compile=False)
    except Exception as error:  # of any format
        message = " ".join(str(error).split())[: user_file.LONGEST]
        raise UserError(f"{file} is no network that tf_keras saved: {message}") from error


def _coloured(images, channels):
    """Grey pictures as often as the network has channels."""
    return np.repeat(images, channels, -1) if images.shape[-1] == 1 < (channels or 1) else images
