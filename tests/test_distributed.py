"""Training over devices and over processes on loopback: the same curve, one writer, and an end that
can be resumed."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import workers

import flow_models as fm
import train_flowmodels1
from flow_models.core.errors import WorkerLost
from flow_models.data.images import stream as image_stream
from flow_models.runs.config import parse
from flow_models.training import cluster, devices

SCRIPT = [
    "train_flowmodels1.py",
    "--data",
    "moons",
    "--depth",
    "2",
    "--hidden",
    "[8, 8]",
    "--batch-size",
    "64",
    "--test-points",
    "500",
]
LENGTH = ["--steps", "1000", "--eval-every-steps", "50"]
ROUNDING = 2e-5  # of a float32 sum over a batch, after some hundred steps
MIRRORED = """
import sys; sys.path.insert(0, "tests")
import dataclasses, json, flow_models as fm
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
from test_training import data, draw, model
from flow_models.data.images import stream as image_stream
settings = fm.FitSettings(steps=60, batch_size=32, eval_every_steps=20, warmup_steps=5)
found = []
pixels = np.random.default_rng(0).integers(0, 256, [300, 8, 8, 1], dtype=np.uint8)
def images():
    codec = fm.Pixels(8, 8, 1, multiple=4)
    flow = fm.glow_image(codec.padded_shape, levels=1, depth=1, hidden=(8,))
    return fm.Model(flow, codecs={"x": codec})
pictures = image_stream.stream(lambda numbers: pixels[numbers], np.array([300]), (8, 8, 1), 32)
cases = (
    (model, data(), data(200, 1), True),
    (model, draw, data(200, 1), False),
    (images, pictures, pixels[:40], False),
)
for make, source, held_out, jit in cases:
    found.append([])
    for each in ("single", "mirrored"):
        changed = dataclasses.replace(settings, strategy=each, jit=jit)
        found[-1].append(fm.fit(make(), source, held_out, changed).history)
try:
    wrong = dataclasses.replace(settings, batch_size=33, strategy="mirrored")
    fm.fit(model(), data(), settings=wrong)
except fm.UserError as error:
    found.append(str(error))
print(json.dumps(found))
"""


def rows(folder):
    return list(csv.DictReader((folder / "history.csv").open()))


def assert_equal_to_rounding(one, other, scale=1.0):
    assert len(one) == len(other) > 1
    for a, b in zip(one, other):
        for name in a:
            if name != "seconds":
                np.testing.assert_allclose(
                    float(a[name]), float(b[name]), rtol=ROUNDING, atol=scale * ROUNDING
                )


def until(happened, seconds: float = 100) -> None:
    """Waits until `happened()` is true."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def alone():
    """The history and the model of one process that nobody interrupts."""
    application = train_flowmodels1.APPLICATION
    config = parse(application.config, application.presets, "", [*SCRIPT[1:], *LENGTH])
    model, training = application.prepared(config, application.load_data(config))
    history = fm.fit(model, training.data, training.validation, config.fit).history
    return [dict(zip(history, values)) for values in zip(*history.values())], model


@pytest.fixture(scope="module")
def together(tmp_path_factory, tracking_server):
    """A run of two nodes as Batch starts them, the second being the main one; the first is killed
    once, and all start anew.

    The folder, and how the nodes ended each time.
    """
    run = tmp_path_factory.mktemp("runs") / "two"
    command = [
        *SCRIPT,
        *LENGTH,
        "--jit",
        "false",
        "--checkpoint-seconds",
        "0",
        "--resume",
        "--output-dir",
        str(run),
        "--tracking-uri",
        tracking_server.uri,
    ]
    nodes = workers.start(command, workers.by_batch(2, main=1))
    until((run / "history.csv").exists)
    nodes[0].kill()
    killed = workers.finish(nodes, 100)
    return run, killed, workers.finish(workers.start(command, workers.by_batch(2, main=1)))


