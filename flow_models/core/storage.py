"""Files on this machine and in S3 behind one small set of functions.

A location is a local path or `s3://bucket/key`. Credentials, region, profile and endpoint are found
by boto3's own chain (environment, shared files, roles; `AWS_ENDPOINT_URL` for other S3 stores).
Every failure that the user can mend is a `UserError` of one line.
"""

import contextlib
import errno
import functools
import io
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

from flow_models.core.errors import UserError
from flow_models.core.failures import local_failures, near, s3_failures

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_IN_MEMORY = 64 * 2**20  # bytes of an S3 object held in memory before it goes to a temporary file
_READS = 3  # times a broken download is started, besides the client's own retries of a request
_PAUSE = 0.2  # seconds before a broken download is started again, doubled each time


class Found(NamedTuple):
    """A file or object: where, its bytes, what changes with its content (time or etag), and whether
    it is hidden."""

    uri: str
    size: int
    stamp: str
    hidden: bool


def is_s3(uri: str | os.PathLike) -> bool:
    """Whether the location is in S3. Raises UserError for a scheme other than s3 and file, and for
    `s3:/x`."""
    text = os.fspath(uri)
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() not in ("s3", "file"):
        raise UserError(
            f"{text}: a local path or s3://bucket/key is expected; '{scheme[1]}://' is not"
            " supported"
        )
    if not scheme and re.match(r"^s3:", text, re.IGNORECASE):
        raise UserError(f"{text}: an S3 location is written s3://bucket/key, with two slashes")
    return bool(scheme) and scheme[1].lower() == "s3"


def local_path(uri: str | os.PathLike) -> str:
    """A local path, also from file:///path; ~ is the home folder."""
    text = os.fspath(uri)
    if not text:
        raise UserError(
            "an empty path: the name of a file or folder, or s3://bucket/key, is expected"
        )
    return os.path.expanduser(re.sub(r"^file://", "", text, flags=re.IGNORECASE))


def join(uri: str | os.PathLike, *parts: str) -> str:
    """The location of something below `uri`, local or in S3."""
    return (
        "/".join([os.fspath(uri).rstrip("/"), *parts])
        if is_s3(uri)
        else os.path.join(local_path(uri), *parts)
    )


def open_read(uri: str | os.PathLike) -> BinaryIO:
    """A seekable binary file for reading; an S3 object comes through memory or, if large, a
    temporary file."""
    if is_s3(uri):
        return _download(*_bucket_and_key(uri, needs_key=True), os.fspath(uri))
    path = local_path(uri)
    with local_failures(path):
        return open(path, "rb")


def read_bytes(uri: str | os.PathLike) -> bytes:
    """The whole content of a file."""
    with open_read(uri) as file:
        return file.read()


def exists(uri: str | os.PathLike) -> bool:
    """Whether there is a file, or a folder (in S3: an object below it). Raises UserError where
    there is no bucket."""
    if not is_s3(uri):
        return os.path.exists(local_path(uri))
    bucket, key = _bucket_and_key(uri)
    with s3_failures(os.fspath(uri)):
        listing = {"Bucket": bucket, "Prefix": key, "MaxKeys": 1}
        first = client().list_objects_v2(**listing).get("Contents", [])
        if not key or key.endswith("/") or not first or first[0]["Key"] == key:
            return bool(first)
        return bool(client().list_objects_v2(**{**listing, "Prefix": key + "/"}).get("Contents"))


def list_prefix(uri: str | os.PathLike, suffixes: Sequence[str] | None = None) -> Iterator[str]:
    """Locations of all files below a folder or prefix, lazily, by their names' bytes (S3: in the
    order of the store).

    `suffixes` such as (".png", ".jpg") keeps those endings, in any case. The prefix is a folder:
    `train` does not match `train2/x`. Names that begin with a dot are left out, and so are the
    empty objects that stand for folders.

    Raises: UserError, at the first item, where there is no such folder or nothing at all below the
    prefix.
    """
    endings = None if suffixes is None else tuple(each.lower() for each in suffixes)
    found = (each.uri for each in list_files(uri) if not each.hidden)
    return (each for each in found if endings is None or each.lower().endswith(endings))


