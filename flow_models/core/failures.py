"""What a wrong name or a failed file or S3 operation means to the user: one `UserError` line for
each cause."""

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Iterator, Mapping

from flow_models.core.errors import TransientError, UserError
from flow_models.core.installed import package

_PART_IS_A_FILE = "a part of this path is a file, not a folder"
_MAY_NOT = "permission denied: this user may not read or write here"
_UNCHANGED = "what was here before is unchanged"
_LOCAL = {
    errno.EISDIR: "a file is expected; this is a folder",
    errno.ENOTDIR: _PART_IS_A_FILE,
    errno.EEXIST: _PART_IS_A_FILE,
    errno.EACCES: _MAY_NOT,
    errno.EPERM: _MAY_NOT,
    errno.ENOSPC: f"the disk is full: free some room; {_UNCHANGED}",
    errno.EDQUOT: f"the disk quota is used up: free some room; {_UNCHANGED}",
    errno.EFBIG: f"the file is larger than this disk or user may write; {_UNCHANGED}",
}
_OF_ONE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

_DENIED = (
    "access denied: these credentials may not do this here; check them and the bucket's policy"
)
_EXPIRED = "the credentials have expired: renew them"
_S3_CODES = {
    "NoSuchBucket": (
        "no such bucket: check its name, and the endpoint (AWS_ENDPOINT_URL) if it is not on AWS"
    ),
    "NoSuchKey": "no such object in this bucket: check the name, also its upper and lower case",
    "404": "no such bucket or object: check the name, also its upper and lower case",
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "SignatureDoesNotMatch": (
        "the secret key is wrong for this access key: check AWS_SECRET_ACCESS_KEY or the profile"
    ),
    "InvalidAccessKeyId": (
        "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile"
    ),
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "the session token is not valid: renew the credentials",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by too much: set it",
    "InvalidBucketName": "not a valid bucket name: 3 to 63 of a-z, 0-9, dot and hyphen",
    "SlowDown": "the store is overloaded: try again later",
}
_PASSING = re.compile("SlowDown|Throttl|RequestTimeout|LimitExceeded|TooManyRequests")  # codes
_ROLES = ("container-role", "iam-role")  # credentials that a machine of AWS hands out
_CODES_OF_ONE_OBJECT = {"NoSuchKey", "404", "AccessDenied", "403", "InvalidObjectState"}


@contextlib.contextmanager
def local_failures(path: str) -> Iterator[None]:
    """Turns an OSError about `path` into a UserError."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file or folder{near(path)}") from error
    except OSError as error:
        raise UserError(f"{path}: {_local(error)}") from error


@contextlib.contextmanager
def s3_failures(uri: str) -> Iterator[None]:
    """Turns an error of boto3, or of the local disk behind it, about `uri` into a UserError; one
    that may pass, into a TransientError."""
    package("boto3")  # an extra: where it is missing, one line says how to install it
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except UserError:
        raise
    except ClientError as error:
        code, message = _answer(error)
        text = _S3_CODES.get(code) or _line(f"the store answered {code}: {message}")
        raise _kind(error)(f"{uri}: {text}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise _kind(error)(f"{uri}: {client_side(error)}") from error
    except OSError as error:
        raise UserError(f"{uri}: {_local(error)}") from error
    except ValueError as error:  # botocore raises it for a malformed endpoint
        raise UserError(f"{uri}: {_line(error)}; check AWS_ENDPOINT_URL") from error


def _kind(error: Exception) -> type[UserError]:
    return TransientError if may_pass(error) else UserError


def may_pass(error: Exception) -> bool:
    """Whether an error of boto3 may be gone at the next try: an overloaded or throttling service,
    no answer, no route, a connection that broke off, a role whose credentials come late."""
    from botocore import exceptions as e

    if isinstance(error, e.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing = _PASSING.match(_answer(error)[0].rpartition(".")[2])
        return bool(passing) or status == 429 or status >= 500 and status != 501
    if isinstance(error, e.CredentialRetrievalError):
        return error.kwargs.get("provider") in _ROLES
    no_answer = (e.ConnectionError, e.HTTPClientError, e.IncompleteReadError)
    return isinstance(error, no_answer) and not isinstance(error, e.SSLError)


def client_side(error: Exception, whom: str = "the store") -> str:
    """The meaning of an error of botocore that arose before `whom` it asked had answered."""
    from botocore import exceptions as e

    no_credentials = (e.NoCredentialsError, e.PartialCredentialsError, e.CredentialRetrievalError)
    if isinstance(error, no_credentials):
        return (
            "no usable credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, e.ParamValidationError):
        return _S3_CODES["InvalidBucketName"]
    if isinstance(error, (e.ProfileNotFound, e.ConfigParseError, e.ConfigNotFound)):
        return f"{_line(error)}; check AWS_PROFILE"
    if isinstance(error, e.ConnectionError):
        return f"no connection to {whom}: {_line(error)}; check the network and AWS_ENDPOINT_URL"
    if isinstance(error, e.HTTPClientError):
        return f"the connection broke off: {_line(error)}; try again"
    return _line(error)


def is_of_one_file(error: UserError) -> bool:
    """Whether a failed reading concerns this file or object alone: others may well be readable."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return isinstance(cause, _OF_ONE_FILE) or cause.errno in (errno.EIO, errno.ELOOP)
    return _answer(cause)[0] in _CODES_OF_ONE_OBJECT


def pick(table: Mapping, name: str, kind: str):
    """table[name]. Raises UserError, which lists all names and the most similar one, if there is
    none."""
    if name in table:
        return table[name]
    close = difflib.get_close_matches(str(name), table, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise UserError(f"there is no {kind} '{name}'; {hint}there are {', '.join(table)}")


def near(path: str) -> str:
    """A hint at the first folder that is missing, or at files beside the path with a similar
    name."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        while folder and not os.path.isdir(os.path.dirname(folder)):
            folder = os.path.dirname(folder)
        return f"; there is no folder {folder}"
    with contextlib.suppress(OSError):
        others = set(os.listdir(folder)) - {name}  # a broken link is not its own likeness
        close = difflib.get_close_matches(name, others, n=3)
        return f"; did you mean {' or '.join(close)}?" if close else ""
    return ""


def _local(error: OSError) -> str:
    return _LOCAL.get(error.errno or 0, error.strerror or str(error))


def _answer(error: BaseException | None) -> tuple[str, str]:
    """Code and message of the answer that a ClientError holds; empty for another error."""
    answer = (getattr(error, "response", None) or {}).get("Error", {})
    return answer.get("Code", ""), answer.get("Message", "")


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]
