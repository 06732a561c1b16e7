"""The image of the jobs, which CodeBuild makes from these sources: no docker is needed here."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile

from flow_models.aws_batch import Names
from flow_models.aws_batch import stack as stacks
from flow_models.aws_batch.aws import Aws, AwsError
from flow_models.core.errors import UserError
from flow_models.core.installed import REPOSITORY, repository_file

SOURCES = (
    "requirements.txt",
    "pyproject.toml",
    "train_flowmodels*.py",
    "awsbatch-support/Dockerfile*",
    "flow_models/**/*",
)
PAUSE = 10.0  # seconds between looks at a build
_MOMENT = (2020, 1, 1, 0, 0, 0)  # time of each file: equal sources make equal archives


def build(aws: Aws, stack: str, device: str) -> int:
    """Uploads the sources, builds the image, and waits; returns 0, or 1 if the build failed.

    Raises:
      UserError: no stack, or AWS refuses.
    """
    parts = stacks.outputs(aws, stack)
    data = archive()
    source = hashlib.sha256(data).hexdigest()[:16]
    key = f"build/source-{source}.zip"
    told = {"DEVICE": device, "SOURCE": source, "PACKAGES": packages()}
    _check_parameter(aws, stack, device)
    aws.call("s3", "put_object", Bucket=parts["Bucket"], Key=key, Body=data)
    started = aws.call(
        "codebuild",
        "start_build",
        projectName=Names(stack).build,
        sourceTypeOverride="S3",
        sourceLocationOverride=f"{parts['Bucket']}/{key}",
        environmentVariablesOverride=[
            {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in told.items()
        ],
    )
    if aws.dry:
        stacks.set_image(aws, stack, device, f"{device}-{source}")
        return 0
    print(
        f"building the {device} image of '{stack}' from {len(data) / 1e6:.1f} MB of sources:"
        f" {started['build']['id']}"
    )
    status = _wait(aws, started["build"]["id"], f"{parts['Repository']}:{device}-{source}")
    if status == 0:
        stacks.set_image(aws, stack, device, f"{device}-{source}")
        print("jobs that are sent from now on have it; next: make batch-submit APP=1 ARGS=...")
    return status


def _check_parameter(aws: Aws, stack: str, device: str) -> None:
    """Raises UserError for a stack that cannot be told which image its jobs have."""
    if stacks.image_parameter(device) not in stacks.parameters(aws, stack):
        raise UserError(f"stack '{stack}' is older than these sources: make batch-deploy first")


def packages() -> str:
    """A hash of what decides which packages an image holds: requirements and Dockerfile."""
    named = ("requirements.txt", "awsbatch-support/Dockerfile")
    content = b"".join(repository_file(REPOSITORY / name).read_bytes() for name in named)
    return hashlib.sha256(content).hexdigest()[:16]


def require(aws: Aws, stack: str, device: str) -> None:
    """Raises UserError if the repository of the stack has no image for the device."""
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
    repository_file(REPOSITORY / "awsbatch-support" / "Dockerfile")
    files = {path for pattern in SOURCES for path in REPOSITORY.glob(pattern) if path.is_file()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(path for path in files if path.suffix != ".pyc"):
            entry = zipfile.ZipInfo(path.relative_to(REPOSITORY).as_posix(), _MOMENT)
            entry.external_attr = 0o644 << 16
            out.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _wait(aws: Aws, build: str, image: str) -> int:
    """Prints the phases of the build until it ends."""
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
        print(f"image {image} is ready")
        return 0
    contexts = [each for part in now.get("phases", []) for each in part.get("contexts", [])]
    why = " ".join(each["message"] for each in contexts if each.get("message"))[:300]
    log = now.get("logs", {}).get("deepLink", "the console of CodeBuild has its log")
    print(f"the build ended as {now['buildStatus']}: {why or 'no reason given'}; {log}")
    return 1
