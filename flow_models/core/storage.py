"""Files on this machine and in S3 behind one small set of functions.

A location is a local path or `s3://bucket/key`. boto3 finds credentials, region, profile and
endpoint in its usual way (environment, shared files, roles; `AWS_ENDPOINT_URL` for other stores).
Errors that the user can fix are a `UserError` of one line.
"""

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from typing import IO

from flow_models.core import s3
from flow_models.core.errors import UserError
from flow_models.core.failures import local_failures, near
from flow_models.core.s3 import Found as Found
from flow_models.core.s3 import client as client

_PAGE = 1000  # entries that S3 lists in one answer


def is_s3(uri: str | os.PathLike) -> bool:
    """Whether the location is in S3.

    Raises:
      UserError: its scheme is neither s3:// nor file://, or it is written `s3:/x`.
    """
    text = os.fspath(uri)
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    scheme = match[1] if match else "file"
    if scheme.lower() not in ("s3", "file"):
        raise UserError(
            f"{text}: a local path or s3://bucket/key is expected; '{scheme}://' is not supported"
        )
    if not match and text.lower().startswith("s3:"):
        raise UserError(f"{text}: an S3 location is written s3://bucket/key, with two slashes")
    return scheme.lower() == "s3"


def local_path(uri: str | os.PathLike) -> str:
    """A local path, also from file:///path; ~ is the home folder."""
    text = os.fspath(uri)
    if not text:
        raise UserError(
            "an empty path: the name of a file or folder, or s3://bucket/key, is expected"
        )
    return os.path.expanduser(re.sub("^file://", "", text, flags=re.IGNORECASE))


def cache_folder(*names: str) -> str:
    """`flow_models`, or a folder in it, in the user's folder for caches (XDG_CACHE_HOME, else
    ~/.cache)."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(caches, "flow_models", *names)


def join(uri: str | os.PathLike, *parts: str) -> str:
    """The location of something below `uri`."""
    if is_s3(uri):
        return "/".join([os.fspath(uri).rstrip("/"), *parts])
    return os.path.join(local_path(uri), *parts)


def below(uri: str, folder: str | os.PathLike) -> str:
    """The name that a file of `list_prefix` has from its folder on."""
    return uri.removeprefix(join(folder)).lstrip("/")


def open_read(uri: str | os.PathLike) -> IO[bytes]:
    """A seekable binary file for reading."""
    if is_s3(uri):
        return s3.read(os.fspath(uri))
    path = local_path(uri)
    with local_failures(path):
        return open(path, "rb")


def read_bytes(uri: str | os.PathLike) -> bytes:
    """The whole content of a file."""
    with open_read(uri) as file:
        return file.read()


def write_bytes(uri: str | os.PathLike, data: bytes) -> None:
    """Writes a whole file or nothing: a failure leaves the previous file as it was."""
    if is_s3(uri):
        s3.write(os.fspath(uri), data)
    else:
        _write_local(os.path.realpath(local_path(uri)), data)


def write_file(uri: str | os.PathLike, file: IO[bytes]) -> None:
    """Writes all that a file holds, or nothing, without holding it in memory."""
    if is_s3(uri):
        s3.write_from(os.fspath(uri), file)
    else:
        _write_local(os.path.realpath(local_path(uri)), file)


def delete(uri: str | os.PathLike) -> None:
    """Removes one file or object, if it is there."""
    if is_s3(uri):
        return s3.delete(os.fspath(uri))
    path = local_path(uri)
    with local_failures(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def exists(uri: str | os.PathLike) -> bool:
    """Whether there is a file or a folder (in S3: an object below it).

    Raises:
      UserError: there is no such bucket.
    """
    return s3.exists(os.fspath(uri)) if is_s3(uri) else os.path.exists(local_path(uri))


def check_target(uri: str | os.PathLike) -> None:
    """Finds out before long work, without writing, whether `write_bytes` is bound to fail.

    Raises:
      UserError: it is.
    """
    if is_s3(uri):
        s3.check_object(os.fspath(uri))
        return
    path = os.path.realpath(local_path(uri))
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    with local_failures(path):
        if os.path.isdir(path):
            raise _os_error(errno.EISDIR)
        if not os.path.isdir(folder):
            raise _os_error(errno.ENOTDIR)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _os_error(errno.EACCES)


def list_prefix(uri: str | os.PathLike, suffixes: Sequence[str] = ("",)) -> Iterator[str]:
    """Locations of all files below a folder or prefix, lazily, sorted by the bytes of their names
    (in S3: in the order of the store).

    A prefix is a folder: `train` does not match `train2/x`. Hidden names and the empty objects that
    stand for folders are left out.

    Args:
      suffixes: only names that end so, in any case, for example (".png", ".jpg").

    Raises:
      UserError: at the first item, where there is no such folder or nothing below the prefix.
    """
    endings = tuple(each.lower() for each in suffixes)
    return (
        each.uri
        for each in list_files(uri)
        if not each.hidden and each.uri.lower().endswith(endings)
    )


def list_files(uri: str | os.PathLike) -> Iterator[Found]:
    """All files below a folder or prefix, as `list_prefix` has them, but hidden ones too; a hidden
    local folder counts as one file."""
    return s3.objects(os.fspath(uri)) if is_s3(uri) else _walk(local_path(uri), frozenset())


def names(uri: str | os.PathLike) -> set[str]:
    """Names of the files and folders directly below; none where there is no such folder."""
    return {name for name, _ in _children(uri)}


def subfolders(uri: str | os.PathLike) -> list[str]:
    """Names of the folders directly below, without hidden ones; none where there is no such folder.

    Only the first thousand entries are looked at: a prefix of a million pictures holds no classes.
    """
    first = itertools.islice(_children(uri), _PAGE)
    return [name for name, is_folder in first if is_folder and name and name[0] != "."]


def _children(uri: str | os.PathLike) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of all that lies directly below, folders first."""
    if is_s3(uri):
        return s3.children(os.fspath(uri))
    path = local_path(uri)
    with local_failures(path):
        entries = os.scandir(path) if os.path.isdir(path) else ()
        found = [(entry.name, entry.is_dir()) for entry in entries]
    return iter(sorted(found, key=lambda each: (not each[1], each[0])))


