"""Calls of AWS in one region, and what its errors mean to the user."""

from __future__ import annotations

import functools
import json

from flow_models.core import s3
from flow_models.core.errors import UserError
from flow_models.core.failures import client_side
from flow_models.core.installed import package
from flow_models.runs.tracking.folder import public

_LONG = 400  # characters of a value that a dry run prints in full
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized")
_UNKNOWN_KEY = "AWS does not know these credentials: check AWS_ACCESS_KEY_ID or AWS_PROFILE"
_WRONG_SECRET = (
    "the secret key is wrong for this access key: check AWS_SECRET_ACCESS_KEY or the profile"
)
_EXPIRED = "the credentials have expired: renew them"
_TOO_FAST = "AWS answers no faster than this: try again in a minute"
_CODES = {
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "AuthFailure": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "InvalidSignatureException": _WRONG_SECRET,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "OptInRequired": "this region or service is not switched on for the account",
    "Throttling": _TOO_FAST,
    "ThrottlingException": _TOO_FAST,
    "TooManyRequestsException": _TOO_FAST,
}


class AwsError(UserError):
    """A call of AWS failed; `code` is the code of its refusal, "" without an answer."""

    def __init__(self, line: str, code: str = ""):
        super().__init__(line)
        self.code = code


class Aws:
    """Calls AWS in the region that boto3 finds (environment, profile, role).

    Args:
      dry: sends nothing; checks each call against the service's own description, and prints it as
        JSON.

    Raises:
      AwsError: no region is set, or the profile does not exist.
    """

    def __init__(self, dry: bool = False):
        package("boto3")
        from botocore.exceptions import BotoCoreError

        self.dry = dry
        try:
            self._session = s3.session()
        except BotoCoreError as error:
            raise AwsError(f"AWS: {client_side(error)}") from error
        self.region = self._session.region_name
        if not self.region:
            raise AwsError(
                "no region is set: export AWS_DEFAULT_REGION=eu-central-1 (or yours; AWS_REGION"
                " does as well), or aws configure set region"
            )

    def call(self, service: str, operation: str, **parameters) -> dict:
        """Makes a call such as call("batch", "submit_job", jobName=...).

        Returns the answer, {} in a dry run.

        Raises:
          AwsError: the call failed; one line says what to do about it.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        asked = f"{service} {operation}"
        try:
            return getattr(self._client(service), operation)(**parameters)
        except ClientError as error:
            raise _refusal(asked, service, error) from error
        except BotoCoreError as error:
            raise AwsError(f"{asked}: {client_side(error, 'AWS')}") from error
        except ResponseParserError as error:
            raise AwsError(
                f"{asked}: what answered is not AWS: check AWS_ENDPOINT_URL and the proxy"
            ) from error
        except ValueError as error:  # so botocore reports a malformed endpoint URL
            raise AwsError(
                f"{asked}: {' '.join(str(error).split())}; check AWS_ENDPOINT_URL"
            ) from error

    @functools.cache  # noqa: B019  (there is one Aws a process)
    def _client(self, service: str):
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 4}, connect_timeout=5, read_timeout=30
        )
        client = self._session.client(service, config=config)
        if self.dry:
            client.meta.events.register("before-parameter-build", _remember)
            client.meta.events.register("before-call", _show)
        return client


def _remember(params, context, **_) -> None:
    context["asked"] = params


def _show(model, context, **_):
    """Prints the call instead of sending it; botocore takes the return value for the answer."""
    from botocore.awsrequest import AWSResponse

    call = {"service": model.service_model.service_name, "operation": model.name}
    call |= {name: _short(value) for name, value in context["asked"].items()}
    print(json.dumps(call, indent=2, default=str))
    return AWSResponse("", 200, {}, None), {}


def _short(value):
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(each) for each in value]
    if hasattr(value, "getbuffer"):
        return f"<{len(value.getbuffer()):,} bytes>"
    if isinstance(value, (str, bytes)) and len(value) > _LONG:
        return f"<{len(value):,} {'bytes' if isinstance(value, bytes) else 'characters'}>"
    return public(value) if isinstance(value, str) else value


def _refusal(asked: str, service: str, error) -> AwsError:
    code, message = (error.response.get("Error", {}).get(name, "") for name in ("Code", "Message"))
    if code in _DENIED:
        line = (
            f"access denied: these credentials lack the permission {service}:{error.operation_name}"
        )
    else:
        line = _CODES.get(code) or f"AWS answered {code}: {' '.join(message.split())[:300]}"
    return AwsError(f"{asked}: {line}", code)
