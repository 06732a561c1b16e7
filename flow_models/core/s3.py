"""Objects in S3: the half of `storage` that talks to boto3, which is imported at the first use."""

import functools
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import IO, NamedTuple

from flow_models.core.errors import UserError
from flow_models.core.failures import s3_failures
from flow_models.core.installed import package

_IN_MEMORY = 64 * 2**20  # bytes of an object that stay in memory; a larger one goes to the disk
_PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)  # seconds before a broken download starts again
_ATTEMPTS = 9  # of each request, the first and 8 retries, unless AWS_MAX_ATTEMPTS says other


class Found(NamedTuple):
    """A file or object; the stamp (time or ETag) changes with its content."""

    uri: str
    size: int
    stamp: str
    hidden: bool


def client():
    """The S3 client of this process, a new one after a fork or a change of an AWS_* variable."""
    settings = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    return _client(os.getpid(), tuple(settings))


@functools.lru_cache(maxsize=8)
def _client(pid: int, settings: tuple[tuple[str, str], ...]):
    """Retries come later and later: a dead network is reported after about 35 s, a store that never
    answers after two minutes. Adaptive: where the store says that it is overloaded, all threads
    slow down."""
    from botocore.config import Config

    attempts = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": _ATTEMPTS}
    config = Config(
        retries={"mode": "adaptive", **attempts},  # type: ignore[arg-type]
        connect_timeout=4,
        read_timeout=10,
        max_pool_connections=32,
    )
    return session().client("s3", config=config)


def session():
    """A session of boto3, which itself does not read the region that all other SDKs of AWS do.

    Raises:
      UserError: boto3 is not installed.
    """
    region = os.environ.get("AWS_REGION") or None
    return package("boto3").session.Session(region_name=region)


def check_object(uri: str) -> tuple[str, str]:
    """Bucket and key of one object. Raises UserError where the location names none."""
    bucket, key = _split(uri)
    if not key or key.endswith("/"):
        raise UserError(f"{uri}: names no object; one file is expected, written s3://bucket/key")
    return bucket, key


def read(uri: str) -> IO[bytes]:
    """One object as a temporary file; a download that breaks off is started again."""
    bucket, key = check_object(uri)
    with s3_failures(uri):
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        for pause in _PAUSES:
            body = client().get_object(Bucket=bucket, Key=key)["Body"]
            try:
                return _downloaded(body)
            except (HTTPClientError, IncompleteReadError):
                time.sleep(pause)
        return _downloaded(client().get_object(Bucket=bucket, Key=key)["Body"])


def write(uri: str, data: bytes) -> None:
    """The whole object or nothing, large ones in parts."""
    write_from(uri, io.BytesIO(data))


def write_from(uri: str, file: IO[bytes]) -> None:
    """The same with the content of a file."""
    bucket, key = check_object(uri)
    with s3_failures(uri):
        client().upload_fileobj(file, bucket, key)


def delete(uri: str) -> None:
    """Removes one object, if it is there."""
    bucket, key = check_object(uri)
    with s3_failures(uri):
        client().delete_object(Bucket=bucket, Key=key)


def exists(uri: str) -> bool:
    """Whether there is this object, or one below it."""
    _, key = _split(uri)
    return _first_key(uri, key) == key or _first_key(uri, _folder(key)) is not None


def objects(uri: str) -> Iterator[Found]:
    """All objects below a prefix, lazily. Raises UserError where nothing lies below it."""
    bucket, key = _split(uri)
    start, empty = len(_folder(key)), True
    for page in _pages(uri, _folder(key)):
        for item in page.get("Contents", []):
            empty, name = False, item["Key"]
            if not name.endswith("/"):
                hidden = any(part.startswith(".") for part in name[start:].split("/"))
                yield Found(f"s3://{bucket}/{name}", item["Size"], item["ETag"], hidden)
    if empty:
        raise UserError(f"{uri}: nothing lies below this prefix")


def children(uri: str) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of all that lies directly below, a page's folders first."""
    prefix = _folder(_split(uri)[1])
    for page in _pages(uri, prefix, Delimiter="/"):
        for each in page.get("CommonPrefixes", []):
            yield each["Prefix"][len(prefix) :].rstrip("/"), True
        for each in page.get("Contents", []):
            if each["Key"] != prefix:  # the empty object that stands for the folder
                yield each["Key"][len(prefix) :], False


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri[len("s3://") :].partition("/")
    if not bucket:
        raise UserError(f"{uri}: no bucket named; an S3 location is written s3://bucket/key")
    return bucket, key


def _folder(key: str) -> str:
    return key if not key or key.endswith("/") else key + "/"


def _pages(uri: str, prefix: str, **options) -> Iterator[dict]:
    """The answers of S3 to a listing, a thousand entries each."""
    listing = {"Bucket": _split(uri)[0], "Prefix": prefix, **options}
    with s3_failures(uri):
        yield from client().get_paginator("list_objects_v2").paginate(**listing)


def _first_key(uri: str, prefix: str) -> str | None:
    for page in _pages(uri, prefix, MaxKeys=1):
        for item in page.get("Contents", []):
            return item["Key"]
    return None


def _downloaded(body) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
    shutil.copyfileobj(body, file, 2**20)
    file.seek(0)
    return file  # type: ignore[return-value]  # a BinaryIO in all but name
