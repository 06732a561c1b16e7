"""The image sets of one run of applications 2 and 3: what is known, and the held-out pictures that
are scored. `config` stands for the settings of either application."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError, warn
from flow_models.core.startup import load_tensorflow
from flow_models.data.images import embedded as embedded_sets
from flow_models.data.images.dataset import UNREADABLE, ImageData, Skipped
from flow_models.data.images.layout import find_parts
from flow_models.data.images.listing import ALL
from flow_models.data.images.opening import open_images
from flow_models.data.images.reading import Rule, refit
from flow_models.data.images.scoring import read_images
from flow_models.data.shards.folder import is_prepared

if TYPE_CHECKING:
    from flow_models.data.images.augmentation import Augmentation
    from flow_models.models.pixels import Pixels

PLAIN, HALF_TONES = 32, 0.2  # levels from black or white; share of pixels between them
MOST = 1000  # foreign pictures of a class or place that are scored


class Labelled(NamedTuple):
    """Pictures uint8 [n, H, W, C], what each shows, and their files where they are files."""

    images: np.ndarray
    labels: list[str]
    names: Sequence[str] = ()


def open_known(pictures, fit, labelled: bool = False, flip: bool | None = None) -> ImageData:
    """The pictures to learn, as the settings say: data or train_uri, classes, size, augmentation,
    cache."""
    return open_images(
        pictures.train_uri or pictures.data,
        pictures.val_uri or None,
        size=pictures.image_size or None,
        channels=pictures.channels or None,
        classes=class_names(pictures),
        batch_size=fit.batch_size,
        augment=augmentation(pictures, flip),
        seed=fit.seed,
        cache_dir=pictures.cache_dir,
        max_bad=pictures.max_bad,
        labelled=labelled,
    )


def pixels(config, data: ImageData, levels: int) -> Pixels:
    """What a picture is to the network: its size, bits, and the range of values of deep ones."""
    from flow_models.architectures.images import pixels_of

    bits = config.network.bits or usual_bits(config.pictures, data)
    found = pixels_of(config.network.architecture, data.shape, bits, levels)
    return dataclasses.replace(found, depth=data.depth, noise=config.pictures.noise)


def usual_bits(pictures, data: ImageData) -> int:
    """3 for the sets inside packages and for pictures nearly black and white, 5 for others."""
    if not pictures.train_uri or pictures.train_uri in embedded_sets.names():
        return 3
    middle = (data.examples > PLAIN) & (data.examples < 255 - PLAIN)
    return 5 if data.shape[2] == 3 or middle.mean() > HALF_TONES else 3


def stated(source: str, found: Pixels) -> str:
    """A source with what becomes of its pixels, for the report."""
    return f"{source}; {found.bits} bits a pixel"


def tell_skipped(skipped: Skipped) -> None:
    """Warns of unreadable pictures of all sets of a run."""
    if number := skipped.counts[UNREADABLE]:
        first = skipped.first(UNREADABLE)
        warn(f"unreadable pictures that are left out: {number:,}; the first: {first}")


def skipped_csv(skipped: Skipped) -> str:
    """What was left out: kind, file and reason; of each kind the first ones."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(
        [("kind", "name", "reason"), *skipped.examples]
    )
    return buffer.getvalue()


def augmentation(pictures, flip: bool | None = None) -> Augmentation:
    """The augmentation that the settings ask for; `flip` where they leave it open."""
    load_tensorflow()
    from flow_models.data.images.augmentation import Augmentation

    flip = bool(flip) if pictures.flip is None else pictures.flip
    return Augmentation(flip, pictures.rotation, pictures.zoom, pictures.shear, pictures.shift)


def class_names(pictures) -> list[str] | None:
    """The classes to learn; names that YAML takes for numbers are names all the same."""
    if pictures.classes == "auto":
        return ["cat"] if pictures.data == "silhouettes" and not pictures.train_uri else None
    return None if pictures.classes is None else [str(name) for name in pictures.classes]


def refuse_unknown_classes(pictures) -> None:
    """Raises UserError where the user's validation or test pictures have a class that the training
    pictures lack."""
    folder = pictures.train_uri and pictures.train_uri not in embedded_sets.names()
    if not folder or class_names(pictures) is not None or is_prepared(pictures.train_uri):
        return
    train, *held = find_parts(pictures.train_uri, pictures.val_uri or None)
    known = set(storage.subfolders(train))
    for root in held:
        if not root or root in embedded_sets.names():
            continue
        for name in sorted(set(storage.subfolders(root)) - known):
            raise UserError(
                f"{root} has a class '{name}' that {train} lacks: give pictures of it to train on,"
                " or name the classes to learn with --classes"
            )


def known_held_out(known: ImageData) -> Labelled:
    """The scored pictures of the known classes: those of the test, else of the validation."""
    images, labels = known.held_out
    return Labelled(images, [known.classes[label] for label in labels], known.held_out_names)


def other_classes(pictures, known: ImageData) -> Labelled | None:
    """Held-out pictures of the classes that are not learned, in the shape of the known ones; None
    where there are none."""
    if not pictures.train_uri or pictures.train_uri in embedded_sets.names():
        if class_names(pictures) is None:
            return None
        images, labels, _ = embedded(pictures.train_uri or pictures.data, known.shape)
        foreign = ~np.isin(labels, known.classes)
        some = Labelled(images[foreign], list(np.array(labels)[foreign]))
        return some if foreign.any() else None
    if is_prepared(pictures.train_uri):
        return None
    train, validation, test = find_parts(pictures.train_uri, pictures.val_uri or None)
    roots = [root for root in (train, validation, test) if root]
    roots = [root for root in roots if root not in embedded_sets.names()]
    # a class of several roots is taken from the last of them that has it: test, else validation
    places = {name: storage.join(root, name) for root in roots for name in storage.subfolders(root)}
    names = [name for name in places if name not in known.classes]
    parts = [from_uri(places[name], known, pictures.max_bad) for name in names]
    if known.classes == (ALL,) or not parts:
        return None
    return Labelled(
        np.concatenate([part.images for part in parts]),
        [name for name, part in zip(names, parts) for _ in part.names],
        [name for part in parts for name in part.names],
    )


def embedded(name: str, shape: tuple[int, int, int]) -> Labelled:
    """Held-out pictures of an embedded set, in the shape of another set."""
    data = embedded_sets.load(name)
    images, labels, _ = known_held_out(data)
    return Labelled(refit(images, Rule(*shape)), labels)


def from_uri(uri: str, known: ImageData, max_bad: int = 10, most: int = MOST) -> Labelled:
    """The first pictures below a folder or prefix, as the known ones are, each labelled with
    the folder it lies in."""
    size, channels = known.shape[:2], known.shape[2]
    batches = islice(
        read_images(uri, size, channels, depth=known.depth, max_bad=max_bad, log=known.skipped),
        most // 64 + 1,
    )
    names, images = zip(*batches)
    files = [name for some in names for name in some]
    if len(files) > most:  # of the last batch, which goes beyond
        warn(f"{uri}: of more than {most:,} pictures the first {most:,} by name are scored")
    files = files[:most]
    folders = [name.rpartition("/")[0].rpartition("/")[2] for name in files]
    return Labelled(np.concatenate(images)[:most], folders, files)
