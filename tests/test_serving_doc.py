"""doc/serving.md as a user follows it: every command and request as it stands, but for the port."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow_server import free_port
from scoring import near, of_classes, of_images, of_posteriors, registered, scoring_server, until_up

import flow_models as fm

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "doc" / "serving.md").read_text()
PORT = "localhost:8080"
BLOCKS = [
    re.sub("^    ", "", block, flags=re.M).strip()
    for block in re.findall(r"(?:^    .*\n)+", PAGE, flags=re.M)
]
EXPORT, *TRAIN = BLOCKS[0].splitlines()
(SERVE,) = BLOCKS[1].splitlines()
ASK, CSV = BLOCKS[2].splitlines()
PICTURES, OFFLINE = BLOCKS[3:]
REQUESTS = re.findall(r"^\| `(\w+)` \| `(ask .*?)` \|", PAGE, flags=re.M)
POINTS, CLASSES, POSTERIORS = REQUESTS[:6], REQUESTS[6:8], REQUESTS[8:]


def environment() -> dict[str, str]:
    """That of a user in the project's environment, in another folder."""
    own = {key: text for key, text in os.environ.items() if not key.startswith("MLFLOW_")}
    path = f"{os.path.dirname(sys.executable)}:{own['PATH']}"
    return own | {"PATH": path, "PYTHONPATH": str(PROJECT), "MLFLOW_DISABLE_TELEMETRY": "true"}


def bash(folder: Path, *lines: str) -> str:
    """What the lines print in one shell, after the first line of the page."""
    script = "\n".join(["set -e", EXPORT, ASK, *lines])
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def answer(folder: Path, address: str, line: str):
    """The predictions that a request of the page brings."""
    place = f"localhost:{address.rpartition(':')[2]}"
    script = [part.replace(PORT, place) for part in (ASK, line)]
    return json.loads(bash(folder, *script))["predictions"]


@pytest.fixture(scope="module")
def registered_run(tmp_path_factory):
    """The folder in which the first block has run."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "train_flowmodels1.py").symlink_to(PROJECT / "train_flowmodels1.py")
    said = bash(folder, *TRAIN)
    assert "runs/flowmodels1/latest is in MLflow" in said
    return folder


@contextlib.contextmanager
def served(folder: Path):
    """The address at which the command of the page serves."""
    port = free_port()
    command = SERVE.replace("--port 8080", f"--port {port}")
    assert command != SERVE
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"{EXPORT}\nexec {command}"],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until_up(f"http://127.0.0.1:{port}", lambda: process.poll() is None)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_page_has_a_request_of_each_method():
    assert [method for method, _ in POINTS] == [
        "log_prob",
        "anomaly_score",
        "sample",
        "encode",
        "decode",
        "describe",
    ]
    assert [method for method, _ in CLASSES] == ["classify", "sample"]
    assert [method for method, _ in POSTERIORS] == ["posterior", "anomaly_score"]
    assert len(BLOCKS) == 5 and len(re.findall("ask '", PAGE)) == len(REQUESTS)


@pytest.mark.timeout(900)  # trains, registers and serves in three new processes
@pytest.mark.slow
def test_the_page_from_training_to_answers(registered_run):
    model = fm.load(str(registered_run / "runs" / "flowmodels1" / "latest"))
    point = np.array([[0.1, 0.2]])
    expected = {
        "log_prob": model.log_prob(point),
        "anomaly_score": model.anomaly_score([[9.0, 9.0]]),
        "sample": model.sample(5, seed=1),
        "encode": model.encode(point),
        "decode": model.decode(np.zeros((1, 2))),
    }
    with served(registered_run) as address:
        found = {method: answer(registered_run, address, line) for method, line in POINTS}
        csv = answer(registered_run, address, CSV)
    for method, value in expected.items():
        near(found[method], value)
    near(csv, expected["log_prob"])
    assert found["describe"]["columns"] == ["x1", "x2"]
    store = f"sqlite:///{registered_run / EXPORT.partition('sqlite:///')[2]}"
    (version,) = mlflow.MlflowClient(store, store).search_model_versions("name='flowmodels1'")
    assert version.version == 1, "the run was registered already"
    program = f"{OFFLINE}\nimport json; print(json.dumps(answer.tolist()))"
    offline = bash(registered_run, f"python - <<'END' | tail -1\n{program}\nEND")
    near(json.loads(offline), expected["encode"])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('served') / 'mlflow.db'}"


@pytest.mark.slow
def test_classes(tmp_path, store):
    model, (classify, sample) = of_classes(), [line for _, line in CLASSES]
    with scoring_server(registered(model, "doc classes", tmp_path, store), store) as address:
        near(answer(tmp_path, address, classify), model.classify([[1.0, 2.0]]))
        near(answer(tmp_path, address, sample), model.sample(3, "b"))


@pytest.mark.slow
def test_posteriors(tmp_path, store):
    model, (posterior, score) = of_posteriors(), [line for _, line in POSTERIORS]
    y = np.array([[0.3, 1.0]])
    with scoring_server(registered(model, "doc posteriors", tmp_path, store), store) as address:
        near(answer(tmp_path, address, posterior), model.posterior(y, 100))
        near(answer(tmp_path, address, score), model.anomaly_score(y))


@pytest.mark.slow
def test_pictures(tmp_path, store):
    model, found = of_images((28, 28, 1)), {}
    with scoring_server(registered(model, "doc pictures", tmp_path, store), store) as address:
        exec(PICTURES.replace(f"http://{PORT}", address), found)
    near(found["answer"], model.bits_per_dim(np.zeros((2, 28, 28, 1), np.uint8)))