def _walk(folder: str, above: frozenset[str]) -> Iterator[Found]:
    """Files below a folder, in the order of AWS; follows links, but never in a circle."""
    if not os.path.isdir(folder):
        found = "this is a file" if os.path.exists(folder) else f"there is none{near(folder)}"
        raise UserError(f"{folder}: a folder is expected; {found}")
    with local_failures(folder):
        names = _names(folder)
    real = os.path.realpath(folder)
    for each in names:
        name = os.fsdecode(each)
        path = os.path.join(folder, name.rstrip("/"))
        if name.startswith(".") or not name.endswith("/"):
            yield _found(path, name.startswith("."))
        elif os.path.realpath(path) not in above | {real}:
            yield from _walk(path, above | {real})


def _names(folder: str) -> Iterator[bytes]:
    """Sorted names of all that lies in a folder, with / behind those of folders; a million short
    ones take 20 MB."""
    import numpy as np

    parts: list[np.ndarray] = [np.empty(0, "S1")]
    with os.scandir(folder) as entries:
        found = (os.fsencode(entry.name) + b"/" * entry.is_dir() for entry in entries)
        while some := list(itertools.islice(found, 10_000)):
            parts.append(np.array(some))
    return map(bytes, np.sort(np.concatenate(parts)))


def _found(path: str, hidden: bool) -> Found:
    """A broken link has size -1: it is listed, and fails when it is read."""
    try:
        status = os.stat(path)
        return Found(path, status.st_size, str(status.st_mtime_ns), hidden)
    except OSError:
        return Found(path, -1, "", hidden)


def _write_local(path: str, data: bytes | IO[bytes]) -> None:
    """Beside the target, flushed to the disk, then renamed: a reader sees the old file or the new
    one."""
    beside = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    with local_failures(path):
        if os.path.isdir(path):
            raise _os_error(errno.EISDIR)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(beside, "xb") as out:
                if isinstance(data, bytes):
                    out.write(data)
                else:
                    shutil.copyfileobj(data, out, 2**20)
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
