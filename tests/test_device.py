"""A run on a machine whose GPU is broken ends at once, and each run says what it computes on."""

import json
import os
import re

import pytest
from in_process import application

from flow_models.core import startup
from flow_models.core.errors import UserError

WITHOUT_GPU = not any(map(os.path.exists, startup.GPU_FILES))
pytestmark = pytest.mark.skipif(not WITHOUT_GPU, reason="this machine has a GPU")


@pytest.fixture
def hidden(monkeypatch):
    for name in ("DEVICE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_a_gpu_that_tensorflow_does_not_see_is_an_error(hidden, monkeypatch, tmp_path):
    assert re.fullmatch(r"CPU, \d+ cores", startup.device())
    monkeypatch.setattr(startup, "GPU_FILES", (str(tmp_path),))
    with pytest.raises(UserError, match="this machine has a GPU, and TensorFlow sees none: "):
        startup.device()
    for name, value in (("CUDA_VISIBLE_DEVICES", "-1"), ("DEVICE", "cpu")):
        with monkeypatch.context() as chosen:
            chosen.setenv(name, value)
            assert startup.device().startswith("CPU"), "hidden on purpose"


def test_the_line_holds_what_tensorflow_said(monkeypatch):
    said = """
2026-11-24 12:00:00.1: I external/xla/tsl/cuda/cudart_stub.cc:32] Could not find cuda drivers on
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
W0000 0 1 gpu_device.cc:2365] Cannot dlopen some GPU libraries. Skipping registering GPU devices...
"""
    monkeypatch.setattr(startup, "_held", [said])
    line = "Could not find cuda drivers on Cannot dlopen some GPU libraries. Skipping registering"
    assert startup.complaint() == f"{line} GPU devices"


@pytest.mark.slow
def test_a_run_says_its_device_or_ends_before_it_starts(hidden, monkeypatch, tmp_path, capfd):
    tiny = ("--steps", "5", "--mlflow", "false", "--output-dir", str(tmp_path / "run"))
    with monkeypatch.context() as wanted:
        wanted.setenv("DEVICE", "gpu")
        assert application(monkeypatch, 1, *tiny) == 2
    said = capfd.readouterr()
    assert said.err.startswith("error: DEVICE=gpu asks for a GPU, and TensorFlow sees none: ")
    assert said.err.count("\n") == 1 and not (tmp_path / "run").exists()
    small = ("--depth", "1", "--hidden", "[8]", "--test-points", "200", "--jit", "false")
    assert application(monkeypatch, 1, *tiny, *small) == 0
    assert f"device: {startup.device()}\n" in capfd.readouterr().out
    about = json.loads((tmp_path / "run" / "about.json").read_text())
    assert about["tags"]["device"] == startup.device()
