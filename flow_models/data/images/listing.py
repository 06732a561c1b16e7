"""The pictures below a folder or prefix, kept compactly: a million of them take about 50 MB.

The first folder of a name is its class; a folder without sub-folders is one class, "all".
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError, warn
from flow_models.core.failures import pick
from flow_models.core.inventory import Inventory
from flow_models.core.share import WHOLE, Share
from flow_models.data.images.dataset import Skipped

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp")
SAMPLE = 1000  # pictures from which size, colour and depth of all are learned
ALL = "all"  # the class of pictures that lie in no class folder
_ROW = np.dtype(
    [("start", "i8"), ("end", "i8"), ("label", "i4"), ("order", "u8"), ("identity", "u8")]
)


@dataclass(frozen=True)
class ImageFiles:
    """Pictures below `root`. A row holds the place of its name in `names`, its class, and two
    hashes.

    `order` depends on the name alone: sorting by it mixes the classes, the same way each time.
    `identity` depends on name, size and time (or etag), so it changes with the content.
    """

    root: str
    names: bytes  # of all rows, one after the other
    rows: np.ndarray  # of _ROW
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """int32 [n], places in `classes`."""
        return self.rows["label"]

    def uri(self, row: int) -> str:
        """Where a picture is."""
        return self.root + os.fsdecode(self.names[self.rows["start"][row] : self.rows["end"][row]])

    def take(self, rows: np.ndarray) -> ImageFiles:
        """Some of the rows."""
        return replace(self, rows=self.rows[rows])

    def relabel(self, classes: Sequence[str]) -> ImageFiles:
        """The rows whose class is among `classes`, labelled by their place in it."""
        places = {name: place for place, name in enumerate(classes)}
        rows = self.rows.copy()
        rows["label"] = np.array([places.get(name, -1) for name in self.classes])[self.labels]
        return replace(self, rows=rows[rows["label"] >= 0], classes=tuple(classes))

    def as_one_class(self) -> ImageFiles:
        """All rows in the class "all"."""
        rows = self.rows.copy()
        rows["label"] = 0
        return replace(self, rows=rows, classes=(ALL,))


@dataclass(frozen=True)
class Names(Sequence):
    """Where some pictures of a listing are, each made when it is asked for."""

    files: ImageFiles
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self.files.uri(int(row)) for row in self.rows[number]]
        return self.files.uri(int(self.rows[number]))


def list_images(
    uri: str,
    log: Skipped,
    classes: Sequence[str] | None = None,
    progress: bool = True,
    share: Share = WHOLE,
    inventory: Inventory | None = None,
) -> ImageFiles:
    """The pictures below a folder or prefix, or below the folders of some of its classes.

    Hidden files, files with other endings, and files beside the class folders are left out and
    noted in `log`.

    Args:
      share: the part whose pictures are kept; beside them stay the first `SAMPLE` of all in the
        order of the hash of their names, from which each part learns the same of all.
      inventory: a list of the files, in place of a listing.

    Raises:
      UserError: nothing there, no picture there, or no such class.
    """
    root = storage.join(uri, "")
    if classes is not None:
        check_classes(uri, classes)
    found = _found(root, classes, inventory)
    files = _collect(root, found, log, progress, share)
    empty = set(classes or storage.subfolders(root)) - set(files.classes)
    if empty and files.classes != (ALL,):
        warn(f"{root}: folders without a picture are no classes: {', '.join(sorted(empty))}")
    if not len(files):
        listed = f" in {inventory.uri}" if inventory else ""
        raise UserError(f"{uri}: no picture here{listed} ({', '.join(SUFFIXES)}); skipped: {log}")
    return files if classes is None else files.relabel(classes)


def _found(
    root: str, classes: Sequence[str] | None, inventory: Inventory | None
) -> Iterator[storage.Found]:
    if inventory and classes is not None:  # one reading for all classes
        below = tuple(storage.join(root, name, "") for name in classes)
        return (each for each in inventory.files(root) if each.uri.startswith(below))
    files = inventory.files if inventory else storage.list_files
    places = [root] if classes is None else [storage.join(root, name) for name in classes]
    return (each for place in places for each in files(place))


def check_classes(uri: str, classes: Sequence[str]) -> None:
    """Raises UserError for a class that is named twice, or, with those there are, has no folder."""
    if len(set(classes)) < len(classes):
        raise UserError(f"a class is named twice: {', '.join(classes)}")
    for name in classes:
        if not storage.exists(storage.join(uri, name, "")):
            there = storage.subfolders(uri)
            if not there:
                why = "no class folders here" if storage.exists(uri) else "no such folder"
                raise UserError(f"{uri}: {why}, so no class '{name}'")
            pick(dict.fromkeys(there), name, f"class in {uri}")


def _collect(
    root: str, found: Iterator[storage.Found], log: Skipped, progress: bool, share: Share = WHOLE
) -> ImageFiles:
    from tqdm import tqdm

    names, quiet, sample = bytearray(), None if progress else True, _Sample()
    classes: dict[str, int] = {}

    def rows():
        for each in tqdm(found, f"listing {root}", unit=" files", disable=quiet, delay=2):
            name = each.uri[len(root) :]
            if each.hidden:
                log.add("hidden", each.uri, "its name begins with a dot")
            elif not name.lower().endswith(SUFFIXES):
                log.add("other", each.uri, f"not {', '.join(SUFFIXES)}")
            else:
                folder = name.partition("/")[0] if "/" in name else ""
                label, order = classes.setdefault(folder, len(classes)), _hash(name)
                if share != WHOLE and not (sample.has(order) | share.has(name)):
                    continue
                start, stamp = len(names), f"{name}\0{each.size}\0{each.stamp}"
                names.extend(os.fsencode(name))
                yield start, len(names), label, order, _hash(stamp)

    table = np.fromiter(rows(), _ROW)
    return _with_sorted_classes(ImageFiles(root, bytes(names), table, tuple(classes)), log)


def _with_sorted_classes(files: ImageFiles, log: Skipped) -> ImageFiles:
    """Classes in the order of their names. Pictures beside class folders are left out; without
    class folders they are one class."""
    if files.classes == ("",):
        return files.as_one_class()
    if "" in files.classes:
        beside = np.flatnonzero(files.labels == files.classes.index(""))
        for row in beside:
            log.add("other", files.uri(int(row)), "beside the class folders, not in one")
        first = (
            f"{len(beside):,}; the first: {files.uri(int(beside[0]))}" if len(beside) else "some"
        )
        warn(f"{files.root}: pictures beside the class folders are left out: {first}")
    return files.relabel(sorted(name for name in files.classes if name))


class _Sample:
    """Tells whether a number is among the `SAMPLE` smallest of those asked about so far."""

    def __init__(self):
        self._largest: list[int] = []  # a heap of their negatives

    def has(self, number: int) -> bool:
        if len(self._largest) < SAMPLE:
            heapq.heappush(self._largest, -number)
            return True
        return -heapq.heappushpop(self._largest, -number) != number


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "little")
