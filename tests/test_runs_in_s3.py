"""Runs whose folder lies in S3, and how they are interrupted and retried."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from servers import s3  # noqa: F401  (a fixture)

import flow_models as fm
from benchmarks import interruptions
from flow_models.core import archive as serialisation
from flow_models.core import storage
from flow_models.core.errors import FlowModelsWarning
from flow_models.data.images import preparing
from flow_models.runs.config import RunSettings, nested, settings
from flow_models.runs.folder import RunFolder
from flow_models.runs.mirror import Mirror
from flow_models.runs.tracking import upload
from train_flowmodels1 import Config

STEPS = 3000


@pytest.fixture(scope="module")
def bucket(s3):
    s3.client().create_bucket(Bucket="runs")
    return "s3://runs"


@pytest.fixture(scope="module")
def killed(bucket):
    """A run that was killed by SIGKILL and by SIGTERM and then went to its end."""
    uri = f"{bucket}/app1/killed"
    return uri, interruptions.interrupted(uri, kills=2, steps=STEPS, longest=0.5)


@pytest.mark.slow
def test_killed_runs_lose_no_checkpoint_and_end_as_if_nobody_had(killed, bucket):
    uri, sessions = killed
    assert [each["status"] for each in sessions] == [-signal.SIGKILL, 75]
    assert (
        "the same command with --resume --output-dir s3://runs/app1/killed" in sessions[1]["error"]
    )
    whole = f"{bucket}/app1/whole"
    interruptions.interrupted(whole, kills=0, steps=STEPS, longest=0)
    assert interruptions.history(uri) == interruptions.history(whole) != []
    point = [[0.1, 0.2]]
    assert fm.load(uri).log_prob(point) == fm.load(whole).log_prob(point)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_change_nothing_in_a_training_out_of_shards_in_s3(s3, monkeypatch):
    monkeypatch.setattr(preparing, "SHARD_BYTES", preparing.SHARD_BYTES)  # which `shards` changes
    s3.client().create_bucket(Bucket=interruptions.BUCKET)
    run = interruptions.shards()
    killed, whole = (f"s3://{interruptions.BUCKET}/runs/{name}" for name in ("killed", "whole"))
    interruptions.interrupted(killed, kills=2, steps=60, longest=0.5, run=run)
    interruptions.interrupted(whole, kills=0, steps=60, longest=0, run=run)
    interruptions.assert_equal(killed, whole)


@pytest.mark.slow
def test_all_that_a_run_writes_is_in_s3_and_nothing_stays_here(killed):
    uri, _ = killed
    assert storage.names(uri) == {
        "about.json",
        "config.yaml",
        "history.csv",
        "metrics.json",
        "figures",
        "model",
        "report.html",
        "strangest.csv",
        "checkpoint",
    }
    assert b"data:image/png" in storage.read_bytes(f"{uri}/report.html")
    assert json.loads(storage.read_bytes(f"{uri}/metrics.json"))["nll_test"] < 3
    assert {"sides.png", "density.png", "latents.png"} <= storage.names(f"{uri}/figures")
    assert len([name for name in storage.names(f"{uri}/checkpoint") if name.endswith(".npz")]) <= 2
    assert not Path("s3:").exists()


@settings
class Config:
    run: RunSettings = RunSettings()
    fit: fm.FitSettings = fm.FitSettings()


def config(uri, **changes):
    return nested(Config, {"output_dir": uri, "mlflow": False, **changes})


def test_other_sources_that_go_on_with_a_run_are_told(bucket):
    uri, about = f"{bucket}/app1/sources", lambda source: {"tags": {"source": source}}
    with RunFolder(config(uri), "flowmodels1") as folder:
        folder.describe(about("1a2b"))
    with RunFolder(config(uri, resume=True), "flowmodels1") as folder:
        folder.describe(about("1a2b"))
        with pytest.warns(FlowModelsWarning, match="sources 1a2b; those of 3c4d go on"):
            folder.describe(about("3c4d"))


def test_an_occupied_prefix_is_refused_resumed_and_overwritten(bucket, capsys):
    uri = f"{bucket}/app1/occupied"
    with RunFolder(config(uri), "flowmodels1") as folder:
        folder.log_epoch({"step": 1, "loss": 2.0})
        folder.log_epoch({"step": 2, "loss": 1.0})
    assert not folder.path.exists(), "the local copy is gone"
    with pytest.raises(
        fm.UserError, match="s3://runs/app1/occupied holds another run: use --resume"
    ):
        RunFolder(config(uri), "flowmodels1")
    with RunFolder(config(uri, resume=True), "flowmodels1") as folder:
        folder.log_epoch({"step": 2, "loss": 0.5})
    assert storage.read_bytes(f"{uri}/history.csv") == b"step,loss\n1.0,2.0\n2,0.5\n"
    storage.write_bytes(f"{uri}/thesis.tex", b"mine")
    with pytest.raises(fm.UserError, match="it holds thesis.tex"):
        RunFolder(config(uri, overwrite=True), "flowmodels1")
    storage.delete(f"{uri}/thesis.tex")
    storage.write_bytes(f"{bucket}/app1/occupied2/config.yaml", b"of a neighbour")
    with RunFolder(config(uri, overwrite=True), "flowmodels1"):
        assert storage.names(uri) == {"config.yaml"}
    assert storage.exists(f"{bucket}/app1/occupied2/config.yaml")
    RunFolder(config(f"{bucket}/app1/none", resume=True), "flowmodels1")
    assert (
        "nothing to resume in s3://runs/app1/none yet: a new run starts there"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "uri, said", [("s3://nowhere/run", "no such bucket"), ("s3://", "no bucket named")]
)
def test_a_wrong_place_is_told_before_the_training(bucket, uri, said):
    with pytest.raises(fm.UserError, match=said):
        RunFolder(config(uri), "flowmodels1")


def test_a_store_that_fails_for_a_while_costs_nothing(bucket, monkeypatch):
    mirror = Mirror(f"{bucket}/app1/mirror")
    (mirror.path / "a.json").write_text("{}")
    with monkeypatch.context() as down:
        down.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.warns(FlowModelsWarning, match="the secret key is wrong"):
            mirror.send(must=False)
        with pytest.raises(fm.UserError, match="the secret key is wrong"):
            mirror.send()
    mirror.send()
    assert mirror.names() == {"a.json"}
    mirror.close()


def test_a_mirror_goes_up_and_comes_down(bucket):
    names = {"config.yaml", "model/weights.index", "figures/a b.png"}
    there, back = Mirror(f"{bucket}/runs/1"), Mirror(f"{bucket}/runs/1/")
    for name in (*names, "checkpoint/state.npz", ".hidden"):
        storage.write_bytes(there.path / name, name.encode())
    there.send()
    assert back.names() == {"config.yaml", "model", "figures", "checkpoint"}
    back.fetch(leave_out="checkpoint")
    found = {uri: storage.read_bytes(uri) for uri in storage.list_prefix(back.path)}
    assert found == {str(back.path / name): name.encode() for name in names}
    there.close()
    back.close()


def test_a_key_cannot_leave_the_mirror(bucket, monkeypatch):
    """A name with an empty part would be an absolute path; this store holds none, others do."""
    mirror = Mirror(f"{bucket}/bad")
    storage.write_bytes(f"{bucket}/bad/x", b"x")
    (whole,) = storage.list_files(f"{bucket}/bad")
    outside = whole._replace(uri=f"{bucket}/bad//etc/x")
    monkeypatch.setattr(storage, "list_files", lambda uri: iter([outside, whole]))
    mirror.fetch(leave_out="checkpoint")
    monkeypatch.undo()
    assert list(storage.list_prefix(mirror.path)) == [str(mirror.path / "x")]
    mirror.close()


def test_the_last_but_one_arrays_stay_for_a_reader(bucket):
    folder = f"{bucket}/state"
    for step in range(4):
        serialisation.write(folder, "checkpoint", {"a": [step]}, {"step": step})
        header = serialisation.read_header(folder, "checkpoint", "checkpoint")
        assert serialisation.read_arrays(folder, header, "checkpoint")["a"] == [step]
    assert len(storage.names(folder)) == 3


def test_a_run_in_s3_goes_to_mlflow_later(killed, tmp_path):
    uri, _ = killed
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    first = upload(uri, "flowmodels1", store)
    assert upload(uri, "flowmodels1", store) == first, "mlflow.json in S3 remembers the run"
    with pytest.raises(fm.UserError, match="s3://runs/none is not the folder of a run"):
        upload("s3://runs/none", "flowmodels1", store)


def test_sigterm_here_is_75_and_ctrl_c_130(tmp_path):
    code = (
        "import sys, os, time; from flow_models.runs.program import guarded; guarded(lambda:"
        " (os.kill(os.getpid(), int(sys.argv[1])), time.sleep(5)))"
    )
    ends = [
        subprocess.run(
            [sys.executable, "-c", code, str(number.value)],
            capture_output=True,
            text=True,
            env=dict(os.environ),
        )
        for number in (signal.SIGTERM, signal.SIGINT)
    ]
    assert [end.returncode for end in ends] == [75, 130]
    assert ends[0].stderr.count("\n") == ends[1].stderr.count("\n") == 1
