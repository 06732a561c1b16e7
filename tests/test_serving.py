"""Registered models behind MLflow's scoring server: what comes back over HTTP is what the model
itself says."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_server import free_port
from scoring import (
    SHAPE,
    moved,
    near,
    of_classes,
    of_images,
    of_points,
    of_posteriors,
    registered,
    scoring_server,
    until_up,
)

import flow_models as fm
from flow_models.runs.tracking.folder import PACKAGE

RNG = np.random.default_rng(0)


def ask(address: str, body, kind="application/json", **params):
    """The predictions, or MLflow's message where it refuses the request.

    The body is a dictionary of MLflow's formats, text of another kind, or rows by their names.
    """
    if hasattr(body, "columns"):
        body = {"dataframe_records": body.to_dict("records")}
    if isinstance(body, np.ndarray):
        body = {"inputs": body.tolist()}
    data = body if isinstance(body, str) else json.dumps(body | {"params": params})
    request = urllib.request.Request(
        f"{address}/invocations", data.encode(), {"Content-Type": kind}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read(), parse_constant=_no_json)["predictions"]
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        assert error.code == 400, text
        return json.loads(text)["message"]
    return found if isinstance(found, dict) else np.array(found)


def _no_json(constant):
    raise AssertionError(f"{constant} is no JSON")


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


def named(values, names, shuffle=True) -> pd.DataFrame:
    """Rows by name, the columns in another order than the model has them."""
    frame = pd.DataFrame(np.asarray(values, np.float64), columns=names)
    return frame[names[::-1]] if shuffle else frame


def latents_of(z) -> pd.DataFrame:
    return named(z, [f"z{i + 1}" for i in range(z.shape[1])])


def test_points_by_the_command_from_a_server(tmp_path, tracking_server):
    """All formats of MLflow, by the command that a user runs."""
    model, x = of_points(), RNG.normal(size=(4, 2)).astype("f")
    frame = named(x, ["depth", "position"])
    name = registered(model, "served points", tmp_path, tracking_server.uri)
    with mlflow_models_serve(name, tracking_server.uri, tmp_path) as address:
        near(ask(address, frame), model.log_prob(x))
        near(ask(address, {"dataframe_split": frame.to_dict("split")}), model.log_prob(x))
        near(ask(address, {"inputs": frame.to_dict("list")}), model.log_prob(x))
        near(ask(address, frame.to_csv(index=False), "text/csv"), model.log_prob(x))
        whole = pd.DataFrame({"position": [1, 0], "depth": [0, 2]})
        near(ask(address, whole), model.log_prob(whole))
        near(ask(address, frame, method="anomaly_score"), model.anomaly_score(x))
        near(ask(address, frame.assign(site="a"), method="encode"), model.encode(x))
        near(ask(address, latents_of(model.encode(x)), method="decode"), x)
        near(
            ask(address, {"dataframe_records": []}, method="sample", n=6, seed=3, temperature=0.5),
            model.sample(6, seed=3, sampling_temperature=0.5),
        )
        assert "method must be one of log_prob" in ask(address, frame, method="weights")
        assert "x has no column 'depth', only position" in ask(address, frame[["position"]])
        assert "x has no columns 'depth', 'position'" in ask(address, {"inputs": x.tolist()})
        for n in (0, -1, 10**9):
            assert "number of samples n is 1 to 2,500,000" in ask(
                address, {"dataframe_records": []}, method="sample", n=n
            )
        told = ask(address, {"dataframe_records": []}, method="describe")
        assert told["columns"] == ["depth", "position"] and told["latents"] == 2


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


def test_numbers_that_json_does_not_know_are_null(tmp_path, store):
    """Outside the bounds log p is -inf, and without a value it is NaN."""
    flow = fm.realnvp(2, depth=2, hidden=(8,), lower=[0.0, None], upper=[1.0, None])
    model = moved(fm.Model(flow, codecs={"x": ["depth", "position"]}, jit=False))
    x = [[0.5, 0.1], [-1.0, 0.1], [None, 0.1]]
    rows = [{"position": position, "depth": depth} for depth, position in x]
    with scoring_server(registered(model, "bounded", tmp_path, store), store) as address:
        found = ask(address, {"dataframe_records": rows})
        near(found[0], model.log_prob([[0.5, 0.1]])[0])
        assert found[1] is None and found[2] is None


def test_classes(tmp_path, store):
    model, x = of_classes(), RNG.normal(size=(5, 2)).astype("f")
    frame = named(x, ["length", "width"])
    with scoring_server(registered(model, "classes", tmp_path, store), store) as address:
        shares = ask(address, frame, method="classify")
        near(shares, model.classify(x))
        near(shares.sum(1), 1.0)
        near(ask(address, frame), model.log_prob(x))
        near(ask(address, frame, label="b"), model.log_prob(x, "b"))
        near(ask(address, frame, method="encode", label="b"), model.encode(x, "b"))
        nothing = {"dataframe_records": []}
        near(ask(address, nothing, method="sample", n=4, seed=2), model.sample(4, seed=2))
        near(ask(address, nothing, method="sample", n=4, label="c"), model.sample(4, "c"))
        assert ask(address, nothing, method="describe")["classes"] == ["a", "b", "c"]
        assert "no class 'd'" in ask(address, frame, label="d")
        assert "method must be one of" in ask(address, frame, method="posterior")


def test_posteriors(tmp_path, store):
    model, y = of_posteriors(), RNG.normal(size=(2, 2)).astype("f")
    names = list(model.codecs["y"].columns)
    frame = named(y, names)
    with scoring_server(registered(model, "posteriors", tmp_path, store), store) as address:
        drawn = ask(address, frame, method="posterior", n=5, seed=4)
        assert drawn.shape == (2, 5, 3)
        near(drawn, model.posterior(y, 5, seed=4))
        near(ask(address, frame, n=5, seed=4), drawn)
        near(ask(address, frame, method="anomaly_score"), model.anomaly_score(y))
        x = model.posterior(y, 1)[:, 0]
        both = pd.concat([frame, named(x, model.columns)], axis=1)
        near(ask(address, both, method="log_prob"), model.log_prob(x, y), 1e-4)
        predicted = ask(address, named(x, model.columns), method="predict", n=3, seed=1)
        near(predicted, model.predict(x, 3, seed=1))
        assert "number of samples" in ask(address, frame, method="posterior", n=0)
        assert "method must be one of" in ask(address, frame, method="classify")
        assert f"y has no column '{names[0]}'" in ask(address, frame[[names[1]]])


def test_columns_of_several_kinds(tmp_path, store):
    """Texts come and go as texts, dates as dates."""
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 400), "D")
    table = pd.DataFrame({"size": rng.normal(size=400), "site": rng.choice(["a", "b"], 400)})
    table["when"] = days
    columns = fm.Columns.of(table)
    model = fm.Model(fm.realnvp(3, depth=2, hidden=(8,)), codecs={"x": columns}, jit=False)
    settings = fm.FitSettings(steps=10, batch_size=100, jit=False)
    fm.fit(model, table, settings=settings, progress=False)
    asked = table[:3].assign(when=table["when"][:3].dt.strftime("%Y-%m-%d"))[
        ["when", "site", "size"]
    ]
    with scoring_server(registered(model, "kinds", tmp_path, store), store) as address:
        near(ask(address, asked), model.log_prob(table[:3]), 1e-4)
        (drawn,) = ask(address, {"dataframe_records": []}, method="sample", n=1, seed=5)
        assert list(drawn) == list(table.columns) and drawn["site"] in ("a", "b")
        assert drawn["when"].startswith("202")


def test_the_package_goes_with_the_model(tmp_path, store):
    """A server has no sources beside it: the package is among the files of the model."""
    registered(of_points(), "alone", tmp_path, store)
    (folder,) = Path(store.removeprefix("sqlite:///")).parent.glob(
        "mlartifacts/alone/models/*/artifacts"
    )
    copied = folder / "code" / PACKAGE.name / "models" / "model.py"
    assert copied.read_bytes() == (PACKAGE / "models" / "model.py").read_bytes()
