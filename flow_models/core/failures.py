"""What a wrong name or a failed file or S3 operation means to the user: one `UserError` line for
each cause."""

import contextlib
import difflib
import errno
import os
from collections.abc import Iterator, Mapping

from flow_models.core.errors import UserError

_LOCAL = {
    errno.EISDIR: "a file is expected; this is a folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EEXIST: "a part of this path is a file, not a folder",
    errno.EACCES: "permission denied: this user may not read or write here",
    errno.EPERM: "permission denied: this user may not read or write here",
    errno.EROFS: "this disk is read-only",
    errno.ENAMETOOLONG: "the name is too long for this disk",
    errno.ENOSPC: "the disk is full: free some room; what was here before is unchanged",
    errno.EDQUOT: "the disk quota is used up: free some room; what was here before is unchanged",
    errno.EFBIG: (
        "the file is larger than this disk or user may write; what was here before is unchanged"
    ),
}

_OF_ONE_FILE = (
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EIO,
    errno.ELOOP,
)

_S3_CODES = {
    "NoSuchBucket": (
        "no such bucket: check its name, and the endpoint (AWS_ENDPOINT_URL) if it is not on AWS"
    ),
    "NoSuchKey": "no such object in this bucket: check the name, also its upper and lower case",
    "404": "no such bucket or object: check the name, also its upper and lower case",
    "AccessDenied": (
        "access denied: these credentials may not do this here; check them and the bucket's policy"
    ),
    "403": (
        "access denied: these credentials may not do this here; check them and the bucket's policy"
    ),
    "SignatureDoesNotMatch": (
        "the secret key is wrong for this access key: check AWS_SECRET_ACCESS_KEY or the profile"
    ),
    "InvalidAccessKeyId": (
        "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile"
    ),
    "ExpiredToken": "the credentials have expired: renew them",
    "TokenRefreshRequired": "the credentials have expired: renew them",
    "InvalidToken": "the session token is not valid: renew the credentials",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by too much: set it",
    "InvalidBucketName": "not a valid bucket name: 3 to 63 of a-z, 0-9, dot and hyphen",
    "SlowDown": "the store is overloaded: try again later",
}


@contextlib.contextmanager
def local_failures(path: str) -> Iterator[None]:
    """Turn an OSError about `path` into a UserError."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file or folder{near(path)}") from error
    except OSError as error:
        raise UserError(f"{path}: {_LOCAL.get(error.errno, error.strerror or error)}") from error


@contextlib.contextmanager
def s3_failures(uri: str) -> Iterator[None]:
    """Turn boto3's errors about `uri` (and those of the local disk behind it) into a UserError."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except UserError:
        raise
    except ClientError as error:
        code, message = (
            error.response.get("Error", {}).get(name, "") for name in ("Code", "Message")
        )
        raise UserError(
            f"{uri}: {_S3_CODES.get(code) or _line(f'the store answered {code}: {message}')}"
        ) from error
    except (BotoCoreError, Boto3Error) as error:
        raise UserError(f"{uri}: {client_side(error)}") from error
    except OSError as error:
        raise UserError(f"{uri}: {_LOCAL.get(error.errno, error.strerror or error)}") from error
    except ValueError as error:  # botocore's word for a malformed endpoint URL
        raise UserError(f"{uri}: {_line(str(error))}; check AWS_ENDPOINT_URL") from error


def is_of_one_file(error: UserError) -> bool:
    """Whether a failed reading concerns this one file or object, so that others may well be
    read."""
    cause = error.__cause__
    if isinstance(cause, OSError) and type(cause).__module__ == "builtins":
        return cause.errno in _OF_ONE_FILE
    answer = getattr(cause, "response", None) or {}
    return answer.get("Error", {}).get("Code", "") in (
        "NoSuchKey",
        "404",
        "AccessDenied",
        "403",
        "InvalidObjectState",
    )


def pick(table: Mapping, name: str, kind: str):
    """table[name], or a UserError that lists the names there are and the one most like it."""
    if name in table:
        return table[name]
    close = difflib.get_close_matches(str(name), table, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise UserError(f"there is no {kind} '{name}'; {hint}there are {', '.join(table)}")


def near(path: str) -> str:
    """A hint at files of that folder with a name like the missing one, or at the first folder that
    is missing."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        while folder and not os.path.isdir(os.path.dirname(folder)):
            folder = os.path.dirname(folder)
        return f"; there is no folder {folder}"
    with contextlib.suppress(OSError):
        others = set(os.listdir(folder)) - {name}  # a link to nothing is not like itself
        close = difflib.get_close_matches(name, others, n=3)
        return f"; did you mean {' or '.join(close)}?" if close else ""
    return ""


def client_side(error: Exception, whom: str = "the store") -> str:
    """The meaning of an error of botocore that arose before an answer came from the store, or whom
    it was sent to."""
    from botocore import exceptions as e

    meanings = (
        (
            (e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError),
            (
                "no usable credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
                " AWS_PROFILE"
            ),
        ),
        (
            (e.ProfileNotFound, e.ConfigParseError, e.ConfigNotFound),
            f"{_line(str(error))}; check AWS_PROFILE",
        ),
        ((e.ParamValidationError,), _S3_CODES["InvalidBucketName"]),
        ((e.ProxyConnectionError, e.SSLError), _line(str(error))),
        (
            (e.EndpointConnectionError, e.ConnectTimeoutError, e.ConnectionError),
            f"no connection to {whom}: {_line(str(error))}; check the network and AWS_ENDPOINT_URL",
        ),
        ((e.HTTPClientError,), f"the connection broke off: {_line(str(error))}; try again"),
    )
    return next((text for kinds, text in meanings if isinstance(error, kinds)), _line(str(error)))


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
