"""Registered models behind MLflow's scoring server: what comes back over HTTP is what the model
itself says."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from mlflow_server import free_port

import flow_models as fm
from flow_models.applications.inverse.models import measure
from flow_models.applications.inverse.problem import Pairs
from flow_models.bijectors.frames import LaplaceFrame
from flow_models.runs.tracking import upload
from flow_models.runs.tracking.folder import PACKAGE
from flow_models.simulators.linear_gaussian import LinearGaussian

START_SECONDS = 120
SHAPE = (6, 6, 1)
RNG = np.random.default_rng(0)


def moved(model):
    """The model with weights as if it were trained."""
    for index, variable in enumerate(model.bijector.trainable_variables):
        variable.assign_add(0.1 * np.random.default_rng(index).standard_normal(variable.shape))
    return model


def of_points():
    return moved(fm.Model(fm.realnvp(2, depth=2, hidden=(8,)), jit=False))


def of_images():
    pixels = fm.Pixels(*SHAPE, multiple=2)
    flow = fm.glow_image(pixels.padded_shape, levels=1, depth=1, hidden=(4,))
    return moved(fm.Model(flow, codecs={"x": pixels}, jit=False))


def of_classes():
    flow = fm.realnvp(2, depth=2, hidden=(8,), condition_size=3)
    labels = fm.Labels(("a", "b", "c"), (0.2, 0.3, 0.5))
    codecs = {"x": ["length", "width"], "y": labels}
    partition = fm.Partition({"x": 2}, {"z": 2}, given={"y": 3})
    return moved(fm.Model(flow, partition, codecs, jit=False))


def of_posteriors():
    """A model in a frame that is measured on pairs, with a density of the data."""
    simulator = LinearGaussian(matrix=((1.0, 0.5, 0.0), (0.0, 1.0, -1.0)))
    frame = LaplaceFrame(simulator, components=2, steps=1)
    flow = fm.realnvp(3, depth=1, hidden=(4,), condition_size=frame.context_size, standardise=False)
    model = fm.Model(
        fm.architectures.framed(flow, frame),
        fm.Partition({"x": 3}, {"z": 3}, given={"y": 2}),
        {"x": fm.Parameters(simulator), "y": fm.Data(simulator)},
        jit=False,
    )
    theta, y = (np.asarray(each) for each in simulator.simulate(500, (1, 2)))
    measure(model, Pairs(theta, y, y))
    model.data_model = fm.Model(fm.realnvp(3, depth=1, hidden=(4,)), jit=False)
    return model


def registered(model, name: str, folder, uri: str) -> str:
    """Address of the model in the registry, where the upload of a run has put it."""
    run = folder / name / "run"
    model.save(str(run / "model"))
    (run / "config.yaml").write_text("seed: 0\n")
    upload(run, name, uri)
    return f"models:/{name}/1"


def ask(address: str, rows, **params):
    """The predictions for rows, or MLflow's message where it refuses them."""
    asked = {"inputs": np.asarray(rows).tolist(), "params": params}
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return np.array(json.load(answer)["predictions"])
    except urllib.error.HTTPError as error:
        assert error.code == 400, error.read()
        return json.load(error)["message"]


