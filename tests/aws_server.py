"""Two stand-ins for AWS on loopback: `moto_server`, and a server that gives the answers that a test
wants.

moto answers with the services' own words and checks that what a call names exists. It knows no
permissions and no
secrets, runs nothing, has no child jobs, and makes no builds: for that there are the answers of the
second, and the requests themselves.
"""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import aws_environment, environment, free_ports

START_SECONDS = 60
NOBODY = "00000000-0000-0000-0000-000000000000"  # the id of a job that is not there


@contextlib.contextmanager
def aws_server(folder: Path) -> Iterator[str]:
    """Its address, with the AWS_* environment pointing there; stopped at the end."""
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    program = [
        str(Path(sys.executable).with_name("moto_server")),
        "-H",
        "127.0.0.1",
        "-p",
        endpoint.rpartition(":")[2],
    ]
    with (folder / "aws.log").open("wb") as log:
        process = subprocess.Popen(program, stdout=log, stderr=log, cwd=folder)
    try:
        _configure(process, endpoint, folder / "aws.log")
        with aws_environment(endpoint, "test", "test"):
            yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # on a machine with much to do
            process.kill()
            process.wait()


def _configure(process: subprocess.Popen, endpoint: str, log: Path) -> None:
    """Waits for the server, and tells it to run no containers."""
    body = json.dumps({"batch": {"use_docker": False}}).encode()
    asked = urllib.request.Request(
        f"{endpoint}/moto-api/config",
        data=body,
        method="POST",
        headers={"Content-Type": "application/json"},
    )
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(asked, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(
                    "the stand-in for AWS did not start:\n" + log.read_text()[-2000:]
                ) from None
            time.sleep(0.2)


@pytest.fixture(scope="module")
def resources() -> dict:
    """Resources of the template with CloudFormation's functions in their long form."""
    from cfnlint.decode import cfn_yaml

    from flow_models.aws_batch import stack

    return json.loads(json.dumps(cfn_yaml.load(str(stack.TEMPLATE))))["Resources"]


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with what the test put into `replies`, by operation or path; notes what was asked in
    `asked`."""

    replies: dict = {}
    asked: list = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = dict(
            part.split("=", 1) for part in body.decode(errors="replace").split("&") if "=" in part
        )
        what = (
            self.headers.get("X-Amz-Target", "").rpartition(".")[2]
            or form.get("Action")
            or self.path.rpartition("/")[2]
        )
        type(self).asked.append((what, body, dict(self.headers)))
        reply = self.replies[what]
        status, answer = (
            reply.pop(0) if isinstance(reply, list) else reply(body) if callable(reply) else reply
        )
        self.send_response(status)
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        if isinstance(answer, dict) and "__type" in answer:
            self.send_header("x-amzn-ErrorType", answer["__type"])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass


@pytest.fixture
def answers():
    """A server on loopback that is all of AWS, and says what the test wants; gives its handler."""
    handler = type("Handler", (Answers,), {"replies": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.address = f"http://127.0.0.1:{server.server_port}"
    with aws_environment(handler.address, "test", "test"), environment(AWS_MAX_ATTEMPTS="1"):
        yield handler
    server.shutdown()
    server.server_close()
