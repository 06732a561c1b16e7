"""Named arrays and a JSON header in a folder: written so that a reader finds the old or the new,
never a mixture."""

import contextlib
import hashlib
import io
import json
import os
import re
import zipfile

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError


def write(folder: str, name: str, arrays: dict[str, np.ndarray], header: dict) -> None:
    """Writes `folder/name.json`, which points to `folder/name-<digest>.npz`.

    The arrays go first, under a name of their own, and the header replaces the old one in one step:
    a crash or a full disk in between leaves the previous state whole. Arrays of earlier writes are
    removed; in S3 the last but one stay, as a reader may still be on them.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.asarray(value) for key, value in arrays.items()})
    data = buffer.getvalue()
    header = {**header, "arrays": f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.npz"}
    header["sha256"] = _digest(header, data)
    kept = {header["arrays"], _named_before(folder, name)}
    storage.write_bytes(_join(folder, header["arrays"]), data)
    storage.write_bytes(_join(folder, f"{name}.json"), json.dumps(header, indent=1).encode())
    _remove_older(folder, name, kept)


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


def _digest(header, data) -> str:
    """Of the arrays and of the header but for the digest itself."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    return hashlib.sha256(data + json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _join(folder, name):
    return f"{str(folder).rstrip('/')}/{name}"


def _named_before(folder, name) -> str:
    """The arrays that the present header in S3 points to; empty elsewhere, and where there is none
    or a broken one."""
    if not storage.is_s3(str(folder)) or not storage.exists(_join(folder, f"{name}.json")):
        return ""
    try:
        return json.loads(storage.read_bytes(_join(folder, f"{name}.json")))["arrays"]
    except (ValueError, KeyError, TypeError):
        return ""


def _remove_older(folder, name, kept):
    """Removes the arrays of earlier writes. Who may not delete in S3 keeps them all: what was
    written is whole."""
    older = {
        each
        for each in storage.names(folder)
        if re.fullmatch(f"{re.escape(name)}-[0-9a-f]{{12}}\\.npz", each)
    }
    with contextlib.suppress(UserError):
        for each in older - kept:
            storage.delete(_join(folder, each))
