"""What is elsewhere: AWS and whose credentials these are, a place in S3, the store of MLflow."""

from __future__ import annotations

import os
import secrets
import time
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from flow_models.commands.doctor.finding import Finding, one_line
from flow_models.core.errors import UserError


def aws() -> Iterator[Finding]:
    """Region, and whose credentials these are."""
    from flow_models.aws_batch.aws import Aws

    try:
        import boto3

        credentials = boto3.session.Session().get_credentials()
    except Exception as error:  # a profile or a file that is not as it should be
        yield Finding("wrong", "aws", one_line(error), "check AWS_PROFILE and ~/.aws/config")
        return
    if credentials is None:
        yield Finding(
            "none",
            "aws",
            "no credentials; s3:// and AWS Batch need them",
            "aws configure, or AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a"
            " role",
        )
        return
    if os.environ.get("AWS_ENDPOINT_URL"):
        yield Finding(
            "ok",
            "aws",
            f"credentials by {credentials.method}, for {os.environ['AWS_ENDPOINT_URL']}",
        )
        return
    try:
        asked = Aws()
        who = asked.call("sts", "get_caller_identity")
        yield Finding("ok", "aws", f"{who['Arn']} in {asked.region}, by {credentials.method}")
    except UserError as error:
        yield Finding("wrong", "aws", f"credentials by {credentials.method}: {error}")


def s3(place: str) -> Iterator[Finding]:
    """Writes, reads and deletes a small object below the place."""
    from flow_models.core import storage

    if not place:
        yield Finding(
            "none", "s3", "not tried; --s3 s3://bucket/prefix tries to write, read and delete there"
        )
        return
    name = storage.join(place, f"doctor-{secrets.token_hex(4)}")
    begin = time.perf_counter()
    try:
        if not storage.is_s3(place) or not place[len("s3://") :].strip("/"):
            raise UserError(f"{place}: an S3 place is expected, s3://bucket/prefix")
        storage.write_bytes(name, b"doctor")
        with storage.open_read(name) as file:
            same = file.read() == b"doctor"
        bucket, _, key = name.removeprefix("s3://").partition("/")
        storage.client().delete_object(Bucket=bucket, Key=key)
    except Exception as error:
        yield Finding("wrong", "s3", one_line(error))
        return
    yield Finding(
        "ok" if same else "wrong",
        "s3",
        f"{place}: written, read and deleted in {time.perf_counter() - begin:.1f} s",
    )


def mlflow(given: str | None) -> Iterator[Finding]:
    """The store that runs are logged to: a server that answers, or a file that can be written."""
    from flow_models.runs.tracking.folder import public, store_uri

    uri = store_uri(given)
    if uri.startswith("sqlite:///"):
        file = Path(uri.removeprefix("sqlite:///"))
        good = os.access(file if file.exists() else file.parent, os.W_OK)
        yield Finding(
            "ok" if good else "wrong",
            "mlflow",
            f"{file}, {'there' if file.exists() else 'made by the first run'}",
            "" if good else "it cannot be written: set MLFLOW_TRACKING_URI",
        )
    elif not uri.startswith("http"):
        yield Finding(
            "wrong", "mlflow", f"{public(uri)} is no server", "MLFLOW_TRACKING_URI=http://host:5000"
        )
    else:
        yield _server(public(uri), uri)


def _server(shown: str, uri: str) -> Finding:
    from flow_models.runs.tracking.tracker import reason

    try:
        with urllib.request.urlopen(f"{uri}/version", timeout=10) as answer:
            theirs, ours = answer.read().decode().strip()[:40], metadata.version("mlflow")
    except (OSError, ValueError) as error:
        return Finding(
            "wrong",
            "mlflow",
            f"{shown}: {reason(error)}",
            "start it (doc/ec2_gpu.md says how), open its port to this machine, or unset"
            " MLFLOW_TRACKING_URI; runs go on without it, and make mlflow-upload sends them later",
        )
    other = "" if theirs == ours else f", while {ours} is installed here"
    return Finding("ok", "mlflow", f"{shown} answers, version {theirs}{other}")
