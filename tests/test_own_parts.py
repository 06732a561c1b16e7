"""A user's own layers and architecture, in their own file: trained, saved, loaded elsewhere."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flow_models as fm
from flow_models.bijectors.layer import leaves

OWN = '''
"""Layers and an architecture that flow_models knows nothing of."""

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

import flow_models as fm
from flow_models.bijectors import Chain, Coupling, FromTFP, Layer, Repeat, Standardise


@dataclasses.dataclass(frozen=True)
class Bend(Layer):
    """y = asinh(x exp(s)) exp(-s), with its log-determinant."""

    size: int

    def init(self, rng):
        return {"s": 0.1 * rng.normal(size=self.size).astype("f")}

    def forward_and_log_det(self, weights, x, condition=None):
        stretched = x * tf.exp(weights["s"])
        log_slopes = -0.5 * tf.math.log1p(stretched**2)
        return tf.asinh(stretched) * tf.exp(-weights["s"]), tf.reduce_sum(log_slopes, 1)

    def inverse_and_log_det(self, weights, y, condition=None):
        x = tf.sinh(y * tf.exp(weights["s"])) * tf.exp(-weights["s"])
        return x, -self.forward_and_log_det(weights, x)[1]


@dataclasses.dataclass(frozen=True)
class Mix(Layer):
    """y = x M + b, without a log-determinant."""

    size: int

    def init(self, rng):
        return {"m": np.eye(self.size, dtype="f"), "b": np.zeros(self.size, "f")}

    def forward(self, weights, x, condition=None):
        return x @ weights["m"] + weights["b"]

    def inverse(self, weights, y, condition=None):
        return (y - weights["b"]) @ tf.linalg.inv(weights["m"])


def skewed(skewness) -> tfb.Bijector:
    return tfb.Invert(tfb.SinhArcsinh(skewness))


def own_flow(size, depth, seed=0):
    steps = Chain([Mix(size), Bend(size), Coupling(size, hidden=(8,), activation="silu")])
    skew = FromTFP(skewed, trained={"skewness": np.zeros(size)})
    return fm.FlowBijector(Chain([Standardise(size), skew, Repeat(steps, depth, 1)]), seed)


def trained(x, jit=True):
    model = fm.Model(own_flow(x.shape[1], depth=2), jit=jit)
    settings = fm.FitSettings(steps=20, batch_size=64, learning_rate=1e-2, jit=jit)
    fm.fit(model, x, settings=settings)
    return model


if __name__ == "__main__":
    import sys

    rows, folder, log_prob = sys.argv[1:]
    model = trained(np.load(rows), jit=False)
    model.save(folder)
    np.save(log_prob, model.log_prob(np.load(rows)))
'''
LOADER = """
import sys, numpy as np, flow_models as fm
try:
    model = fm.load(sys.argv[2], jit=len(sys.argv) > 4)
    np.save(sys.argv[3], model.log_prob(np.load(sys.argv[1])))
except fm.UserError as error:
    print(error)
"""


@pytest.fixture
def place(tmp_path):
    """A folder with the user's file and rows of data."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own_flows.py").write_text(OWN)
    rows = np.random.default_rng(0).normal(size=(256, 3)).astype("f")
    np.save(
        tmp_path / "rows.npy", np.stack([rows[:, 0], rows[:, 0] + rows[:, 1], rows[:, 2] ** 3], 1)
    )
    return tmp_path


def python(place, *arguments, knows: bool = True):
    """Runs Python in a folder that has nothing to do with the user's file."""
    path = [Path(fm.__file__).parents[1], *([place / "own"] if knows else [])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=True, timeout=200
    ).stdout


def test_own_layers_train_and_load_in_a_new_process(place, monkeypatch):
    monkeypatch.syspath_prepend(place / "own")
    own, x = importlib.import_module("own_flows"), np.load(place / "rows.npy")
    new, model = fm.Model(own.own_flow(3, depth=2)), own.trained(x)
    before = leaves(new.weights)
    for name, variable in leaves(model.weights).items():
        assert (variable.numpy() != before[name].numpy()).all(), name
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=1e-3)
    model.save(str(place / "model"))
    arguments = ["-c", LOADER, place / "rows.npy", place / "model", place / "again.npy", "jit"]
    assert "module 'own_flows', which cannot be imported" in python(place, *arguments, knows=False)
    assert python(place, *arguments) == ""
    np.testing.assert_array_equal(np.load(place / "again.npy"), model.log_prob(x))


@pytest.mark.slow
def test_layers_of_the_script_that_trains_load_in_a_new_process(place):
    results = [place / name for name in ("rows.npy", "model", "here.npy")]
    python(place, place / "own" / "own_flows.py", *results, knows=False)
    python(place, "-c", LOADER, *results[:2], place / "again.npy")
    np.testing.assert_array_equal(np.load(place / "again.npy"), np.load(place / "here.npy"))
