"""Pictures of a listing as pixels: read in parallel, decoded once, kept in the cache, in memory
where they fit.

Files are cut into shards in the order of a hash of their names: a shard is a random sample of all
classes, and a new file touches one shard, not all.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images.cache import Shard, ShardCache, shard_key
from flow_models.data.images.listing import ImageFiles, SkipLog
from flow_models.data.images.reading import BadImage, Rule, bounded_map, read

_SHARD_BYTES, _SHARD_ROWS = (
    16 * 2**20,
    512,
)  # what a shard is meant to hold at most, by size and number
_S3_READERS = 16  # requests in flight: they wait, and hardly compute
_OPEN = 64  # shards kept open by a store


class ImageStore:
    """Readable pictures of `files`, addressed by a number 0 .. len - 1, shard after shard.

    Args:
      files: what to read.
      rule: the size and colour of the pixels.
      cache: where shards are kept; None reads and keeps nothing on the disk.
      log: where unreadable files are noted.
      max_bad: more of them than this end the run.
    """

    def __init__(
        self, files: ImageFiles, rule: Rule, cache: ShardCache | None, log: SkipLog, max_bad: int
    ):
        self._files, self.rule, self._cache, self._log, self._max_bad = (
            files,
            rule,
            cache,
            log,
            max_bad,
        )
        self._shards = _cut(files.order, int(np.prod(rule.shape)))
        self._good: list[np.ndarray] = []  # places of the readable files in each shard
        self._open: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        self.counts = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return int(self.counts.sum())

    @property
    def labels(self) -> np.ndarray:
        """int32 [len]."""
        return self._files.labels[
            np.concatenate([rows[good] for rows, good in zip(self._shards, self._good)])
        ]

    def load(self, title: str, progress: bool = True) -> np.ndarray:
        """Read all into memory, uint8 [len, H, W, C]; memory for pictures that were not readable is
        never touched."""
        images, filled = np.empty((len(self._files), *self.rule.shape), np.uint8), 0
        for shard in self._prepared(title, progress):
            images[filled : filled + len(shard.rows)] = shard.images
            filled += len(shard.rows)
        return images[:filled]

    def prepare(self, title: str, progress: bool = True) -> None:
        """Read all into the cache."""
        for _ in self._prepared(title, progress):
            pass

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """Pixels [n, H, W, C] of some pictures, after `prepare`; needs a cache."""
        with self._lock:
            return self._gathered(numbers)

    def _gathered(self, numbers: np.ndarray) -> np.ndarray:
        ends = np.cumsum(self.counts)
        shards = np.searchsorted(ends, numbers, side="right")
        out = np.empty((len(numbers), *self.rule.shape), np.uint8)
        for place in np.unique(shards):
            here = shards == place
            out[here] = self._pixels(int(place))[numbers[here] - (ends[place] - self.counts[place])]
        return out

    def _pixels(self, place: int) -> np.ndarray:
        """The pixels of a shard, which stays open for a while."""
        if place not in self._open:
            while len(self._open) >= _OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[place] = self._again(place)
        return self._open[place]

    def _again(self, place: int) -> np.ndarray:
        """A shard from the cache, or from its files where it was removed; they were all readable
        before."""
        good, key = self._good[place], self._key(place)
        cached = self._cache.get(key)
        if cached is not None and np.array_equal(cached.rows, good):
            return cached.images
        with ThreadPoolExecutor(self._readers) as pool:
            found = list(
                bounded_map(pool, self._read, ((place, each) for each in good), 4 * self._readers)
            )
        for _, each, image in found:
            if isinstance(image, BadImage):
                raise UserError(
                    f"{self._uri(place, each)}: {image}; it was readable when this run began"
                )
        shard = Shard(good, np.stack([image for _, _, image in found]))
        self._cache.put(key, shard)
        return (self._cache.get(key) or shard).images  # mapped from the disk, not held in memory

    def _prepared(self, title: str, progress: bool) -> Iterator[Shard]:
        """Every shard in turn, from the cache as far as it goes. What was unreadable before is
        tried again."""
        from tqdm import tqdm

        cached: dict[int, Shard | None] = {}

        def missing() -> Iterator[tuple[int, int]]:
            for place, rows in enumerate(self._shards):
                found = cached[place] = self._cache.get(self._key(place)) if self._cache else None
                yield place, -1  # so that each shard comes by, also one that is whole
                known = () if found is None else found.rows
                yield from ((place, each) for each in np.setdiff1d(np.arange(len(rows)), known))

        counts, self._good = [], []
        bar = tqdm(
            total=len(self._files),
            desc=title,
            unit=" images",
            disable=None if progress else True,
            delay=2,
        )
        with bar, ThreadPoolExecutor(self._readers) as pool:
            read_ones = bounded_map(pool, self._read, missing(), 4 * self._readers)
            for place, group in groupby(read_ones, key=lambda each: each[0]):
                new = [(each, image) for _, each, image in group if each >= 0]
                shard = self._joined(place, cached.pop(place), new)
                self._good.append(shard.rows)
                counts.append(len(shard.rows))
                bar.update(len(self._shards[place]))
                yield shard
        self.counts = np.array(counts, np.int64)

    def _joined(self, place: int, old: Shard | None, new: list) -> Shard:
        """A shard of the pictures known and those just read; kept if it has grown."""
        good = [(each, image) for each, image in new if not isinstance(image, BadImage)]
        for each, image in new:
            if isinstance(image, BadImage):
                self._bad(self._uri(place, each), image)
        if old is not None and not good:
            return old
        rows = np.array([each for each, _ in good], np.int64)
        images = (
            np.stack([i for _, i in good]) if good else np.zeros((0, *self.rule.shape), np.uint8)
        )
        if old is not None:
            rows, images = np.concatenate([old.rows, rows]), np.concatenate([old.images, images])
        order = np.argsort(rows)
        shard = Shard(rows[order], images[order])
        if self._cache and good:
            self._cache.put(self._key(place), shard)
        return shard

    def _bad(self, uri: str, reason: BadImage) -> None:
        self._log.add("unreadable", uri, str(reason))
        self._log.check("unreadable", self._max_bad)

    def _read(self, item: tuple[int, int]):
        place, each = item
        return place, each, None if each < 0 else read(self._uri(place, each), self.rule)

    def _uri(self, place: int, each: int) -> str:
        return self._files.uri(self._shards[place][each])

    def _key(self, place: int) -> str:
        return shard_key(self._files.root, self._files.identity[self._shards[place]], self.rule)

    @property
    def _readers(self) -> int:
        return _S3_READERS if storage.is_s3(self._files.root) else 2 * (os.cpu_count() or 2)


def _cut(order: np.ndarray, image_bytes: int) -> list[np.ndarray]:
    """Rows of each shard: a power of two of ranges of the hash, so that shards stay when files come
    and go."""
    rows = max(1, min(_SHARD_ROWS, _SHARD_BYTES // image_bytes))
    bits = max(0, int(np.ceil(np.log2(max(1, len(order)) / rows))))
    number = (
        (order >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(order), np.int64)
    )
    sorted_rows = np.lexsort((order, number))
    return [
        part
        for part in np.split(sorted_rows, np.cumsum(np.bincount(number, minlength=2**bits))[:-1])
    ]
