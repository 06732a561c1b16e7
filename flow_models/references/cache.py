"""Reference posteriors kept on disk, each in a file named by a hash of simulator, settings and
data."""

import contextlib
import hashlib
import io
import json
import os
import sys
import zipfile
import zlib

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.serializable import to_config

_FORMAT = 1  # part of the name: another way of sampling must not find the draws of this one


def path(folder: str | os.PathLike | None, simulator, settings, y: np.ndarray) -> str:
    """The file of these draws; y float64 [B, M]."""
    if folder is not None and storage.is_s3(folder):
        raise UserError(f"{folder}: the cache of references is a local folder")
    problem = json.dumps(
        [_FORMAT, to_config(simulator), to_config(settings), y.shape], sort_keys=True
    )
    key = hashlib.blake2b(
        problem.encode() + np.ascontiguousarray(y).tobytes(), digest_size=20
    ).hexdigest()
    return os.path.join(
        default_folder() if folder is None else storage.local_path(folder), key + ".npz"
    )


def default_folder() -> str:
    """`flow_models/references` in the user's folder for caches (XDG_CACHE_HOME, else ~/.cache)."""
    return os.path.join(_cache(), "references")


def folder_of(given: str) -> str:
    """Where runs keep exact samples and trained models: the given folder, else `flow_models` in the
    folder for caches.

    Raises:
      UserError: it is on S3, or cannot be written to: before the work that is to be kept there.
    """
    if storage.is_s3(given):
        raise UserError(f"{given}: the cache of references is a local folder")
    folder = storage.local_path(given) if given else _cache()
    try:
        storage.check_target(os.path.join(folder, "kept"))
    except UserError as error:
        raise UserError(
            f"{error} (samples and models are kept there; name another --reference-folder)"
        ) from error
    return folder


def _cache() -> str:
    return os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "flow_models"
    )


def load(path: str) -> dict[str, np.ndarray] | None:
    """The arrays of the file; None where it is not, or is damaged (every array carries a
    checksum)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def save(path: str, arrays: dict[str, np.ndarray]) -> None:
    """Written beside and renamed, so that no other run reads half of it."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    with may_fail("the reference posteriors"):
        storage.write_bytes(path, file.getvalue())


@contextlib.contextmanager
def may_fail(what: str):
    """A disk that takes no more does not cost the run that wanted to keep something for the next
    one."""
    try:
        yield
    except UserError as error:
        print(
            f"warning: {what} are not kept, the next run makes them anew: {error}", file=sys.stderr
        )
