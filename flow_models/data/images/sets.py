"""The sets of pictures of one run: what is known, in its parts, and the held-out pictures that are
scored."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.startup import load_tensorflow
from flow_models.data.images import embedded_images
from flow_models.data.images.image_data import ImageData
from flow_models.data.images.opening import open_images, read_images
from flow_models.data.images.parts import find_parts
from flow_models.data.images.reading import Rule, refit

if TYPE_CHECKING:
    from flow_models.data.images.augmentation import Augmentation

MOST = 1000  # foreign pictures of a class or place that are scored
Labelled = tuple[np.ndarray, list[str]]  # pictures uint8 [n, H, W, C], and what each is


def open_known(config, labelled: bool = False) -> ImageData:
    """The pictures to learn, as the settings of applications 2 and 3 say: data or train_uri,
    classes, size, augmentation, cache."""
    return open_images(
        config.train_uri or config.data,
        config.val_uri or None,
        size=config.image_size or None,
        channels=config.channels or None,
        classes=class_names(config),
        batch_size=config.batch_size,
        augment=changes(config),
        seed=config.seed,
        cache_dir=config.cache_dir,
        max_bad=config.max_bad,
        labelled=labelled,
    )


def changes(config) -> Augmentation:
    """The augmentation that the settings ask for."""
    load_tensorflow()
    from flow_models.data.images.augmentation import Augmentation

    return Augmentation(config.flip, config.rotation, config.zoom, config.shear, config.shift)


def refuse_unknown_classes(config) -> None:
    """Raises UserError where the user's validation or test pictures have a class that the training
    pictures lack."""
    if (
        not config.train_uri
        or config.classes is not None
        or config.train_uri in embedded_images.names()
    ):
        return
    train, *held = find_parts(config.train_uri, config.val_uri or None)
    classes = set(storage.subfolders(train))
    for root in held:
        lacking = (
            sorted(set(storage.subfolders(root)) - classes)
            if root and root not in embedded_images.names()
            else []
        )
        if lacking:
            raise UserError(
                f"{root} has a class '{lacking[0]}' that {train} lacks: give pictures of it to"
                " train on, or name the classes to learn with --classes"
            )


def class_names(config) -> list[str] | None:
    """The classes to learn; a name that YAML takes for a number is a name all the same."""
    return None if config.classes is None else [str(name) for name in config.classes]


def known_held_out(known: ImageData) -> Labelled:
    """The pictures of the known classes that are scored: those of the test, or of the validation
    where there is none."""
    images, labels = known.held_out
    return images, [known.classes[label] for label in labels]


def other_classes(config, known: ImageData) -> Labelled | None:
    """Held-out pictures of the classes beside those to learn, in their shape; None where there are
    no others."""
    if config.classes is None:
        return None
    if not config.train_uri:
        images, labels = embedded(config.data, known.shape)
        foreign = ~np.isin(labels, known.classes)
        return (images[foreign], list(np.array(labels)[foreign])) if foreign.any() else None
    train, validation, test = find_parts(config.train_uri, config.val_uri or None)
    root = test or validation or train
    if root in embedded_images.names():
        return None
    parts = [
        (name, from_uri(storage.join(root, name), known.shape, config.max_bad)[0])
        for name in storage.subfolders(root)
        if name not in known.classes
    ]
    return join(parts) if parts else None


def join(parts: list[tuple[str, np.ndarray]]) -> Labelled:
    """Pictures of some classes, one after the other."""
    return np.concatenate([images for _, images in parts]), [
        name for name, images in parts for _ in images
    ]


def embedded(name: str, shape: tuple[int, int, int]) -> Labelled:
    """Held-out pictures of an embedded set, in another set's shape."""
    data = embedded_images.load(name)
    images, labels = data.held_out
    return refit(images, Rule(*shape)), [data.classes[label] for label in labels]


def from_uri(
    uri: str, shape: tuple[int, int, int], max_bad: int = 10, most: int = MOST
) -> Labelled:
    """The first pictures below a folder or prefix, in a shape, each labelled with the folder it
    lies in."""
    batches = islice(read_images(uri, shape[:2], shape[2], max_bad=max_bad), -(-most // 64))
    names, images = zip(*batches)
    labels = [
        name.rstrip("/").split("/")[-2] if "/" in name else "" for some in names for name in some
    ]
    return np.concatenate(images)[:most], labels[:most]
