"""Images for training and for scoring by one call: a folder, an s3:// prefix, or an embedded set by
its name.

    data = open_images("s3://bucket/photos", size=64)
    data = open_images("data/mnist/train", "data/mnist/val", classes=["3", "8"])
    data = open_images("silhouettes", augment=Augmentation(flip=True, rotation=10))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import embedded
from flow_models.data.images.cache import ShardCache
from flow_models.data.images.dataset import ImageData
from flow_models.data.images.depth import described
from flow_models.data.images.layout import Wanted, find_parts, find_rule, find_val, hold_out, wanted
from flow_models.data.images.listing import ALL, ImageFiles, check_classes, list_images
from flow_models.data.images.prepared import PreparedPictures
from flow_models.data.images.reading import Rule, refit
from flow_models.data.images.store import ImageStore, Reading
from flow_models.data.shards.folder import is_prepared

if TYPE_CHECKING:
    from flow_models.data.images.augmentation import Augmentation
    from flow_models.data.shards.stream import EndlessBatches


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
        and `test`; or shards that `python -m flow_models prepare` made of one; or the name of an
        embedded set.
      val_uri: the same for validation; else `val` beside `train`, else a tenth of each class,
        chosen by the seed.
      size: height and width (one number: both) of all pictures; None: they must have one size.
      channels: 1 (grey) or 3; None: as the pictures are.
      crop: "center" keeps proportions and cuts off what is over; "none" stretches.
      classes: the class folders to use, in the order of their labels; None: all, in the order of
        their names.
      batch_size, augment, labelled, seed: of the batches, where `train` is a dataset: images too
        many for the memory, or augmented. With `labelled` they are {"x": images, "y": one-hot
        labels}.
      cache_dir: where decoded pictures are kept ("": the user's cache folder; None: nowhere).
      cache_limit_mb: what the cache may hold; beyond it the longest unused pictures go.
      memory_limit_mb: training images that need more are streamed out of the cache, and `examples`
        is then a random part of them in a quarter of it; so are validation and test images that
        need more than that.
      max_bad: more unreadable pictures than this end the run.
      progress: whether to show progress bars on a terminal.

    Raises:
      UserError: nothing there, unreadable, of different sizes and no `size`, unknown classes, or
        wrong arguments.
    """
    cache = None if cache_dir is None else ShardCache(cache_dir, cache_limit_mb)
    reading = Reading(cache, max_bad, progress)
    batching = _Batching(batch_size, augment, labelled, seed)
    memory = int(memory_limit_mb * 2**20)
    shape = wanted(size, channels, crop)
    opener = _Opener(shape, classes or None, reading, batching, memory)
    if train_uri in embedded.names():
        return opener.embedded(train_uri, val_uri)
    if not storage.is_s3(train_uri) and not os.path.exists(storage.local_path(train_uri)):
        raise UserError(
            f"{train_uri}: no such folder, and no embedded set has this name; "
            f"the sets are {', '.join(embedded.names())}"
        )
    if is_prepared(train_uri):
        return opener.prepared(train_uri, val_uri)
    return opener.files(*find_parts(train_uri, val_uri))


@dataclass(frozen=True)
class _Batching:
    """Batches without end, where the training images are not simply an array."""

    size: int
    augment: Augmentation | None
    labelled: bool
    seed: int

    def of(self, gather: Callable, counts, shape, labels, classes, ahead=None) -> EndlessBatches:
        """See `stream`."""
        from flow_models.data.images.stream import stream

        labels = labels if self.labelled else None
        size, seed, augment = self.size, self.seed, self.augment
        fixed = shape, size, seed, augment, labels, len(classes)
        return stream(gather, counts, *fixed, ahead=ahead)

    def of_array(self, images: np.ndarray, labels: np.ndarray, classes):
        """The array itself if nothing is augmented."""
        if self.augment is None or not self.augment.changes:
            return images
        counts, shape = np.array([len(images)]), images.shape[1:]
        return self.of(lambda numbers: images[numbers], counts, shape, labels, classes)


