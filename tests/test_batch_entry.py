"""AWS Batch: what the first process of a container does."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from aws_server import answers  # noqa: F401

from flow_models import UserError
from flow_models.aws_batch import entry
from flow_models.core.errors import EX_TEMPFAIL
from flow_models.sweep import space

ROOT = Path(__file__).parents[1]


def test_the_command_of_a_container():
    given = ["train_flowmodels1.py", "--depth", "3", "--output-dir", "s3://b/n"]
    assert entry.arguments(given, {}) == [*given, "--mlflow=false"]
    assert entry.arguments([*given, "--tracking-uri=http://y"], {}) == [
        *given,
        "--tracking-uri=http://y",
    ]
    tracked = {"MLFLOW_TRACKING_URI": "http://x"}
    assert (
        entry.arguments(given, tracked)
        == entry.arguments(given, tracked | {"AWS_BATCH_JOB_ATTEMPT": "1"})
        == given
    )
    assert entry.arguments(given, tracked | {"AWS_BATCH_JOB_ATTEMPT": "2"}) == [*given, "--resume"]
    for wrong in ([], ["bash"]):
        with pytest.raises(UserError, match="the command of a job begins with a script"):
            entry.arguments(wrong, {})


def test_each_child_of_an_array_has_its_setting_and_its_folder():
    given = ["train_flowmodels1.py", "--output-dir", "s3://b/runs/x"]
    grid = "seed=0,1 hidden=[32,32],[64,64] depth=3"
    seen = set()
    for index in range(4):
        told = {
            "FLOW_MODELS_SWEEP": grid,
            "AWS_BATCH_JOB_ARRAY_INDEX": str(index),
            "MLFLOW_TRACKING_URI": "http://x",
        }
        seen.add(tuple(entry.arguments(given, told)[2:]))
    assert seen == {
        (
            f"s3://b/runs/x/{i:03d}-seed={s}-hidden=_{h}_{h}_-depth=3",
            f"--seed={s}",
            f"--hidden=[{h},{h}]",
            "--depth=3",
        )
        for i, (s, h) in enumerate([(0, 32), (0, 64), (1, 32), (1, 64)])
    }
    with pytest.raises(UserError, match="AWS_BATCH_JOB_ARRAY_INDEX is not"):
        entry.arguments(given, {"FLOW_MODELS_SWEEP": grid})
    assert space.size(space.parse(grid)) == 4


SAVES = """
import signal, sys, time
def stop(*_):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(30)
"""


def started(tmp_path: Path, text: str, **variables: str) -> subprocess.Popen:
    script = tmp_path / "train_test.py"
    script.write_text(textwrap.dedent(text))
    program = (
        "import sys; from flow_models.aws_batch import entry; entry.PAUSE = 0.05;"
        " sys.exit(entry.run(sys.argv[1:], 0.05))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(script)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"} | variables,
    )


def test_sigterm_goes_on_to_the_run_and_its_status_comes_back(tmp_path):
    process = started(tmp_path, SAVES)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=20)[0], process.returncode) == ("saved\n", EX_TEMPFAIL)


def test_the_notice_of_a_spot_instance_stops_the_run_two_minutes_ahead(tmp_path, answers):
    action = {"action": "terminate", "time": "2026-01-01T00:02:00Z"}
    answers.replies |= {
        "token": (200, "secret"),
        "instance-action": [(404, ""), (503, ""), (200, action)],
    }
    process = started(tmp_path, SAVES, AWS_EC2_METADATA_SERVICE_ENDPOINT=answers.address)
    said = process.communicate(timeout=20)[0]
    assert (
        process.returncode == EX_TEMPFAIL
        and "saved" in said
        and "taken back at 2026-01-01T00:02:00Z" in said
    )
    tokens = [
        headers.get("X-aws-ec2-metadata-token")
        for what, _, headers in answers.asked
        if what == "instance-action"
    ]
    assert {token for token in tokens if token} == {"secret"} or "secret" in str(answers.asked)


def test_a_run_that_saves_is_not_told_again(tmp_path):
    """A second signal in the middle of saving would break it off."""
    slow = SAVES.replace(
        "def stop(*_):", "def stop(*_):\n    print('saving', flush=True)\n    time.sleep(0.5)"
    )
    process = started(tmp_path, slow)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=20)[0], process.returncode) == ("saved\n", EX_TEMPFAIL)


@pytest.mark.parametrize(
    "text, status",
    [
        ("import sys; sys.exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_the_status_of_the_run_is_that_of_the_container(tmp_path, text, status):
    process = started(tmp_path, text)
    process.communicate(timeout=20)
    assert process.returncode == status
