"""Named arrays and a JSON header in a folder: written so that a reader finds the old or the new, never a mixture."""

import hashlib
import io
import json
import os
import zipfile

import numpy as np

from flow_models.data import storage
from flow_models.errors import UserError


def write(folder: str, name: str, arrays: dict[str, np.ndarray], header: dict) -> None:
    """Writes `folder/name.json`, which points to `folder/name-<digest>.npz`.

    The arrays go first, under a name of their own, and the header replaces the old one in one step: a crash or a full
    disk in between leaves the previous state whole.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.asarray(value) for key, value in arrays.items()})
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    header = {**header, "arrays": f"{name}-{digest[:12]}.npz", "sha256": digest}
    storage.write_bytes(_join(folder, header["arrays"]), data)
    storage.write_bytes(_join(folder, f"{name}.json"), json.dumps(header, indent=1).encode())
    _remove_older(folder, name, header["arrays"])


def read_header(folder: str, name: str, what: str) -> dict:
    """The JSON header alone.

    Raises:
      UserError: there is none, or it is not what `write` makes.
    """
    path = _join(folder, f"{name}.json")
    if not storage.exists(path):
        raise UserError(f"{folder} holds no {what} ({name}.json is missing)")
    try:
        header = json.loads(storage.read_bytes(path))
        assert isinstance(header["arrays"], str) and isinstance(header["sha256"], str)
    except (ValueError, KeyError, TypeError, AssertionError):
        raise UserError(f"{path} is damaged: it is not the header of a {what}") from None
    return header


def read_arrays(folder: str, header: dict, what: str) -> dict[str, np.ndarray]:
    """The arrays a header points to.

    Raises:
      UserError: they are missing, or differ from what was written.
    """
    path = _join(folder, os.path.basename(header["arrays"]))
    if not storage.exists(path):
        raise UserError(f"{folder} is not a whole {what}: {os.path.basename(path)} is missing")
    data = storage.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != header["sha256"]:
        raise UserError(f"{path} is damaged: its checksum is not the one written with the {what}")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _join(folder, name):
    return f"{str(folder).rstrip('/')}/{name}"


def _remove_older(folder, name, keep):
    """Removes the arrays of earlier writes; on S3 they are left, as a reader may still be on them."""
    if storage.is_s3(str(folder)):
        return
    for file in os.listdir(folder):
        if file.startswith(f"{name}-") and file.endswith(".npz") and file != keep:
            os.unlink(os.path.join(folder, file))
