"""Reference posteriors on disk, each in a file named by a hash of simulator, settings and data."""

import contextlib
import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from flow_models.core import archive, storage
from flow_models.core.errors import UserError, warn
from flow_models.core.serializable import to_config

_FORMAT = 1  # part of the hash: change it when the way of sampling changes


def path(folder: str | os.PathLike | None, simulator, settings, y: np.ndarray) -> str:
    """The file of the draws for data y, float64 [B, M].

    `folder=None` is `flow_models/references` in the user's folder for caches.
    """
    folder = os.path.join(_local(""), "references") if folder is None else _local(folder)
    written = json.dumps(
        [_FORMAT, to_config(simulator), to_config(settings), y.shape], sort_keys=True
    )
    # our own classes go by name alone, so that draws are found again after a file was moved
    written = re.sub(r'"flow_models\.[\w.]+:', '"', written)
    key = hashlib.blake2b(written.encode() + np.ascontiguousarray(y).tobytes(), digest_size=20)
    return os.path.join(folder, f"{key.hexdigest()}.npz")


def folder_of(given: str) -> str:
    """The folder where runs keep exact samples and trained models: the given one, else
    `flow_models` in the user's folder for caches.

    Raises:
      UserError: it is in S3, or cannot be written to; call this before the long work.
    """
    folder = _local(given)
    try:
        storage.check_target(os.path.join(folder, "kept"))
    except UserError as error:
        raise UserError(
            f"{error} (samples and models are kept there; name another --reference-folder)"
        ) from error
    return folder


def load(path: str) -> dict[str, np.ndarray] | None:
    """The arrays of the file; None where it is missing or damaged (each array has a checksum)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def save(path: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the file whole; a disk that does not take it costs a warning."""
    with may_fail("the reference posteriors"):
        storage.write_bytes(path, archive.to_bytes(arrays))


@contextlib.contextmanager
def may_fail(what: str) -> Iterator[None]:
    """Turns a failure to keep `what` for the next run into a warning on stderr."""
    try:
        yield
    except UserError as error:
        warn(f"{what} are not kept, the next run makes them anew: {error}")


def _local(folder: str | os.PathLike) -> str:
    """A local folder; "" is `flow_models` in XDG_CACHE_HOME, else in ~/.cache."""
    if storage.is_s3(folder):
        raise UserError(f"{folder}: the cache of references is a local folder")
    return storage.local_path(folder or storage.cache_folder())