def list_files(uri: str | os.PathLike) -> Iterator[Found]:
    """All that lies below a folder or prefix, lazily, hidden names too; a hidden folder here counts
    as one.

    Order, prefix and errors are those of `list_prefix`.
    """
    if is_s3(uri):
        bucket, key = _bucket_and_key(uri)
        return _keys(bucket, _folder(key), os.fspath(uri))
    return _walk(local_path(uri), frozenset())


def subfolders(uri: str | os.PathLike, most: int = 1000) -> list[str]:
    """Names of the folders directly below, at most `most`, hidden ones left out; none where there
    is no such folder."""
    if is_s3(uri):
        bucket, key = _bucket_and_key(uri)
        with s3_failures(os.fspath(uri)):
            listing = {"Bucket": bucket, "Prefix": _folder(key), "Delimiter": "/", "MaxKeys": most}
            found = [
                each["Prefix"]
                for each in client().list_objects_v2(**listing).get("CommonPrefixes", [])
            ]
        names = [each.rstrip("/").rpartition("/")[2] for each in found]
    else:
        path = local_path(uri)
        with local_failures(path):
            names = (
                sorted(e.name for e in os.scandir(path) if e.is_dir())
                if os.path.isdir(path)
                else []
            )
    return [name for name in names if name and not name.startswith(".")][:most]


def names(uri: str | os.PathLike) -> set[str]:
    """Names of what lies directly below a folder or prefix, files and folders; none where there is
    no such folder."""
    if not is_s3(uri):
        path = local_path(uri)
        with local_failures(path):
            return set(os.listdir(path)) if os.path.exists(path) else set()
    bucket, key = _bucket_and_key(uri)
    found = set()
    with s3_failures(os.fspath(uri)):
        for page in (
            client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=_folder(key), Delimiter="/")
        ):
            found |= {each["Key"] for each in page.get("Contents", [])}
            found |= {each["Prefix"] for each in page.get("CommonPrefixes", [])}
    return {name.rstrip("/").rpartition("/")[2] for name in found if name != _folder(key)}


def delete(uri: str | os.PathLike) -> None:
    """Removes one file or object; none is missed where there is none."""
    if is_s3(uri):
        bucket, key = _bucket_and_key(uri, needs_key=True)
        with s3_failures(os.fspath(uri)):
            client().delete_object(Bucket=bucket, Key=key)
        return
    with local_failures(local_path(uri)), contextlib.suppress(FileNotFoundError):
        os.unlink(local_path(uri))


def write_bytes(uri: str | os.PathLike, data: bytes) -> None:
    """Write a whole file or nothing: a local file is replaced only once its successor is safe on
    the disk."""
    _write(uri, io.BytesIO(data))


def check_target(uri: str | os.PathLike) -> None:
    """Raises UserError where `write_bytes` is bound to fail, as far as is told without writing:
    before long work."""
    if is_s3(uri):
        _bucket_and_key(uri, needs_key=True)
        return
    path = os.path.realpath(local_path(uri))
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    wrong = (
        (os.path.isdir(path), errno.EISDIR),
        (not os.path.isdir(folder), errno.ENOTDIR),
        (not os.access(folder, os.W_OK | os.X_OK), errno.EACCES),
    )
    with local_failures(path):
        for is_wrong, number in wrong:
            if is_wrong:
                raise OSError(number, os.strerror(number), path)


def upload_folder(folder: str | os.PathLike, uri: str | os.PathLike) -> int:
    """Copy all files below a local folder to a location of the same shape; returns how many."""
    return _copy_all(_existing_folder(folder), uri)


def download_folder(uri: str | os.PathLike, folder: str | os.PathLike) -> int:
    """Copy all files below a location into a local folder; returns how many."""
    return _copy_all(os.fspath(uri) if is_s3(uri) else local_path(uri), local_path(folder))


def client():
    """The S3 client of this process; another one after a fork or when an AWS_* variable has
    changed."""
    settings = tuple(
        sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    )
    return _client(os.getpid(), settings)


@functools.lru_cache(maxsize=8)
def _client(pid: int, settings: tuple[tuple[str, str], ...]):
    """Three attempts, pauses under 3 s: a dead network is told within 15 s, a silent store within
    35 s."""
    import boto3
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "max_attempts": 3},
        connect_timeout=4,
        read_timeout=10,
        max_pool_connections=32,
    )
    return boto3.session.Session().client("s3", config=config)


