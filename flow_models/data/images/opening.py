"""Images for training and for scoring: a folder, an s3:// prefix, or an embedded set by its name,
all by one call.

data = open_images("s3://bucket/photos", size=64)
data = open_images("data/mnist/train", "data/mnist/val", classes=["3", "8"])
data = open_images("silhouettes", augment=Augmentation(flip=True, rotation=10))
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import embedded_images
from flow_models.data.images.cache import ShardCache, default_folder
from flow_models.data.images.image_data import ImageData
from flow_models.data.images.listing import ALL, ImageFiles, SkipLog, check_classes, list_images
from flow_models.data.images.parts import (
    as_channels,
    as_crop,
    as_pair,
    find_parts,
    find_rule,
    find_val,
    hold_out,
)
from flow_models.data.images.reading import Rule, refit
from flow_models.data.images.scoring import read_images
from flow_models.data.images.store import ImageStore

if TYPE_CHECKING:
    from flow_models.data.images.augmentation import Augmentation

__all__ = ["open_images", "read_images"]


@dataclass(frozen=True)
class _How:
    """What is to be done with the pictures, apart from where they are."""

    size: tuple[int, int] | None
    channels: int | None
    crop: str
    classes: tuple[str, ...] | None
    batch_size: int
    augment: Augmentation | None
    labelled: bool
    seed: int
    cache: ShardCache | None
    memory: int  # bytes
    max_bad: int
    progress: bool


def open_images(
    train_uri: str,
    val_uri: str | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    crop: str = "center",
    classes: Sequence[str] | None = None,
    batch_size: int = 64,
    augment: Augmentation | None = None,
    labelled: bool = False,
    seed: int = 0,
    cache_dir: str | None = "",
    cache_limit_mb: float = 10_240,
    memory_limit_mb: float = 1_024,
    max_bad: int = 10,
    progress: bool = True,
) -> ImageData:
    """Training, validation and test images.

    Args:
      train_uri: a folder or s3://bucket/prefix of class folders, of pictures, or of `train`, `val`
        and `test`; or the name of an embedded set.
      val_uri: the same for validation; else `val` beside `train`, else a tenth of each class,
        chosen by the seed.
      size: height and width (one number: both) to which pictures are brought; None: they must all
        have one size.
      channels: 1 (grey) or 3; None: as the pictures are.
      crop: "center" keeps proportions and cuts off what is over; "none" stretches.
      classes: the class folders to use, in the order of their labels; None: all, in the order of
        their names.
      batch_size, augment, labelled, seed: of the batches, where `train` is a dataset: images too
        many for the memory, or augmented. With `labelled` they are {"x": images, "y": one-hot
        labels}.
      cache_dir: where decoded pictures are kept ("": the user's cache folder; None: nowhere).
      cache_limit_mb: what the cache may hold; beyond it the longest unused go.
      memory_limit_mb: training images above this are streamed out of the cache; validation images
        and `examples` beside streamed ones have a quarter of it, and a random part is taken of
        more.
      max_bad: more unreadable pictures than this end the run.

    Raises:
      UserError: nothing there, unreadable, of different sizes and no `size`, unknown classes, or
      wrong arguments.
    """
    how = _How(
        as_pair(size),
        as_channels(channels),
        as_crop(crop),
        tuple(classes) if classes else None,
        batch_size,
        augment,
        labelled,
        seed,
        _cache(cache_dir, cache_limit_mb),
        int(memory_limit_mb * 2**20),
        max_bad,
        progress,
    )
    if train_uri in embedded_images.names():
        return _from_embedded(train_uri, val_uri, how)
    if not storage.is_s3(train_uri) and not os.path.exists(storage.local_path(train_uri)):
        raise UserError(
            f"{train_uri}: no such folder, and no embedded set has this name; "
            f"the sets are {', '.join(embedded_images.names())}"
        )
    return _from_files(*find_parts(train_uri, val_uri), how)


def _from_embedded(name: str, val_uri: str | None, how: _How) -> ImageData:
    data = embedded_images.load(name)
    data = data.only(how.classes) if how.classes else data
    rule = Rule(*(how.size or data.shape[:2]), how.channels or data.shape[2], how.crop)
    examples, log = refit(data.examples, rule), SkipLog()
    data = replace(
        data,
        train=examples,
        examples=examples,
        validation=refit(data.validation, rule),
        test=refit(data.test, rule),
    )
    if val_uri:
        held = _held_out(find_val(val_uri), data.classes, how, log)
        validation, labels = _loaded(held, rule, how, log)
        data = replace(data, validation=validation, validation_labels=labels, skipped=log.result())
    return replace(data, train=_training(examples, data.example_labels, data.classes, how))


def _from_files(train_uri: str, val_uri: str | None, test_uri: str | None, how: _How) -> ImageData:
    """All parts are listed before the first picture is read: what is missing is told at once."""
    log = SkipLog()
    files = list_images(train_uri, log, how.classes, how.progress)
    files, held = (
        (files, _held_out(val_uri, files.classes, how, log))
        if val_uri
        else hold_out(files, how.seed)
    )
    tests = _held_out(test_uri, files.classes, how, log) if test_uri else None
    rule = find_rule(files, how.size, how.channels, how.crop)
    store = ImageStore(files, rule, how.cache, log, how.max_bad)
    if len(files) * int(np.prod(rule.shape)) <= how.memory:
        examples = store.load(f"reading {train_uri}", how.progress)
        labels = _some(store.labels, examples, train_uri, log)
        train = _training(examples, labels, files.classes, how)
    else:
        train, examples, labels = _streamed(store, train_uri, files.classes, how)
    validation, test = (
        _loaded(held, rule, how, log),
        (None, None) if tests is None else _loaded(tests, rule, how, log),
    )
    return ImageData(
        name=os.path.basename(train_uri.rstrip("/")),
        train=train,
        examples=examples,
        example_labels=labels,
        validation=validation[0],
        validation_labels=validation[1],
        test=test[0],
        test_labels=test[1],
        classes=files.classes,
        rows=len(store),
        source=_text(train_uri, val_uri, store, how),
        skipped=log.result(),
    )


def _held_out(
    uri: str, classes: tuple[str, ...], how: _How, log: SkipLog
) -> ImageFiles | ImageData:
    """Pictures for validation or test, of the classes of the training images: files, or an embedded
    set."""
    if uri in embedded_images.names():
        return embedded_images.load(uri).only(classes)
    if classes == (ALL,):
        files = list_images(uri, log, None, how.progress)
        return replace(files, labels=np.zeros_like(files.labels), classes=classes)
    present = [name for name in classes if storage.exists(storage.join(uri, name, ""))]
    if not present:
        check_classes(uri, classes)
    return list_images(uri, log, present, how.progress).relabel(classes)


def _loaded(
    held: ImageFiles | ImageData, rule: Rule, how: _How, log: SkipLog
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of all files, or of a random part with a quarter of the memory."""
    if isinstance(held, ImageData):
        return refit(held.validation, rule), held.validation_labels
    most = max(1, how.memory // 4 // int(np.prod(rule.shape)))
    if len(held) > most:
        held = held.take(np.argsort(held.order)[:most])
    store = ImageStore(held, rule, how.cache, log, how.max_bad)
    images = store.load(f"reading {held.root}", how.progress)
    return images, _some(store.labels, images, held.root, log)


def _some(labels: np.ndarray, images: np.ndarray, uri: str, log: SkipLog) -> np.ndarray:
    if not len(images):
        raise UserError(f"{uri}: no readable picture; the first: {log.first('unreadable')}")
    return labels


def _training(examples: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], how: _How):
    """The array, or its augmented batches."""
    if how.augment is None or not how.augment.changes:
        return examples
    counts = np.array([len(examples)])
    return _stream(
        lambda numbers: examples[numbers], counts, examples.shape[1:], labels, classes, how
    )


def _streamed(store: ImageStore, uri: str, classes: tuple[str, ...], how: _How):
    """Batches out of the cache, and a random part of the images beside them."""
    if how.cache is None:
        raise UserError(
            f"{uri}: too many pictures for the memory allowed ({how.memory >> 20} MB): "
            "give --cache-dir, a smaller --image-size, or more memory"
        )
    store.prepare(f"reading {uri}", how.progress)
    train = _stream(store.gather, store.counts, store.rule.shape, store.labels, classes, how)
    some = np.arange(min(len(store), max(1, how.memory // 4 // int(np.prod(store.rule.shape)))))
    return train, store.gather(some), store.labels[some]


def _stream(gather, counts, shape, labels, classes, how: _How):
    from flow_models.data.images.stream import stream

    return stream(
        gather,
        counts,
        shape,
        how.batch_size,
        how.seed,
        how.augment,
        labels if how.labelled else None,
        len(classes),
    )


def _text(train_uri: str, val_uri: str | None, store: ImageStore, how: _How) -> str:
    height, width, channels = store.rule.shape
    held = (
        f"validation from {val_uri}"
        if val_uri
        else f"a tenth held out for validation (seed {how.seed})"
    )
    kind = "grey" if channels == 1 else "colour"
    return f"{len(store):,} images, {height}x{width} {kind}, from {train_uri}; {held}"


def _cache(folder: str | None, limit_mb: float) -> ShardCache | None:
    if limit_mb <= 0:
        raise UserError(f"the limit of the image cache must be above 0 MB, got {limit_mb}")
    return None if folder is None else ShardCache(folder or default_folder(), int(limit_mb * 2**20))
