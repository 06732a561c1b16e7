"""A stand-in for AWS on loopback: `moto_server`, with jobs that it only pretends to run.

It answers with the services' own words and checks that what a call names exists. It knows no permissions and no
secrets, runs nothing, has no child jobs, and makes no builds: the tests look at the requests themselves for that.
"""

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from servers import aws_environment, free_ports

START_SECONDS = 60


@contextlib.contextmanager
def aws_server(folder: Path) -> Iterator[str]:
    """Its address, with the AWS_* environment pointing there; stopped at the end."""
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    program = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", endpoint.rpartition(":")[2]]
    with (folder / "aws.log").open("wb") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, cwd=folder)
    try:
        _configure(process, endpoint, folder / "aws.log")
        with aws_environment(endpoint, "test", "test"):
            yield endpoint
    finally:
        process.terminate()
        process.wait(10)


def _configure(process: subprocess.Popen, endpoint: str, log: Path) -> None:
    """Waits for the server, and tells it to run no containers."""
    body = json.dumps({"batch": {"use_docker": False}}).encode()
    asked = urllib.request.Request(f"{endpoint}/moto-api/config", data=body, method="POST",
                                   headers={"Content-Type": "application/json"})  # fmt: skip
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(asked, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("the stand-in for AWS did not start:\n" + log.read_text()[-2000:]) from None
            time.sleep(0.2)