@pytest.mark.slow
def test_two_workers_have_the_curve_of_one_though_one_was_killed(together, alone):
    run, killed, ended = together
    assert [status for status, *_ in killed] == [-signal.SIGKILL, 75], killed
    assert [status for status, *_ in ended] == [0, 0], ended
    assert_equal_to_rounding(alone[0][:4], rows(run)[:4])
    assert [row["step"] for row in rows(run)] == [str(row["step"]) for row in alone[0]]
    point = np.array([[0.1, 0.2], [1.0, -0.3]])
    np.testing.assert_allclose(
        alone[1].log_prob(point), fm.load(str(run)).log_prob(point), atol=0.05
    )


@pytest.mark.slow
def test_the_first_worker_alone_writes_and_speaks(together):
    run, _, (other, main) = together
    assert [file.name for file in run.parent.iterdir()] == ["two"]
    assert "everything is in" in main[1] and other[1] == "" and other[2] == ""


@pytest.mark.slow
def test_all_workers_and_attempts_are_one_run_in_mlflow(together, tracking_server):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_server.uri)
    experiment = client.get_experiment_by_name("flowmodels1").experiment_id
    (found,) = client.search_runs([experiment], "attributes.run_name = 'two'")
    assert found.info.status == "FINISHED" and found.data.params["batch_size"] == "64"
    kept = rows(together[0])
    for name in ("train_objective", "val_objective", "learning_rate"):
        points = [
            (point.step, point.value)
            for point in client.get_metric_history(found.info.run_id, name)
        ]
        assert points == [
            (int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)) for row in kept
        ]
    assert len(client.get_metric_history(found.info.run_id, "nll_test")) == 1
    assert {"config.yaml", "figures", "metrics.json"} <= {
        item.path for item in client.list_artifacts(found.info.run_id)
    }


@pytest.mark.slow
def test_a_killed_first_worker_stops_all_and_leaves_a_checkpoint(tmp_path, alone):
    run = tmp_path / "run"
    command = [
        *SCRIPT,
        *LENGTH,
        "--mlflow",
        "false",
        "--checkpoint-seconds",
        "0",
        "--output-dir",
        str(run),
    ]
    processes = workers.start(command, workers.by_tf_config(2))
    until(lambda: (run / "history.csv").exists() and len(rows(run)) > 1)
    processes[0].kill()
    ends = workers.finish(processes, 60)
    assert ends[0][0] == -signal.SIGKILL and ends[1][0] == 75, ends
    lines = [line for line in ends[1][2].splitlines() if line.startswith("error:")]
    assert (
        len(lines) == 1
        and "another worker does not answer any more" in lines[0]
        and "--resume" in lines[0]
    )
    assert json.loads((run / "checkpoint" / "checkpoint.json").read_text())["step"] > 0
    assert_equal_to_rounding(alone[0][: len(rows(run))][:4], rows(run)[:4])


def test_two_devices_of_one_machine_have_the_curve_of_one():
    result = subprocess.run(
        [sys.executable, "-c", MIRRORED],
        capture_output=True,
        text=True,
        cwd=workers.ROOT,
        timeout=200,
        env={**os.environ, **workers.PLAIN},
    )
    assert result.returncode == 0, result.stderr
    *pairs, said = json.loads(result.stdout.splitlines()[-1])
    for (single, mirrored), scale in zip(pairs, (1.0, 1.0, 100.0), strict=True):
        columns = [
            [dict(zip(history, values)) for values in zip(*history.values())]
            for history in (single, mirrored)
        ]
        assert_equal_to_rounding(*columns, scale=scale)
    assert (
        said == "batch_size 33 cannot be shared equally by 2 devices: give a multiple of 2, or"
        " --strategy single"
    )


