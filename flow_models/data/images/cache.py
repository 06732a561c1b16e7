"""Decoded pictures on the local disk, in shards, shared by any number of runs.

A shard is one file, named by a hash of what it was made from: the places, sizes and times (or
etags) of its files and the rule by which they became pixels. So a changed file is read again, and
nothing can go stale. A shard is written beside its place and renamed, so it is whole or absent;
a run that has it open keeps it when another run removes it. When the folder outgrows its limit,
the least recently used shards go.
"""

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images.reading import Rule

_ENDING = ".shard"
_FORMAT = 1  # part of the name: another way of decoding must not find the pixels of this one
_ABANDONED = 3600  # seconds after which a partly written file belongs to a run that died


@dataclass(frozen=True)
class Shard:
    """The readable pictures among some files: their places, ascending, and pixels uint8
    [n, H, W, C]."""

    rows: np.ndarray
    images: np.ndarray


def shard_key(root: str, identity: np.ndarray, rule: Rule) -> str:
    """The name of the shard of these files (their root and identities uint64 [n]) under this
    rule."""
    place = root if storage.is_s3(root) else os.path.abspath(root)
    made_of = f"{_FORMAT}\0{place}\0{rule}\0{os.environ.get('AWS_ENDPOINT_URL', '')}\0"
    return hashlib.blake2b(os.fsencode(made_of) + identity.tobytes(), digest_size=20).hexdigest()


class ShardCache:
    """Shards in a folder of at most `limit_mb` MB; by default `flow_models/images` in the user's
    folder for caches (XDG_CACHE_HOME, else ~/.cache)."""

    def __init__(self, folder: str | os.PathLike, limit_mb: float):
        folder = folder or storage.cache_folder("images")
        if storage.is_s3(folder):
            raise UserError(f"{folder}: the cache of images is a local folder")
        if limit_mb <= 0:
            raise UserError(f"the limit of the image cache must be above 0 MB, got {limit_mb}")
        self._folder, self._limit = storage.local_path(folder), limit_mb * 2**20

    def get(self, key: str) -> Shard | None:
        """The shard, its pixels mapped from the disk and not read yet; None where it is absent or
        damaged."""
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                rows = np.load(file, allow_pickle=False)
                shape = np.load(file, allow_pickle=False)
                images = np.memmap(file, np.uint8, "r", file.tell(), tuple(int(n) for n in shape))
            os.utime(path)  # the time of the last use
            return Shard(rows, images)
        except (OSError, ValueError, EOFError):
            return None

    def put(self, key: str, shard: Shard) -> None:
        """Keep a shard, then remove the longest unused ones until the folder is within its
        limit."""
        file = io.BytesIO()
        np.save(file, shard.rows)
        np.save(file, np.array(shard.images.shape))
        file.write(np.ascontiguousarray(shard.images).data)
        try:
            storage.write_bytes(self._path(key), file.getvalue())
        except UserError as error:
            raise UserError(
                f"{error} (the cache of images; --cache-dir names another folder)"
            ) from error
        self._shrink(keep=self._path(key))

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, key + _ENDING)

    def _shrink(self, keep: str) -> None:
        """Remove shards in the order of their last use. Other runs may do the same meanwhile."""
        shards = sorted(self._entries(), key=lambda each: each[1].st_mtime)
        total = sum(status.st_size for _, status in shards)
        for path, status in shards:
            abandoned = path.endswith(".part") and time.time() - status.st_mtime > _ABANDONED
            if abandoned or (total > self._limit and path.endswith(_ENDING) and path != keep):
                total -= status.st_size
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith((_ENDING, ".part")):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.path, entry.stat()
