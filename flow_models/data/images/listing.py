"""The pictures below a folder or prefix, kept compactly: a million of them take about 50 MB, not a
million objects.

The first folder of a name is its class; a folder without sub-folders is one class, "all".
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.failures import pick
from flow_models.data.images.image_data import Skipped

SUFFIXES = (".png", ".jpg", ".jpeg")
ALL = "all"  # the class of pictures that lie in no class folder
_SHOWN = 50  # skipped files of a kind that are kept by name


class SkipLog:
    """Counts what is left out, by kind, and keeps the first names."""

    def __init__(self):
        self._counts: Counter[str] = Counter()
        self._examples: list[tuple[str, str, str]] = []

    def add(self, kind: str, uri: str, reason: str) -> None:
        self._counts[kind] += 1
        if self._counts[kind] <= _SHOWN:
            self._examples.append((kind, uri, reason))

    def number(self, kind: str) -> int:
        return self._counts[kind]

    def first(self, kind: str) -> str:
        """The first of a kind and its reason, as `location: reason`."""
        return next(f"{uri}: {reason}" for each, uri, reason in self._examples if each == kind)

    def check(self, kind: str, most: int) -> None:
        """Raises UserError where more than `most` of a kind were left out."""
        number = self.number(kind)
        if number > most:
            raise UserError(
                f"{number} {kind} pictures are more than --max-bad {most}; the first:"
                f" {self.first(kind)}"
            )

    def result(self) -> Skipped:
        return Skipped(tuple(self._counts.items()), tuple(self._examples))


@dataclass(frozen=True)
class ImageFiles:
    """Pictures below `root`: row i is names[starts[i] : ends[i]], with its class, and two numbers
    of 64 bits.

    `order` follows from the name alone and is as good as random: sorting by it mixes the classes,
    the same way each time. `identity` follows from name, size and time or etag: it changes with the
    content.
    """

    root: str
    names: bytes
    starts: np.ndarray
    ends: np.ndarray
    labels: np.ndarray  # int32, places in `classes`
    order: np.ndarray
    identity: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def uri(self, row: int) -> str:
        return self.root + os.fsdecode(self.names[self.starts[row] : self.ends[row]])

    def take(self, rows: np.ndarray) -> ImageFiles:
        """Some of the rows, over the same names."""
        columns = ("starts", "ends", "labels", "order", "identity")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def relabel(self, classes: Sequence[str]) -> ImageFiles:
        """The rows whose class is among `classes`, labelled by their place in it."""
        places = {name: place for place, name in enumerate(classes)}
        anew = np.array([places.get(name, -1) for name in self.classes], np.int32)[self.labels]
        return replace(
            replace(self, labels=anew).take(np.flatnonzero(anew >= 0)), classes=tuple(classes)
        )


def list_images(
    uri: str, log: SkipLog, classes: Sequence[str] | None = None, progress: bool = True
) -> ImageFiles:
    """The pictures below a folder or prefix, or below the folders of some of its classes.

    Hidden files, files with other endings, and files beside the class folders are left out and
    noted in `log`.

    Raises:
      UserError: nothing there, no picture there, or no such class.
    """
    root = storage.join(uri, "")
    if classes is not None:
        check_classes(uri, classes)
    places = [root] if classes is None else [storage.join(root, name) for name in classes]
    files = _collect(
        root, (found for place in places for found in storage.list_files(place)), log, progress
    )
    if not len(files):
        raise UserError(f"{uri}: no picture here (.png, .jpg, .jpeg); skipped: {log.result()}")
    return files if classes is None else files.relabel(classes)


def check_classes(uri: str, classes: Sequence[str]) -> None:
    """Raises UserError for a class that has no folder, with the classes there are."""
    for name in classes:
        if not storage.exists(storage.join(uri, name, "")):
            there = storage.subfolders(uri)
            if not there:
                why = "no class folders here" if storage.exists(uri) else "no such folder"
                raise UserError(f"{uri}: {why}, so no class '{name}'")
            pick(dict.fromkeys(there), name, f"class in {uri}")


def _collect(root: str, found: Iterator[storage.Found], log: SkipLog, progress: bool) -> ImageFiles:
    from tqdm import tqdm

    names, ends, labels, order, identity = (
        bytearray(),
        array("q"),
        array("i"),
        array("Q"),
        array("Q"),
    )
    classes: dict[str, int] = {}
    for each in tqdm(
        found, f"listing {root}", unit=" files", disable=None if progress else True, delay=2
    ):
        name = each.uri[len(root) :]
        reason = _left_out(each, name)
        if reason:
            log.add(*reason)
            continue
        names += os.fsencode(name)
        ends.append(len(names))
        labels.append(classes.setdefault(name.rpartition("/")[0].partition("/")[0], len(classes)))
        order.append(_number(name))
        identity.append(_number(f"{name}\0{each.size}\0{each.stamp}"))
    ends_ = np.array(ends, np.int64)
    files = ImageFiles(
        root,
        bytes(names),
        np.concatenate([[0], ends_[:-1]]).astype(np.int64) if len(ends_) else ends_,
        ends_,
        np.array(labels, np.int32),
        np.array(order, np.uint64),
        np.array(identity, np.uint64),
        tuple(classes),
    )
    return _with_sorted_classes(files, log)


def _left_out(found: storage.Found, name: str) -> tuple[str, str, str] | None:
    if found.hidden:
        return "hidden", found.uri, "its name begins with a dot"
    if not name.lower().endswith(SUFFIXES):
        return "other", found.uri, "not .png, .jpg or .jpeg"
    return None


def _with_sorted_classes(files: ImageFiles, log: SkipLog) -> ImageFiles:
    """Classes in the order of their names; pictures beside class folders are left out, or are the
    one class."""
    if files.classes == ("",):
        return replace(files, classes=(ALL,))
    if "" in files.classes:
        for row in np.flatnonzero(files.labels == files.classes.index("")):
            log.add("other", files.uri(row), "beside the class folders, not in one")
    return files.relabel(sorted(name for name in files.classes if name))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "little")