def _bucket_and_key(uri: str | os.PathLike, needs_key: bool = False) -> tuple[str, str]:
    text = os.fspath(uri)
    bucket, _, key = text[len("s3://") :].partition("/")
    if not bucket:
        raise UserError(f"{text}: no bucket named; an S3 location is written s3://bucket/key")
    if needs_key and (not key or key.endswith("/")):
        raise UserError(f"{text}: names no object; one file is expected, written s3://bucket/key")
    return bucket, key


def _folder(key: str) -> str:
    return key if not key or key.endswith("/") else key + "/"


def _existing_folder(folder: str | os.PathLike) -> str:
    path = local_path(folder)
    if not os.path.isdir(path):
        found = "this is a file" if os.path.exists(path) else f"there is none{near(path)}"
        raise UserError(f"{path}: a folder is expected; {found}")
    return path


def _keys(bucket: str, prefix: str, uri: str) -> Iterator[Found]:
    """Objects below a prefix, page after page of 1,000."""
    empty = True
    with s3_failures(uri):
        for page in (
            client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        ):
            for item in page.get("Contents", []):
                empty = False
                name = item["Key"]
                if not name.endswith("/"):
                    hidden = any(part.startswith(".") for part in name[len(prefix) :].split("/"))
                    yield Found(f"s3://{bucket}/{name}", item["Size"], item["ETag"], hidden)
    if empty:
        raise UserError(f"{uri}: nothing lies below this prefix")


def _walk(folder: str, above: frozenset[str]) -> Iterator[Found]:
    """Files below a folder, in the order in which AWS would list them; links are followed, never in
    a circle."""
    with local_failures(_existing_folder(folder)):
        entries = list(os.scandir(folder))
    real = os.path.realpath(folder)
    for entry in sorted(entries, key=lambda e: os.fsencode(e.name + ("/" if e.is_dir() else ""))):
        if entry.name.startswith(".") or not entry.is_dir():
            yield _found(entry)
        elif os.path.realpath(entry.path) not in above | {real}:
            yield from _walk(entry.path, above | {real})


def _found(entry: os.DirEntry) -> Found:
    """A link to nothing has size -1: it is listed, and fails when it is read."""
    hidden = entry.name.startswith(".")
    try:
        status = entry.stat()
        return Found(entry.path, status.st_size, str(status.st_mtime_ns), hidden)
    except OSError:
        return Found(entry.path, -1, "", hidden)


def _download(bucket: str, key: str, uri: str) -> BinaryIO:
    """One object as a temporary file; a stream that breaks is fetched again from its start."""
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    with s3_failures(uri):
        for attempt in range(_READS):
            file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
            try:
                shutil.copyfileobj(client().get_object(Bucket=bucket, Key=key)["Body"], file, 2**20)
                file.seek(0)
                return file
            except (HTTPClientError, IncompleteReadError):
                file.close()
                if attempt == _READS - 1:
                    raise
                time.sleep(_PAUSE * 2**attempt)
    raise AssertionError("not reached: the last attempt returns or raises")


def _copy_all(root: str, target: str | os.PathLike) -> int:
    """Copy the files below `root`, eight at a time, to the same places below `target`."""
    base = _folder(root)
    sources = list(list_prefix(base))

    def copy(source: str, place: str) -> None:
        with open_read(source) as file:
            _write(join(target, place), file)

    with ThreadPoolExecutor(8) as pool:
        return len(list(pool.map(copy, sources, _places(base, sources))))


def _places(base: str, sources: Sequence[str]) -> list[str]:
    """Names relative to `base`; one with an empty part would be an absolute path on this
    machine."""
    places = [source[len(base) :] for source in sources]
    if any("" in place.split("/") for place in places):
        raise UserError(f"{base}: a name with an empty part ('//') cannot be a file of a folder")
    return places


def _write(uri: str | os.PathLike, file: BinaryIO) -> None:
    if is_s3(uri):
        bucket, key = _bucket_and_key(uri, needs_key=True)
        with s3_failures(os.fspath(uri)):
            client().upload_fileobj(file, bucket, key)
    else:
        _write_local(os.path.realpath(local_path(uri)), file)


def _write_local(path: str, file: BinaryIO) -> None:
    """Beside the target, flushed to the disk, then renamed: a reader sees the old file or the new
    one."""
    beside = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.part")
    with local_failures(path):
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(beside, "xb") as out:
                shutil.copyfileobj(file, out, 2**20)
                out.flush()
                os.fsync(out.fileno())
            os.replace(beside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
