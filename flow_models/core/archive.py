"""Named arrays and a JSON header in a folder: a reader finds the old state or the new one, never a
mixture."""

import contextlib
import hashlib
import io
import json
import os
import re
import zipfile

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import TransientError, UserError


def write(folder: str, name: str, arrays: dict[str, np.ndarray], header: dict) -> None:
    """Writes `folder/name-<digest>.npz`, then `folder/name.json`, which points to it.

    The header replaces the old one in one step, so a crash or a full disk before it leaves the
    previous state whole. Older arrays are removed; in S3 the previous ones stay, as a reader may
    still need them.
    """
    data = to_bytes(arrays)
    header = {**header, "arrays": f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.npz"}
    header["sha256"] = _digest(header, data)
    kept = {header["arrays"], *(_previous_arrays(folder, name) if storage.is_s3(folder) else ())}
    storage.write_bytes(storage.join(folder, header["arrays"]), data)
    storage.write_bytes(storage.join(folder, f"{name}.json"), json.dumps(header, indent=1).encode())
    ours = re.compile(re.escape(name) + "-[0-9a-f]{12}.npz")
    with contextlib.suppress(UserError):  # a user who may not delete in S3 keeps them all
        for older in storage.names(folder) - kept:
            if ours.fullmatch(older):
                storage.delete(storage.join(folder, older))


def to_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as the content of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_header(folder: str, name: str, what: str) -> dict:
    """The JSON header alone.

    Raises:
      UserError: it is missing or damaged.
    """
    path = storage.join(folder, f"{name}.json")
    if not storage.exists(path):
        raise UserError(f"{folder} holds no {what} ({name}.json is missing)")
    data = storage.read_bytes(path)
    with contextlib.suppress(ValueError):
        header = json.loads(data)
        if isinstance(header, dict) and {"arrays", "sha256"} <= set(header):
            return header
    raise UserError(f"{path} is damaged: it is not the header of a {what}")


def read_arrays(folder: str, header: dict, what: str) -> dict[str, np.ndarray]:
    """The arrays that a header points to.

    Raises:
      UserError: they are missing, or not what was written.
    """
    name = os.path.basename(str(header["arrays"]))
    path = storage.join(folder, name)
    if not storage.exists(path):
        raise UserError(f"{folder} is not a whole {what}: {name} is missing")
    data = storage.read_bytes(path)
    if _digest(header, data) != header["sha256"]:
        raise UserError(
            f"{path} is damaged, or the header beside it: the checksum is not the one written with"
            f" the {what}"
        )
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _digest(header: dict, data: bytes) -> str:
    """SHA-256 of the arrays and of all of the header but the digest itself."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    return hashlib.sha256(data + json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _previous_arrays(folder: str, name: str) -> set[str]:
    """The file that the present header points to; none where there is no header or a damaged
    one."""
    try:
        return {str(read_header(folder, name, name)["arrays"])}
    except TransientError:
        raise
    except UserError:
        return set()
