"""Runs in real MLflow stores, embedded and served: all arrives once, and no failure of a store
reaches the training."""

import csv
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_server import free_port

from flow_models.core.errors import UserError, WorkerLost
from flow_models.runs.tracking import Tracker, parents, registry, upload
from flow_models.runs.tracking import folder as tracking_folder
from flow_models.runs.tracking.__main__ import main
from flow_models.simulators.dispersion import Dispersion
from flow_models.simulators.seismic import Seismograms

EPOCHS = 30
CONFIG = {"seed": 0, "hidden": [16, 16], "learning_rate": 1e-3}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No store but those of the tests, and short waits."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("flow_models.runs.tracking.tracker.FLUSH_SECONDS", 0.2)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('embedded') / 'mlflow.db'}"


@pytest.fixture(scope="session")
def flow():
    import flow_models

    model = flow_models.Model(flow_models.realnvp(2, depth=2, hidden=(8,)))
    for index, variable in enumerate(model.bijector.trainable_variables):
        variable.assign(0.3 * np.random.default_rng(index).standard_normal(variable.shape))
    return model


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a finished run without a model, for speed."""
    folder = tmp_path / "runs" / "moons" / "2026-01-01"
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\nhidden: [16, 16]\nlearning_rate: 0.001\n")
    (folder / "metrics.json").write_text(
        json.dumps({"nll_test": 2.5, "kl_to_truth": float("nan"), "train_seconds": 15.0})
    )
    (folder / "figures" / "density.png").write_bytes(b"a figure")
    (folder / "report.html").write_text("<html></html>")
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows()[0])
        writer.writeheader()
        writer.writerows(rows())
    return folder


def rows() -> list[dict[str, float]]:
    names = ("train_objective", "val_objective")
    return [
        {"epoch": e, "step": 10 * e, "seconds": 0.5 * e}
        | {name: 5 - e / 10 + i for i, name in enumerate(names)}
        for e in range(EPOCHS)
    ]


def metrics(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.json").read_text())


def client(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def run_ids(uri: str, experiment: str) -> list[str]:
    found = client(uri).get_experiment_by_name(experiment)
    return (
        []
        if found is None
        else [one.info.run_id for one in client(uri).search_runs([found.experiment_id])]
    )


def line(uri: str, run_id: str, name: str = "train_objective") -> list[tuple[int, float]]:
    return sorted(
        (point.step, point.value) for point in client(uri).get_metric_history(run_id, name)
    )


def told(capfd) -> list[str]:
    """Lines about MLflow on stderr."""
    found = capfd.readouterr().err.splitlines()
    return [text for text in found if "mlflow" in text.lower() or "alembic" in text.lower()]


def assert_whole(uri: str, run_id: str) -> None:
    """Settings, every row once, finite metrics, files; the run has ended."""
    found = client(uri).get_run(run_id)
    assert found.info.status == "FINISHED" and found.info.end_time
    assert found.data.params == {"seed": "0", "hidden": "[16, 16]", "learning_rate": "0.001"}
    for name in ("train_objective", "val_objective", "epoch"):
        assert line(uri, run_id, name) == [
            (row["step"], pytest.approx(row[name])) for row in rows()
        ]
    assert found.data.metrics["nll_test"] == 2.5 and "kl_to_truth" not in found.data.metrics
    files = {item.path for item in client(uri).list_artifacts(run_id)}
    assert files == {"config.yaml", "figures", "history.csv", "metrics.json", "report.html"}
    assert [item.path for item in client(uri).list_artifacts(run_id, "figures")] == [
        "figures/density.png"
    ]


def assert_serves(uri: str, experiment: str, run_id: str, flow) -> None:
    """The registered model answers as the model itself."""
    import mlflow

    (version,) = client(uri).search_model_versions(f"name='{experiment}'")
    assert version.run_id == run_id and version.status == "READY"
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        served = mlflow.pyfunc.load_model(f"models:/{experiment}/{version.version}")
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    x = pd.DataFrame({"x2": [0.2, 2.0, -0.5], "x1": [0.1, -1.0, 0.5]})
    assert np.array_equal(served.predict(x), flow.log_prob(x))
    for method in ("encode", "anomaly_score"):
        assert np.array_equal(
            served.predict(x, params={"method": method}), getattr(flow, method)(x)
        )
    z = pd.DataFrame(flow.encode(x), columns=["z1", "z2"])
    assert np.array_equal(served.predict(z, params={"method": "decode"}), flow.decode(z.to_numpy()))
    drawn = served.predict(x, params={"method": "sample", "n": 7, "seed": 3})
    assert np.array_equal(drawn, flow.sample(7, seed=3))
    with pytest.raises(mlflow.MlflowException, match="method must be one of log_prob"):
        served.predict(x, params={"method": "weights"})
    assert served.metadata.get_input_schema().input_names() == ["x1", "x2", "z1", "z2"]
    assert list(served.input_example) == ["x1", "x2"]


def track(run: Path, experiment: str, uri: str, **options) -> None:
    with Tracker(run, experiment, tracking_uri=uri, **options) as tracker:
        tracker.start(CONFIG)
        for row in rows():
            tracker.log_row(row)
        tracker.finish(metrics(run))


def test_embedded_store_end_to_end(run, embedded, flow, capfd):
    flow.save(str(run / "model"))
    track(run, "end to end", embedded, run_name="first", register=True)
    assert told(capfd) == []
    (run_id,) = run_ids(embedded, "end to end")
    assert_whole(embedded, run_id)
    assert client(embedded).get_run(run_id).info.run_name == "first"
    assert_serves(embedded, "end to end", run_id, flow)
    folder = Path(embedded.removeprefix("sqlite:///")).parent
    (card,) = folder.glob("mlartifacts/end to end/models/*/artifacts/requirements.txt")
    assert {text.split("==")[0] for text in card.read_text().split()} == set(registry.SERVED)
    assert upload(run, tracking_uri=embedded) == run_id
    assert len(client(embedded).search_model_versions("name='end to end'")) == 1


def test_a_model_is_registered_only_when_asked_and_never_that_of_a_trial(
    run, embedded, flow, monkeypatch
):
    flow.save(str(run / "model"))
    names = lambda: {each.name for each in client(embedded).search_registered_models()}
    track(run, "unasked", embedded)
    assert "unasked" not in names()
    monkeypatch.setenv(parents.PARENT_VARIABLE, "key sweep")
    monkeypatch.setattr(parents, "SETTLING", 0.0)
    (run / "mlflow.json").unlink()
    track(run, "trial", embedded, register=True)
    assert len(run_ids(embedded, "trial")) == 2 and "trial" not in names()
    upload(run, tracking_uri=embedded, register=True)  # which a user asks of one trial
    assert "trial" in names()


def test_real_server_end_to_end(run, tracking_server, flow, capfd):
    flow.save(str(run / "model"))
    track(run, "moons", tracking_server.uri, register=True)
    assert told(capfd) == []
    (run_id,) = run_ids(tracking_server.uri, "moons")
    assert_whole(tracking_server.uri, run_id)
    assert client(tracking_server.uri).get_run(run_id).info.run_name == "2026-01-01"
    assert_serves(tracking_server.uri, "moons", run_id, flow)


def test_a_server_killed_in_the_middle_costs_nothing(run, tracking_server, capfd):
    tracker = Tracker(run, "killed", tracking_uri=tracking_server.uri)
    tracker.start(CONFIG)
    for row in rows()[:10]:
        tracker.log_row(row)
    for _ in range(100):
        if run_ids(tracking_server.uri, "killed") and line(
            tracking_server.uri, run_ids(tracking_server.uri, "killed")[0]
        ):
            break
        time.sleep(0.1)
    tracking_server.stop()
    try:
        began = time.monotonic()
        for row in rows()[10:]:
            tracker.log_row(row)
            time.sleep(0.02)
        tracker.finish(metrics(run))
        tracker.close()
        assert time.monotonic() - began < 10
        (warning,) = told(capfd)
        assert (
            re.search("connection (refused|broken off)", warning)
            and f"make mlflow-upload RUN={run}" in warning
        )
        with pytest.raises(UserError, match="connection refused") as caught:
            upload(run)
        assert "\n" not in str(caught.value)
    finally:
        tracking_server.start()
    run_id = upload(run)
    assert run_ids(tracking_server.uri, "killed") == [run_id]
    assert_whole(tracking_server.uri, run_id)


def test_a_closed_port_is_told_once_and_the_run_goes_up_later(run, embedded, capfd):
    nowhere = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    tracker = Tracker(run, "late", tracking_uri=nowhere)
    tracker.start(CONFIG)
    assert time.monotonic() - began < 0.2
    for row in rows():
        tracker.log_row(row)
    tracker.finish(metrics(run))
    tracker.close()
    assert time.monotonic() - began < 30
    (warning,) = told(capfd)
    assert (
        warning.startswith(f"MLflow: {nowhere}: connection refused.")
        and "make mlflow-upload RUN=" in warning
    )
    assert main([str(run), "--tracking-uri", embedded]) == 0
    (run_id,) = run_ids(embedded, "late")
    assert_whole(embedded, run_id)


class Broken(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(500)

    do_POST = do_GET

    def log_message(self, *_):
        return


@pytest.fixture
def broken():
    """A web server that answers every request with an error."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def mute():
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize(
    "kind", ["broken", "mute", "http://nowhere.invalid", "nonsense://store", "http://"]
)
def test_a_store_that_is_none_neither_raises_nor_holds(run, kind, request, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    uri = request.getfixturevalue(kind) if kind in ("broken", "mute") else kind
    began = time.monotonic()
    track(run, "none", uri)
    assert time.monotonic() - began < 20
    (warning,) = told(capfd)
    assert "The run goes on without it" in warning and len(warning) < 500


def test_small_timeouts_are_set_unless_the_user_set_them(tmp_path):
    code = (
        "import os, sys; from flow_models.runs.tracking.client import connect; "
        "connect('http://127.0.0.1:1'); "
        "print(*(os.environ[n] for n in sys.argv[1:]))"
    )
    names = [
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        "MLFLOW_DISABLE_TELEMETRY",
    ]
    place = os.environ | {
        "PYTHONPATH": str(tracking_folder.PACKAGE.parent),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "77",
    }
    place.pop("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        env=place,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "77", "true"]


def test_upload_twice_is_one_run_and_a_changed_folder_is_sent_again(run, embedded):
    first = upload(run, "twice", embedded)
    before = client(embedded).get_run(first)
    assert upload(run, "twice", embedded) == first
    assert client(embedded).get_run(first).info.end_time == before.info.end_time
    (run / "report.html").write_text("<html>another</html>")
    assert upload(run, "twice", embedded) == first
    assert run_ids(embedded, "twice") == [first]
    assert_whole(embedded, first)
    client(embedded).delete_run(first)
    second = upload(run, "twice", embedded)
    assert second != first and run_ids(embedded, "twice") == [second]


def test_upload_takes_the_experiment_from_the_folder_around_the_run(run, embedded):
    run_id = upload(run, tracking_uri=embedded)
    assert run_id in run_ids(embedded, "moons")


def test_an_experiment_that_a_server_made_in_the_same_database(run, embedded):
    client(embedded).create_experiment("shared", artifact_location="mlflow-artifacts:/9")
    run_id = upload(run, "shared", embedded)
    assert run_ids(embedded, "shared") == [] and run_ids(embedded, "shared-local") == [run_id]
    assert_whole(embedded, run_id)


def test_a_run_that_was_stopped_goes_up_as_stopped_and_is_finished_later(run, embedded):
    (run / "metrics.json").rename(run / "later.tmp")
    run_id = upload(run, "stopped", embedded)
    assert client(embedded).get_run(run_id).info.status == "KILLED"
    (run / "later.tmp").rename(run / "metrics.json")
    assert upload(run, "stopped", embedded) == run_id
    assert client(embedded).get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    "error, status",
    [
        (KeyboardInterrupt, "KILLED"),
        (WorkerLost, "KILLED"),
        (FloatingPointError, "FAILED"),
        (SystemExit(2), "KILLED"),
        (SystemExit(0), "FINISHED"),
    ],
)
def test_how_a_run_ended_is_told(run, embedded, error, status):
    raised = error if isinstance(error, type) else type(error)
    with pytest.raises(raised), Tracker(run, f"ends {status}", tracking_uri=embedded) as tracker:
        tracker.start(CONFIG)
        tracker.log_row(rows()[0])
        raise error
    (run_id,) = [
        one
        for one in run_ids(embedded, f"ends {status}")
        if one in (run / "mlflow.json").read_text()
    ]
    assert client(embedded).get_run(run_id).info.status == status
    assert line(embedded, run_id) == [(0, 5.0)]


def test_a_resumed_run_goes_on_in_the_same_run(run, embedded):
    with (
        pytest.raises(KeyboardInterrupt),
        Tracker(run, "resumed", tracking_uri=embedded) as tracker,
    ):
        tracker.start(CONFIG)
        for row in rows()[:20]:
            tracker.log_row(row)
        raise KeyboardInterrupt
    with Tracker(run, "resumed", tracking_uri=embedded) as tracker:
        tracker.start(CONFIG | {"seed": 1, "steps": 300})
        for row in rows()[15:]:
            tracker.log_row(row)
        tracker.finish(metrics(run))
    (run_id,) = run_ids(embedded, "resumed")
    data = client(embedded).get_run(run_id).data
    assert (
        data.params["seed"] == "0"
        and data.tags["resumed.seed"] == "1"
        and data.params["steps"] == "300"
    )
    assert line(embedded, run_id) == [
        (row["step"], pytest.approx(row["train_objective"])) for row in rows()
    ]
    assert client(embedded).get_run(run_id).info.status == "FINISHED"


def test_a_run_whose_process_was_killed_goes_on_in_the_same_run(run, embedded):
    code = (
        "import sys, time; from pathlib import Path; from flow_models.runs.history import"
        " read_history\nfrom flow_models.runs.tracking import Tracker, tracker as"
        " module\nmodule.FLUSH_SECONDS = 0.1; tracker = Tracker(sys.argv[1], 'shot',"
        " tracking_uri=sys.argv[2])\ntracker.start({'seed': 0})\nfor row in"
        " read_history(Path(sys.argv[1]))[:20]: tracker.log_row(row);"
        " time.sleep(0.02)\ntime.sleep(60)"
    )
    place = os.environ | {"PYTHONPATH": str(tracking_folder.PACKAGE.parent)}
    process = subprocess.Popen([sys.executable, "-c", code, str(run), embedded], env=place)
    for _ in range(600):
        if any(line(embedded, one) for one in run_ids(embedded, "shot")):
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    (run_id,) = run_ids(embedded, "shot")
    assert client(embedded).get_run(run_id).info.status == "RUNNING" and line(embedded, run_id)
    assert upload(run, tracking_uri=embedded) == run_id and run_ids(embedded, "shot") == [run_id]
    assert_whole(embedded, run_id)


def test_numbers_that_are_none_break_nothing(run, embedded, capfd):
    (run / "history.csv").unlink()
    with Tracker(run, "odd numbers", tracking_uri=embedded) as tracker:
        tracker.start({"note": "x" * 7000, "a/b: c?": None, "empty": ""})
        tracker.log_row(
            {
                "step": 1,
                "seconds": 0.1,
                "good": 1.0,
                "nan": float("nan"),
                "inf": float("inf"),
                "text": "x",
            }
        )
        tracker.log_row({"step": 2, "seconds": float("nan"), "good": np.float32(2.0), "none": None})
        tracker.finish({"fine": np.float64(3.0), "inf": float("-inf"), "word": "x"})
    assert told(capfd) == []
    (run_id,) = run_ids(embedded, "odd numbers")
    assert line(embedded, run_id, "good") == [(1, 1.0), (2, 2.0)]
    assert set(client(embedded).get_run(run_id).data.metrics) == {"seconds", "good", "fine"}


def test_closing_does_not_wait_for_ever(run, mute, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setattr("flow_models.runs.tracking.tracker.PATIENCE", 0.5)
    began = time.monotonic()
    track(run, "stuck", mute)
    assert time.monotonic() - began < 2
    (warning,) = told(capfd)
    assert "no answer within 0.5 s" in warning


def test_switched_off_it_does_nothing(run):
    before = threading.active_count()
    with Tracker(run, "off", enabled=False) as tracker:
        tracker.start(CONFIG)
        tracker.log_row(rows()[0])
        tracker.finish(metrics(run))
        assert threading.active_count() <= before
    assert not (run / "mlflow.json").exists()


def test_passwords_are_neither_kept_nor_told(run, capfd):
    track(run, "secret", f"http://me:hunter2@127.0.0.1:{free_port()}")
    (warning,) = told(capfd)
    assert "hunter2" not in warning + (run / "mlflow.json").read_text()
    with pytest.raises(UserError) as caught:
        upload(run, tracking_uri=f"http://me:hunter2@127.0.0.1:{free_port()}")
    assert "hunter2" not in str(caught.value)


def test_processes_that_begin_together_share_a_new_store(run, tmp_path):
    code = (
        "import sys; from flow_models.runs.tracking import Tracker\n"
        "with Tracker(sys.argv[1], 'together', tracking_uri=sys.argv[2]) as tracker:\n"
        "    tracker.start({'a': 1}); tracker.log_row({'step': 1, 'x': 1.0})"
    )
    uri, place = (
        f"sqlite:///{tmp_path / 'mlflow.db'}",
        os.environ | {"PYTHONPATH": str(tracking_folder.PACKAGE.parent)},
    )
    folders = [str(tmp_path / name) for name in ("one", "two")]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, folder, uri],
            env=place,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    assert [process.communicate()[1] for process in started] == [b"", b""]
    assert {client(uri).get_run(one).info.run_name for one in run_ids(uri, "together")} == {
        "one",
        "two",
    }


def test_where_the_store_is(tmp_path, monkeypatch):
    project, other = tmp_path / "project", tmp_path / "other"
    (project / "flow_models").mkdir(parents=True)
    other.mkdir()
    monkeypatch.chdir(other)
    monkeypatch.setattr(tracking_folder, "PACKAGE", project / "flow_models")
    assert tracking_folder.store_uri() == f"sqlite:///{other}/mlflow.db"
    (project / "pyproject.toml").write_text("")
    assert tracking_folder.store_uri() == f"sqlite:///{project}/mlflow.db"
    monkeypatch.setattr(tracking_folder.os, "access", lambda *_: False)
    assert tracking_folder.store_uri() == f"sqlite:///{other}/mlflow.db"
    tracking_folder.write_state(other, {"tracking_uri": "http://meant"})
    assert tracking_folder.store_uri(folder=other) == "http://meant"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000/")
    assert tracking_folder.store_uri(folder=other) == "http://host:5000"
    assert tracking_folder.store_uri("sqlite:///mine.db", other) == f"sqlite:///{other}/mine.db"


@pytest.mark.parametrize("spoil", ["absent", "empty"])
def test_a_folder_that_is_no_run_is_one_line_and_status_2(tmp_path, spoil):
    folder = tmp_path / spoil
    if spoil == "empty":
        folder.mkdir()
    place = os.environ | {"PYTHONPATH": str(tracking_folder.PACKAGE.parent)}
    command = [sys.executable, "-m", "flow_models.runs.tracking", str(folder)]
    done = subprocess.run(command, env=place, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert "is not the folder of a run" in said and list(tmp_path.glob("*.db")) == []


def test_a_run_folder_elsewhere_is_refused():
    with pytest.raises(UserError, match="needs a local run folder; got s3://bucket/run"):
        Tracker("s3://bucket/run", "e")


def test_a_served_model_asks_for_the_packages_of_its_simulator():
    for simulator, wanted in ((Dispersion(), {"disba", "numba"}), (Seismograms(), set())):
        asked = {line.partition("==")[0] for line in registry.requirements(simulator)}
        assert {"tensorflow", "mlflow"} <= asked and asked & {"disba", "numba"} == wanted