def test_a_worker_reads_its_own_pictures_alone():
    read, pixels = [], np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1) + 1

    def gather(numbers):
        read.append(len(numbers))
        return pixels[numbers]

    whole = image_stream.stream(gather, np.array([40]), (1, 1, 1), 8)
    batch = next(iter(whole.skip(3))).numpy()
    read.clear()
    shares = [next(iter(whole.share(worker, 2).repeat().skip(3))).numpy() for worker in (0, 1)]
    assert set(read) == {4}
    assert (
        (sum(shares) == batch).all() and (shares[0][4:] == 0).all() and (shares[1][:4] == 0).all()
    )


def test_shares_put_together_are_the_batch():
    batch = {"x": np.arange(12, dtype="f").reshape(6, 2), "y": np.arange(6, dtype="f")[:, None]}
    parts = [devices.share(batch, replica, 3) for replica in range(3)]
    for name, whole in batch.items():
        assert (np.concatenate([part[name] for part in parts]) == whole).all()
    assert (
        devices.ring_bytes(1000, 2) == 4000
        and devices.ring_bytes(1000, 4) == 6000
        and devices.ring_bytes(1000, 1) == 0
    )


@pytest.fixture
def no_workers(monkeypatch):
    for name in [
        name
        for name in os.environ
        if name.startswith("AWS_BATCH_JOB_") or name in ("TF_CONFIG", "FLOW_MODELS_PORT")
    ]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_nodes_get_one_list_and_strangers_are_sent_away(no_workers):
    found, nodes = {}, workers.by_batch(3)
    command = (
        "import os, sys, json; from flow_models.training import cluster;"
        " print(json.dumps([cluster.join(), os.environ['TF_CONFIG']]))"
    )
    stranger = {**nodes[1], "AWS_BATCH_JOB_ID": "other#1", "FLOW_MODELS_PATIENCE": "3"}
    processes = workers.start(["-c", command], [*nodes, stranger])
    ends = workers.finish(processes, 60)
    for status, out, error in ends[:3]:
        assert status == 0, error
        (index, count), config = json.loads(out)
        config = json.loads(config)
        assert config["task"]["index"] == index and count == 3
        found[index] = config["cluster"]["worker"]
    assert found[0] == found[1] == found[2] and len(set(found[0])) == 3
    assert ends[3][0] != 0 and "did not answer within 3 s" in ends[3][2]


def test_a_node_that_does_not_come_is_named(no_workers):
    for name, value in {**workers.by_batch(3)[0], "FLOW_MODELS_PATIENCE": "1"}.items():
        no_workers.setenv(name, value)
    with pytest.raises(
        WorkerLost,
        match=r"workers \[1, 2\] did not register within 1 s at port \d+.*security group",
    ):
        cluster.join()


def test_workers_that_do_not_come_end_the_wait():
    environment = workers.by_tf_config(2)[0] | {"FLOW_MODELS_PATIENCE": "2"}
    ((status, _, error),) = workers.finish(
        workers.start([*SCRIPT, "--mlflow", "false", "--steps", "4"], [environment]), 100
    )
    assert (
        status == 75
        and error.startswith("error: workers [1] did not register within 2 s")
        and error.count("\n") == 1
    )


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"ps": ["a:1"]}, "task": {}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
    ],
)
def test_a_wrong_tf_config_is_told(no_workers, text):
    no_workers.setenv("TF_CONFIG", text)
    with pytest.raises(fm.UserError, match="TF_CONFIG must be"):
        cluster.task()
    assert cluster.task("single") == (0, 1)


def test_wrong_strategies_are_told(no_workers):
    with pytest.raises(
        fm.UserError,
        match="strategy is 'horovod', must be one of auto, single, mirrored, multiworker",
    ):
        fm.FitSettings(strategy="horovod")
    with pytest.raises(fm.UserError, match="nothing says who the workers are"):
        devices.get("multiworker")
    assert (
        devices.get("auto").strategy is None
        and dataclasses.replace(fm.FitSettings()).strategy == "auto"
    )
