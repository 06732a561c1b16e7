"""The image of the jobs, built by the stack's own project out of these sources: no docker is needed
here."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from pathlib import Path

from flow_models.aws_batch import Names
from flow_models.aws_batch import stack as stacks
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.core.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = (
    "requirements.txt",
    "pyproject.toml",
    "train_flowmodels*.py",
    "awsbatch-support/Dockerfile*",
    "flow_models/**/*",
)
PAUSE = 10.0  # seconds between looks at a build
_MOMENT = (2020, 1, 1, 0, 0, 0)  # of each file, so that equal sources make equal archives


def build(aws: Aws, stack: str, device: str) -> int:
    """Uploads the sources, builds the image there, and waits; the exit status, 1 where the build
    failed.

    Raises:
      UserError: no stack, or what AWS refuses.
    """
    parts = stacks.outputs(aws, stack)
    data = archive()
    key = f"build/source-{hashlib.sha256(data).hexdigest()[:16]}.zip"
    aws.call("s3", "put_object", Bucket=parts["Bucket"], Key=key, Body=data)
    started = aws.call(
        "codebuild",
        "start_build",
        projectName=Names(stack).build,
        sourceTypeOverride="S3",
        sourceLocationOverride=f"{parts['Bucket']}/{key}",
        environmentVariablesOverride=[{"name": "DEVICE", "value": device, "type": "PLAINTEXT"}],
    )
    if aws.dry:
        return 0
    print(
        f"building the {device} image of '{stack}' from {len(data) / 1e6:.1f} MB of sources:"
        f" {started['build']['id']}"
    )
    return _wait(aws, started["build"]["id"], f"{parts['Repository']}:{device}")


def check(aws: Aws, stack: str, device: str) -> None:
    """Raises UserError where the repository of the stack has no image for the device."""
    try:
        aws.call("ecr", "describe_images", repositoryName=stack, imageIds=[{"imageTag": device}])
    except AwsError as error:
        if error.code == "ImageNotFoundException":
            raise UserError(
                f"stack '{stack}' has no {device} image yet: make batch-build DEVICE={device}"
            ) from error
        raise


def archive() -> bytes:
    """The files that an image is made of, as a zip; the same bytes for the same sources."""
    files = {path for pattern in SOURCES for path in PROJECT.glob(pattern) if path.is_file()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(path for path in files if path.suffix != ".pyc"):
            entry = zipfile.ZipInfo(path.relative_to(PROJECT).as_posix(), _MOMENT)
            entry.external_attr = 0o644 << 16
            out.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _wait(aws: Aws, build: str, image: str) -> int:
    phase = ""
    while True:
        now = aws.call("codebuild", "batch_get_builds", ids=[build])["builds"][0]
        if now["currentPhase"] != phase:
            phase = now["currentPhase"]
            print(f"  {phase.lower()}")
        if now["buildStatus"] != "IN_PROGRESS":
            break
        time.sleep(PAUSE)
    if now["buildStatus"] == "SUCCEEDED":
        print(f"image {image} is there; next: make batch-submit APP=1 ARGS=...")
        return 0
    reasons = [
        each["message"]
        for part in now.get("phases", [])
        for each in part.get("contexts", [])
        if each.get("message")
    ]
    log = now.get("logs", {}).get("deepLink", "the console of CodeBuild has its log")
    print(
        f"the build ended as {now['buildStatus']}: {' '.join(reasons)[:300] or 'no reason given'};"
        f" {log}"
    )
    return 1
