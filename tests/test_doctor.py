"""python -m flow_models doctor: what it finds, on this machine and on others, and how it ends."""

import base64
import http.server
import os
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest
from servers import environment, s3  # noqa: F401

from flow_models.commands.doctor import machine, services

ROOT = Path(__file__).parents[1]


def doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    cleared = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MLFLOW_"))
    }
    nobody = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "flow_models", "doctor", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=cleared | nobody | variables, capture_output=True, text=True
    )


def only(findings) -> dict[str, tuple[str, str, str]]:
    return {finding.name: (finding.state, finding.said, finding.fix) for finding in findings}


def test_a_machine_where_all_that_is_set_up_works_is_status_0():
    done = doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {
        line.split()[1]: line.split()[0]
        for line in done.stdout.splitlines()
        if not line.startswith(" ")
    }
    assert lines | {"gpu": "none"} == {
        "python": "ok",
        "packages": "ok",
        "machine": "ok",
        "disk": "ok",
        "gpu": "none",
        "tensorflow": "ok",
        "compiler": "ok",
        "aws": "none",
        "s3": "none",
        "mlflow": "ok",
    }
    assert "XLA on" in done.stdout and "-> aws configure" in done.stdout


def test_what_is_set_up_and_does_not_work_is_status_1_with_its_remedy():
    done = doctor(
        "--quick",
        "--tracking-uri",
        "http://127.0.0.1:9",
        "--s3",
        "s3://",
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="y",
    )
    assert done.returncode == 1 and done.stdout.rstrip().endswith("3 to fix") and not done.stderr
    assert "credentials by env: no region is set: export AWS_DEFAULT_REGION" in done.stdout
    assert "s3://: expected an S3 place, s3://bucket/prefix" in done.stdout
    assert (
        "http://127.0.0.1:9: connection refused" in done.stdout
        and "make mlflow-upload sends them later" in done.stdout
    )


def test_other_packages_than_the_pinned_ones_are_told(monkeypatch):
    monkeypatch.setattr(
        machine, "_pins", lambda: {"numpy": "0.0.1", "tensorflow": metadata.version("tensorflow")}
    )
    found = only(machine.python())
    assert found["numpy"][0] == "wrong" and found["numpy"][2] == "pip install numpy==0.0.1"
    assert "tensorflow" not in found


def test_pins_are_read_with_extras_and_without_comments():
    pins = machine._pins()
    assert (
        pins["tensorflow"] == "2.21.0"
        and "jsonargparse" in pins
        and not [name for name in pins if "[" in name]
    )


@pytest.mark.parametrize(
    "printed, code, state, said, mend",
    [
        (
            "NVIDIA L4, 550.54.15, 23034 MiB, 8.9",
            0,
            "ok",
            "NVIDIA L4, 23034 MiB, compute capability 8.9, driver 550.54.15",
            "",
        ),
        (
            "Tesla T4, 470.82.01, 15360 MiB, 7.5",
            0,
            "wrong",
            "driver 470.82.01",
            "CUDA 12 needs driver 525.60.13 or later",
        ),
        (
            "NVIDIA H100 80GB HBM3, 550.54.15, 81559 MiB, 9.0",
            0,
            "wrong",
            "driver 550.54.15",
            "CUDA 12 needs driver 555.42.2 or later",
        ),
        (
            "NVIDIA B200, 580.95.05, 183359 MiB, 10.0",
            0,
            "wrong",
            "compute capability 10.0",
            "code for compute capability 6.0 to 9.0: another instance",
        ),
        (
            "Tesla K80, 535.1.1, 11441 MiB, 3.7",
            0,
            "wrong",
            "Tesla K80",
            "code for compute capability 6.0 to 9.0: another instance",
        ),
        (
            "Failed to initialize NVML: Driver/library version mismatch",
            18,
            "wrong",
            "version mismatch",
            "reboot after",
        ),
    ],
)
def test_gpus_as_nvidia_smi_tells_of_them(tmp_path, printed, code, state, said, mend):
    """This machine has none: a program of that name prints what one with a GPU prints."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{printed}'\nexit {code}\n")
    program.chmod(0o755)
    with environment(PATH=f"{tmp_path}:{os.environ['PATH']}"):
        found = only(machine.driver())["gpu"]
    assert found[0] == state and said in found[1] and mend in found[2]


def test_a_place_in_s3_is_written_read_and_left_as_it_was(s3):
    s3.client().create_bucket(Bucket="doctor")
    assert only(services.s3("s3://doctor/below"))["s3"][0] == "ok"
    assert "Contents" not in s3.client().list_objects_v2(Bucket="doctor")
    assert only(services.aws())["aws"] == ("ok", f"credentials by env, for {s3.endpoint}", "")
    state, said, _ = only(services.s3("s3://nowhere/below"))["s3"]
    assert state == "wrong" and "no such bucket" in said
    with environment(AWS_SECRET_ACCESS_KEY="wrong"):
        state, said, _ = only(services.s3("s3://doctor/below"))["s3"]
    assert state == "wrong" and "the secret key is wrong" in said


def test_a_tracking_server_is_asked_for_its_version():
    class Version(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/version" else 404)
            self.end_headers()
            self.wfile.write(b"1.2.3")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Version)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    state, said, _ = only(services.mlflow(uri))["mlflow"]
    server.shutdown()
    server.server_close()
    assert (
        state == "ok"
        and said
        == f"{uri} answers, version 1.2.3, while {metadata.version('mlflow')} is installed here"
    )


def test_a_server_that_wants_a_password_is_asked_with_it():
    class Guarded(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = "Basic " + base64.b64encode(b"me:s@cret").decode()
            self.send_response(200 if self.headers.get("Authorization") == known else 401)
            self.end_headers()
            self.wfile.write(b"1.2.3")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    for user, state in (("me:s%40cret@", "ok"), ("me:wrong@", "wrong"), ("", "wrong")):
        found, said, _ = only(services.mlflow(f"http://{user}{host}"))["mlflow"]
        assert found == state and said.startswith(f"http://{host} ") and "wrong@" not in said
    with environment(MLFLOW_TRACKING_USERNAME="me", MLFLOW_TRACKING_PASSWORD="s@cret"):
        assert only(services.mlflow(f"http://{host}"))["mlflow"][0] == "ok"
    server.shutdown()
    server.server_close()


def test_a_store_in_a_file_must_be_writable(tmp_path):
    assert only(services.mlflow(f"sqlite:///{tmp_path / 'mlflow.db'}"))["mlflow"][0] == "ok"
    state, _, mend = only(services.mlflow("sqlite:////proc/none/mlflow.db"))["mlflow"]
    assert state == "wrong" and "MLFLOW_TRACKING_URI" in mend
    assert only(services.mlflow("file:///tmp/mlruns"))["mlflow"][0] == "wrong"
