"""What is elsewhere: AWS and its credentials, a place in S3, the store of MLflow."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flow_models.commands.doctor.finding import Finding, one_line, verdict
from flow_models.core.errors import UserError


def aws() -> Iterator[Finding]:
    """The credentials, whose they are, and the region."""
    from flow_models.aws_batch.aws import Aws
    from flow_models.core import s3 as s3_client

    try:
        credentials = s3_client.session().get_credentials()
    except UserError as error:
        yield Finding("none", "aws", str(error))
        return
    except Exception as error:  # a profile or a file that is not as it should be
        yield Finding("wrong", "aws", one_line(error), "check AWS_PROFILE and ~/.aws/config")
        return
    if credentials is None:
        said = "no credentials; s3:// and AWS Batch need them"
        keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        yield Finding("none", "aws", said, f"aws configure, or AWS_PROFILE, or {keys}, or a role")
        return
    known, endpoint = f"credentials by {credentials.method}", os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        yield Finding("ok", "aws", f"{known}, for {endpoint}")
        return
    try:
        asked = Aws()
        who = asked.call("sts", "get_caller_identity")
        yield Finding("ok", "aws", f"{who['Arn']} in {asked.region}, by {credentials.method}")
    except UserError as error:
        yield Finding("wrong", "aws", f"{known}: {error}")


def s3(place: str) -> Iterator[Finding]:
    """Writes, reads and deletes a small object below the place."""
    from flow_models.core import storage

    if not place:
        said = "not tried; --s3 s3://bucket/prefix tries to write, read and delete there"
        yield Finding("none", "s3", said)
        return
    begin = time.perf_counter()
    try:
        if not storage.is_s3(place) or not place[len("s3://") :].strip("/"):
            raise UserError(f"{place}: expected an S3 place, s3://bucket/prefix")
        name = storage.join(place, f"doctor-{secrets.token_hex(4)}")
        storage.write_bytes(name, b"doctor")
        same = storage.read_bytes(name) == b"doctor"
        storage.delete(name)
    except Exception as error:
        yield Finding("wrong", "s3", one_line(error))
        return
    seconds = time.perf_counter() - begin
    yield verdict(same, "s3", f"{place}: written, read and deleted in {seconds:.1f} s")


def mlflow(given: str) -> Iterator[Finding]:
    """The store that runs are logged to: a server that answers, or a file that can be written."""
    from flow_models.runs.tracking.folder import public, store_uri

    uri = store_uri(given or None)
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        there = file.exists()
        good = os.access(file if there else file.parent, os.W_OK)
        said = f"{file}, {'there' if there else 'made by the first run'}"
        yield verdict(good, "mlflow", said, "it cannot be written: set MLFLOW_TRACKING_URI")
    elif not uri.startswith("http"):
        fix = "MLFLOW_TRACKING_URI=http://host:5000"
        yield Finding("wrong", "mlflow", f"{public(uri)} is no server", fix)
    else:
        yield _server(public(uri), uri)


def _server(shown: str, uri: str) -> Finding:
    """Whether a tracking server answers, and with which version."""
    import requests

    from flow_models.runs.tracking.folder import reason

    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    user, password = (os.environ.get(name, "") for name in names)
    try:
        auth = (user, password) if user else None
        answer = requests.get(f"{uri}/version", timeout=30, auth=auth)
        if answer.status_code in (401, 403):
            fix = f"set {names[0]} and {names[1]} to those of this server"
            return Finding("wrong", "mlflow", f"{shown} refuses this user or password", fix)
        answer.raise_for_status()
        theirs, ours = answer.text.strip()[:40], metadata.version("mlflow")
    except (OSError, ValueError) as error:
        fix = (
            "start it (see doc/ec2_gpu.md), open its port to this machine, or unset"
            " MLFLOW_TRACKING_URI; runs go on without it, and make mlflow-upload sends them later"
        )
        return Finding("wrong", "mlflow", f"{shown}: {reason(error)}", fix)
    other = "" if theirs == ours else f", while {ours} is installed here"
    return Finding("ok", "mlflow", f"{shown} answers, version {theirs}{other}")