@dataclass(frozen=True)
class _Opener:
    """The arguments of `open_images` apart from the places."""

    shape: Wanted
    classes: Sequence[str] | None
    reading: Reading
    batching: _Batching
    memory: int  # bytes

    def embedded(self, name: str, val_uri: str | None) -> ImageData:
        """An embedded set, with validation images from elsewhere if asked for."""
        data = embedded.load(name)
        data = data.only(self.classes) if self.classes else data
        rule = self.shape.rule(data.shape)
        data = data.changed(lambda images, labels: (refit(images, rule), labels))
        if val_uri:
            held = self._listed(find_val(val_uri), data.classes)
            images, labels, _ = self._loaded(held, rule)
            data = replace(data, validation=images, validation_labels=labels)
        train = self.batching.of_array(data.examples, data.example_labels, data.classes)
        return replace(data, train=train, skipped=self.reading.log)

    def files(self, train_uri: str, val_uri: str | None, test_uri: str | None) -> ImageData:
        """Files of pictures. All parts are listed before the first picture is read, so that what is
        missing is told at once."""
        files = list_images(train_uri, self.reading.log, self.classes, self.reading.progress)
        if val_uri:
            held = self._listed(val_uri, files.classes)
        else:
            files, held = hold_out(files, self.batching.seed)
        tests = self._listed(test_uri, files.classes) if test_uri else None
        rule = find_rule(files, self.shape)
        store = ImageStore(files, rule, self.reading)
        train, examples, labels = self._train(store)
        validation, validation_labels, names = self._loaded(held, rule)
        test, test_labels = None, None
        if tests is not None:
            test, test_labels, names = self._loaded(tests, rule)
        return ImageData(
            name=os.path.basename(train_uri.rstrip("/")),
            train=train,
            examples=examples,
            example_labels=labels,
            validation=validation,
            validation_labels=validation_labels,
            test=test,
            test_labels=test_labels,
            classes=files.classes,
            rows=len(store),
            source=self._source(train_uri, val_uri, len(store), rule),
            skipped=self.reading.log,
            depth=rule.depth,
            example_names=store.names[: len(labels)],
            held_out_names=names,
        )

    def prepared(self, folder: str, val_uri: str | None) -> ImageData:
        """Pictures out of shards: nothing is listed or decoded."""
        pictures = PreparedPictures(folder, self.shape, self.classes)
        rule, classes = pictures.rule, pictures.classes
        self.reading.log.take(*pictures.skipped)
        reader, quarter = pictures.reader("train"), self._quarter(rule)
        rows = len(reader.split)
        if rows * rule.image_bytes <= self.memory:
            images, labels, places = pictures.first("train", rows)
            train = self.batching.of_array(images, labels, classes)
        else:
            images, labels, places = pictures.first("train", quarter)
            counts, by_number = reader.split.counts, reader.column(0)
            train = self.batching.of(
                by_number, counts, rule.shape, reader.column(1), classes, reader.ahead
            )
        if val_uri:
            held = self._loaded(self._listed(find_val(val_uri), classes), rule)
        else:
            held = pictures.first("validation", quarter)
        if not len(held[0]):
            raise UserError(f"{folder} holds no pictures for validation: give --val-uri")
        test = pictures.first("test", quarter)
        tested = bool(len(test[0]))
        return ImageData(
            name=os.path.basename(folder.rstrip("/")),
            train=train,
            examples=images,
            example_labels=labels,
            validation=held[0],
            validation_labels=held[1],
            test=test[0] if tested else None,
            test_labels=test[1] if tested else None,
            classes=classes,
            rows=rows,
            source=self._source(folder, val_uri or folder, rows, rule),
            skipped=self.reading.log,
            depth=rule.depth,
            example_names=places,
            held_out_names=test[2] if tested else held[2],
        )

    def _listed(self, uri: str, classes: tuple[str, ...]) -> ImageFiles | ImageData:
        """Pictures for validation or test, of the classes of the training images: files, or an
        embedded set."""
        log, progress = self.reading.log, self.reading.progress
        if uri in embedded.names():
            return embedded.load(uri).only(classes)
        if classes == (ALL,):
            return list_images(uri, log, None, progress).as_one_class()
        present = [name for name in classes if storage.exists(storage.join(uri, name, ""))]
        if not present:
            check_classes(uri, classes)
        return list_images(uri, log, present, progress).relabel(classes)

    def _loaded(
        self, held: ImageFiles | ImageData, rule: Rule
    ) -> tuple[np.ndarray, np.ndarray, Sequence[str]]:
        """Images, labels and places of all files, or of a random part in a quarter of the
        memory."""
        if isinstance(held, ImageData):
            return refit(held.validation, rule), held.validation_labels, ()
        some = np.argsort(held.rows["order"])[: self._quarter(rule)]
        held = held if len(some) == len(held) else held.take(some)
        store = ImageStore(held, rule, self.reading)
        return *store.load(), store.names

    def _train(
        self, store: ImageStore
    ) -> tuple[np.ndarray | EndlessBatches, np.ndarray, np.ndarray]:
        """What a trainer takes, and images and labels in memory: all of them, or a random part
        where there are too many."""
        rule, classes = store.rule, store.files.classes
        if len(store.files) * rule.image_bytes <= self.memory:
            images, labels = store.load()
            return self.batching.of_array(images, labels, classes), images, labels
        if self.reading.cache is None:
            raise UserError(
                f"{store.files.root}: too many pictures for the memory allowed"
                f" ({self.memory >> 20} MB): give --cache-dir, a smaller --image-size, or more"
                " memory"
            )
        store.prepare()
        labels = store.labels
        train = self.batching.of(store.gather, store.counts, rule.shape, labels, classes)
        some = np.arange(min(len(store), self._quarter(rule)))
        return train, store.gather(some), labels[some]

    def _quarter(self, rule: Rule) -> int:
        """Images in a quarter of the memory."""
        return max(1, self.memory // 4 // rule.image_bytes)

    def _source(self, train_uri: str, val_uri: str | None, rows: int, rule: Rule) -> str:
        height, width, channels = rule.shape
        kind = "grey" if channels == 1 else "colour"
        held = f"a tenth held out for validation (seed {self.batching.seed})"
        held = f"validation from {val_uri}" if val_uri else held
        size = f"{height}x{width} {kind}{described(rule.depth)}"
        return f"{rows:,} images, {size}, from {train_uri}; {held}"
