"""Small models of every kind, registered and behind MLflow's scoring server."""

import contextlib
import threading
import time
import urllib.request

import numpy as np
from mlflow_server import free_port

import flow_models as fm
from flow_models.applications.inverse.models import measure
from flow_models.applications.inverse.problem import Pairs
from flow_models.bijectors.frames import LaplaceFrame
from flow_models.runs.tracking import upload
from flow_models.simulators.linear_gaussian import LinearGaussian

START_SECONDS = 300  # of a machine that is busy with other tests
SHAPE = (6, 6, 1)


def moved(model):
    """The model with weights as if it were trained."""
    for index, variable in enumerate(model.bijector.trainable_variables):
        variable.assign_add(0.1 * np.random.default_rng(index).standard_normal(variable.shape))
    return model


def of_points():
    flow = fm.realnvp(2, depth=2, hidden=(8,))
    return moved(fm.Model(flow, codecs={"x": ["depth", "position"]}, jit=False))


def of_images(shape=SHAPE):
    pixels = fm.Pixels(*shape, multiple=2)
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
    upload(run, name, uri, register=True)
    return f"models:/{name}/1"


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