def until_up(address: str, alive) -> None:
    """Waits until the scoring server has loaded its model."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and alive():
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{address}/ping", timeout=5) as answer,
        ):
            assert answer.status == 200
            return
        time.sleep(0.2)
    raise TimeoutError(f"no scoring server at {address}")


@contextlib.contextmanager
def mlflow_models_serve(model: str, uri: str, folder):
    """`mlflow models serve`, the command that a user runs, away from the sources."""
    address, log = f"http://127.0.0.1:{(port := free_port())}", folder / "serve.log"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        model,
        "--env-manager",
        "local",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    place = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "MLFLOW_REGISTRY_URI")
    }
    place |= {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{os.path.dirname(sys.executable)}:{place['PATH']}",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=place, stdout=out, stderr=out, start_new_session=True
        )
    try:
        until_up(address, lambda: process.poll() is None)
        yield address
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {log.read_text()[-2000:]}") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


@contextlib.contextmanager
def scoring_server(model: str, uri: str):
    """The same server program in this process, which has loaded TensorFlow already."""
    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    _, name, version = model.split("/")
    place = (
        mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        .get_model_version(name, version)
        .source
    )
    app = scoring_server.init(mlflow.pyfunc.load_model(place))
    address = f"http://127.0.0.1:{(port := free_port())}"
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        until_up(address, thread.is_alive)
        yield address
    finally:
        running.should_exit = True
        thread.join(20)


def near(given, expected, tolerance=1e-5):
    """Equal to rounding: JSON carries every digit, but batches of another size may sum in another
    order."""
    np.testing.assert_allclose(given, expected, rtol=tolerance, atol=tolerance)


def test_points_by_the_command_from_a_server(tmp_path, tracking_server):
    model, x = of_points(), RNG.normal(size=(4, 2)).astype("f")
    name = registered(model, "served points", tmp_path, tracking_server.uri)
    with mlflow_models_serve(name, tracking_server.uri, tmp_path) as address:
        near(ask(address, x), model.log_prob(x))
        near(ask(address, x, method="anomaly_score"), model.anomaly_score(x))
        near(ask(address, model.encode(x), method="decode"), x)
        near(
            ask(address, x[:1], method="sample", n=6, seed=3, temperature=0.5),
            model.sample(6, seed=3, sampling_temperature=0.5),
        )
        assert "method must be one of log_prob" in ask(address, x, method="weights")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('served') / 'mlflow.db'}"


def test_images(tmp_path, store):
    model, x = of_images(), RNG.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    with scoring_server(registered(model, "images", tmp_path, store), store) as address:
        near(ask(address, x, method="log_prob"), model.log_prob(x))
        near(ask(address, x, method="anomaly_score"), model.anomaly_score(x))
        near(ask(address, x, method="bits_per_dim"), model.bits_per_dim(x))
        drawn = ask(address, x[:1], method="sample", n=2, seed=1)
        assert drawn.shape == (2, *SHAPE) and (drawn == model.sample(2, seed=1)).all()
        assert "pixels are numbers from 0 to 255; got -1 to 0" in ask(
            address, np.full((1, *SHAPE), -1) + np.eye(6)[None, ..., None]
        )


def test_classes(tmp_path, store):
    model, x = of_classes(), RNG.normal(size=(5, 2)).astype("f")
    with scoring_server(registered(model, "classes", tmp_path, store), store) as address:
        shares = ask(address, x, method="classify")
        near(shares, model.classify(x))
        near(shares.sum(1), 1.0)
        near(ask(address, x), model.log_prob(x))
        near(ask(address, x[:1], method="sample", n=4, seed=2), model.sample(4, seed=2))
        assert "method must be one of" in ask(address, x, method="posterior")


def test_posteriors(tmp_path, store):
    model, y = of_posteriors(), RNG.normal(size=(2, 2)).astype("f")
    with scoring_server(registered(model, "posteriors", tmp_path, store), store) as address:
        drawn = ask(address, y, method="posterior", n=5, seed=4)
        assert drawn.shape == (2, 5, 3)
        near(drawn, model.posterior(y, 5, seed=4))
        near(ask(address, y, n=5, seed=4), drawn)
        assert "number of samples" in ask(address, y, method="posterior", n=0)
        assert "method must be one of" in ask(address, y, method="classify")
        assert "does not match expected shape (-1, 2)" in ask(
            address, np.zeros((1, 3)), method="posterior"
        )


def test_the_package_goes_with_the_model(tmp_path, store):
    """A server has no sources beside it: the package is among the files of the model."""
    registered(of_points(), "alone", tmp_path, store)
    (folder,) = Path(store.removeprefix("sqlite:///")).parent.glob(
        "mlartifacts/alone/models/*/artifacts"
    )
    copied = folder / "code" / PACKAGE.name / "models" / "model.py"
    assert copied.read_bytes() == (PACKAGE / "models" / "model.py").read_bytes()
