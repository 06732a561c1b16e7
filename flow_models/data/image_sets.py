"""The sets of pictures of one run: what is known, in its parts, and the held-out pictures that are scored."""

from __future__ import annotations

import numpy as np

from flow_models.data import embedded_images
from flow_models.data.failures import pick
from flow_models.data.image_data import ImageData
from flow_models.data.reshaping import as_shape
from flow_models.errors import UserError

Labelled = tuple[np.ndarray, list[str]]


def open_sets(config, names: tuple[str, str]) -> tuple[ImageData, dict, dict]:
    """What is known, and held-out pictures and labels by set, see `held_out`.

    config: settings `data` or `train_uri` and `val_uri`, `classes`, `image_size`, `channels`, `cache_dir`, `max_bad`, `seed`.
    """
    data = _opened(config, None) if config.train_uri else embedded_set(config.data, config.image_size, config.channels)
    sets, labels = held_out(data, config.classes, names)
    known = data if config.classes is None else data.only(config.classes)
    return known, sets, labels


def embedded_set(name: str, image_size: int = 0, channels: int = 0) -> ImageData:
    """An embedded set, all its pictures brought to a size and a number of channels; 0: as they are."""
    from dataclasses import replace

    data = embedded_images.load(name)
    height, width, depth = data.shape
    shape = (image_size or height, image_size or width, channels or depth)
    parts = {part: as_shape(getattr(data, part), shape) for part in ("examples", "validation", "test") if getattr(data, part) is not None}
    return replace(data, **parts, train=parts["examples"])


def held_out(everything: ImageData, classes: list[str] | None, names: tuple[str, str]) -> tuple[dict, dict]:
    """Held-out pictures {set: [n, H, W, C]} and their labels {set: [n]}: of the classes, and of all others if there are any.

    names: of the two sets.
    """
    images, labels = everything.held_out
    chosen = everything.classes if classes is None else classes
    named = np.array(everything.classes)[labels]
    inside = np.isin(named, chosen)
    sets, words = {}, {}
    for name, rows in zip(names, (inside, ~inside)):
        if rows.any():
            sets[name], words[name] = images[rows], list(named[rows])
    return sets, words


def foreign(name: str, shape: tuple[int, int, int]) -> Labelled:
    """Held-out pictures and labels of an embedded set, in another set's shape."""
    data = embedded_images.load(pick({each: each for each in embedded_images.names()}, name, "embedded image set"))
    images, labels = data.held_out
    return as_shape(images, shape), [data.classes[label] for label in labels]


def from_uri(uri: str, shape: tuple[int, int, int], most: int = 5000) -> Labelled:
    """Pictures below a folder or prefix, at most so many, in a shape, and their names."""
    from flow_models.data.images import read_images

    names, parts = [], []
    for some, batch in read_images(uri, shape[:2], shape[2]):
        names += list(some)
        parts.append(batch)
        if len(names) >= most:
            break
    if not names:
        raise UserError(f"{uri}: no readable picture (.png, .jpg, .jpeg) is there")
    return np.concatenate(parts)[:most], names[:most]
