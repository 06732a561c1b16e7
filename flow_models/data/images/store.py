"""Pictures of a listing as pixels: read in parallel, decoded once, kept in the cache, and in memory
where they fit.

Files are cut into shards in the order of a hash of their names: a shard is a random sample of all
classes, and a new file touches one shard, not all.
"""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images.cache import Shard, ShardCache, shard_key
from flow_models.data.images.dataset import UNREADABLE, Skipped
from flow_models.data.images.listing import ImageFiles, Names
from flow_models.data.images.reading import BadImage, Rule, bounded_map, read

_SHARD_BYTES, _SHARD_ROWS = 16 * 2**20, 512  # what a shard is meant to hold at most
_AT_A_TIME = 2  # shards: while one is written to the cache, the next is read
_S3_READERS = 16  # requests in flight: they wait, and hardly compute
_OPEN = 64  # shards kept open by a store


@dataclass(frozen=True)
class Reading:
    """How pictures are read: where shards are kept (None: nowhere), how many unreadable pictures
    end the run, whether progress is shown, and where files that are left out are noted."""

    cache: ShardCache | None
    max_bad: int
    progress: bool
    log: Skipped = field(default_factory=Skipped)


class ImageStore:
    """Readable pictures of `files`, numbered 0 .. len - 1 shard by shard, after `load` or
    `prepare`.

    Args:
      files: what to read.
      rule: the size and colour of the pixels.
      how: what to do besides.
    """

    def __init__(self, files: ImageFiles, rule: Rule, how: Reading):
        self.files, self.rule, self._how = files, rule, how
        self._shards = _cut(files.rows["order"], rule.image_bytes)
        self._good: list[np.ndarray] = []  # places of the readable files in each shard
        self._pixels = functools.lru_cache(_OPEN)(self._read_again)
        self.counts = np.zeros(0, np.int64)  # of readable pictures in each shard

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def labels(self) -> np.ndarray:
        """int32 [len]."""
        return self.files.labels[self._rows()]

    @property
    def names(self) -> Names:
        """Where the pictures are."""
        return Names(self.files, self._rows())

    def _rows(self) -> np.ndarray:
        parts = [rows[good] for rows, good in zip(self._shards, self._good)]
        return np.concatenate(parts)

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """All pictures uint8 [len, H, W, C] in memory, and their labels. Raises UserError where
        none is readable."""
        images, filled = np.empty((len(self.files), *self.rule.shape), np.uint8), 0
        for pixels in self._read_all():
            images[filled : filled + len(pixels)] = pixels
            filled += len(pixels)
        if not filled:
            first = self._how.log.first(UNREADABLE)
            raise UserError(f"{self.files.root}: no readable picture; the first: {first}")
        return images[:filled], self.labels

    def prepare(self) -> None:
        """Read all pictures into the cache."""
        for _ in self._read_all():
            pass

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """Pixels [n, H, W, C] of some pictures, after `prepare`; needs a cache."""
        ends = np.cumsum(self.counts)
        shards = np.searchsorted(ends, numbers, side="right")
        out = np.empty((len(numbers), *self.rule.shape), np.uint8)
        for shard in np.unique(shards):
            here = shards == shard
            first = ends[shard] - self.counts[shard]
            out[here] = self._pixels(int(shard))[numbers[here] - first]
        return out

    def _read_all(self) -> Iterator[np.ndarray]:
        """The pixels of each shard in turn."""
        from tqdm import tqdm

        total, quiet = len(self.files), None if self._how.progress else True
        bar = tqdm(
            total=total, desc=f"reading {self.files.root}", unit=" images", disable=quiet, delay=2
        )
        self._good = []
        with bar, self._readers() as readers, ThreadPoolExecutor(_AT_A_TIME) as pool:

            def one(shard):
                return self._read(shard, np.arange(len(self._shards[shard])), readers)

            found = bounded_map(pool, one, range(len(self._shards)), _AT_A_TIME)
            for rows, (shard, bad) in zip(self._shards, found):
                for uri, reason in bad:
                    self._how.log.add_unreadable(uri, str(reason), self._how.max_bad)
                self._good.append(shard.rows)
                bar.update(len(rows))
                yield shard.images
        self.counts = np.array([len(good) for good in self._good], np.int64)

    def _read_again(self, number: int) -> np.ndarray:
        """The pixels of a shard from the cache, or from its files if it was removed meanwhile."""
        good = self._good[number]
        with self._readers() as readers:
            shard, bad = self._read(number, good, readers)
        for uri, reason in bad:
            raise UserError(f"{uri}: {reason}; it was readable when this run began")
        same = len(shard.rows) == len(good)  # or another run found more of them readable
        return shard.images if same else shard.images[np.isin(shard.rows, good)]

    def _read(
        self, number: int, wanted: np.ndarray, readers: Executor
    ) -> tuple[Shard, list[tuple[str, BadImage]]]:
        """A shard with the pictures `wanted` (places in it), and those that are not readable.

        What the cache lacks is read from the files and added to the cache.
        """
        rows = self._shards[number]
        key = shard_key(self.files.root, self.files.rows["identity"][rows], self.rule)
        known = self._how.cache.get(key) if self._how.cache else None
        missing = wanted if known is None else np.setdiff1d(wanted, known.rows)
        if known is not None and not len(missing):
            return known, []
        images = np.zeros((len(rows), *self.rule.shape), np.uint8)
        good, bad = np.zeros(len(rows), bool), []
        if known is not None:
            images[known.rows], good[known.rows] = known.images, True
        uris = [self.files.uri(row) for row in rows[missing]]
        for place, uri, image in zip(missing, uris, readers.map(self._read_one, uris)):
            if isinstance(image, BadImage):
                bad.append((uri, image))
            else:
                images[place], good[place] = image, True
        shard = Shard(np.flatnonzero(good), images[good])
        if self._how.cache and len(bad) < len(missing):
            self._how.cache.put(key, shard)
            shard = self._how.cache.get(key) or shard  # mapped from the disk, not held in memory
        return shard, bad

    def _read_one(self, uri: str) -> np.ndarray | BadImage:
        return read(uri, self.rule)

    def _readers(self) -> ThreadPoolExecutor:
        s3 = storage.is_s3(self.files.root)
        return ThreadPoolExecutor(_S3_READERS if s3 else 2 * (os.cpu_count() or 2))


def _cut(order: np.ndarray, image_bytes: int) -> list[np.ndarray]:
    """Rows of each shard: a power of two of ranges of the hash, so that shards stay when files come
    and go."""
    rows = max(1, min(_SHARD_ROWS, _SHARD_BYTES // image_bytes))
    shards = 1
    while shards * rows < len(order):
        shards *= 2
    starts = np.array([number * 2**64 // shards for number in range(1, shards)], np.uint64)
    sorted_rows = np.argsort(order, kind="stable")
    return np.split(sorted_rows, np.searchsorted(order[sorted_rows], starts))
