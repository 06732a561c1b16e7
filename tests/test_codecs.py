"""Codecs: what a block is to the user. One of a user's own, in a file of its own: trained, saved,
loaded elsewhere."""

import dataclasses
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors.layer import leaves
from flow_models.core.serializable import from_config, to_config
from flow_models.models.codecs import Codec

OWN = '''
"""A codec that flow_models knows nothing of."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.models.codecs import Codec, Encoded


@dataclasses.dataclass(frozen=True)
class Logs(Codec):
    """Numbers above an origin, which the network sees as logarithms of what they exceed it by."""

    names: tuple[str, ...]
    origin: np.ndarray | None = None

    def __post_init__(self):
        """The origin stays an array: it is saved beside the description."""

    @property
    def shape(self):
        return (len(self.names),)

    columns = property(lambda self: tuple(self.names))

    def encode(self, values, dtype, seed=0):
        values = np.asarray(values, dtype)
        with np.errstate(invalid="ignore", divide="ignore"):
            rows = np.log(values.reshape(-1, *self.shape) - self.origin).astype(dtype)
        rows = np.where(np.isneginf(rows), np.nan, rows)
        return Encoded(rows, values.shape[:-1], -rows.sum(1))

    def decode(self, rows):
        return self.origin + np.exp(rows)

    def draw(self, values, dtype, seed):
        return tf.math.log(tf.cast(values, dtype) - tf.constant(self.origin, dtype))

    def arrays(self):
        return {"origin": self.origin}

    def with_arrays(self, arrays):
        return dataclasses.replace(self, **arrays)
'''
LOADER = """
import sys, numpy as np, flow_models as fm
try:
    model = fm.load(sys.argv[1], jit=False)
    log_prob = model.log_prob(np.load(sys.argv[2]))
    np.save(sys.argv[3], np.concatenate([log_prob, model.sample(10, seed=1).ravel()]))
except fm.UserError as error:
    print(error)
"""
ORIGIN = np.array([1.0, -2.0], "f")
SETTINGS = fm.FitSettings(steps=100, batch_size=100, eval_every_steps=50, jit=False)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The module of the user's codec."""
    (tmp_path / "own_codec.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_codec", None)
    return importlib.import_module("own_codec")


def data(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    logs = np.stack([rng.normal(size=n), 0.3 * rng.normal(size=n)], 1)
    logs[:, 1] += 0.5 * logs[:, 0] ** 2
    return (ORIGIN + np.exp(logs)).astype("f")


def untrained(**codecs):
    return fm.Model(fm.realnvp(2, depth=2, hidden=(8,)), codecs=codecs or None, jit=False)


def test_a_codec_of_ones_own_trains_as_its_rows_do(own):
    """With the log-determinant that `encode` gives, the density is in the user's units."""
    model, plain, x = untrained(x=own.Logs(("a", "b"), ORIGIN)), untrained(), data()
    before = {name: v.numpy() for name, v in leaves(model.weights).items() if v.trainable}
    result = fm.fit(model, x, data(seed=1), SETTINGS)
    logs = [np.log(each - ORIGIN) for each in (x, data(seed=1))]
    expected = fm.fit(plain, *logs, SETTINGS).history
    np.testing.assert_allclose(
        result.history["val_objective"], expected["val_objective"], atol=1e-3
    )
    for name, variable in leaves(model.weights).items():
        assert not variable.trainable or (variable.numpy() != before[name]).any(), name
    by_hand = plain.log_prob(logs[1]) - logs[1].sum(1)
    np.testing.assert_allclose(model.log_prob(data(seed=1)), by_hand, atol=1e-2)
    np.testing.assert_allclose(model.decode(model.encode(x)), x, rtol=1e-3)
    draws = model.sample(2000)
    assert (draws > ORIGIN).all() and model.columns == ["a", "b"]
    np.testing.assert_allclose(np.log(draws - ORIGIN).mean(0), logs[0].mean(0), atol=0.15)


def test_values_that_a_codec_has_no_place_for_have_no_density_and_nan_stays_nan(own):
    model = untrained(x=own.Logs(("a", "b"), ORIGIN))
    log_prob = model.log_prob([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [np.nan, 0.0]])
    assert np.isneginf(log_prob[:2]).all() and np.isfinite(log_prob[2]) and np.isnan(log_prob[3])


def test_densities_of_classes_are_in_the_units_of_the_users_codec(own):
    def mixture(**codecs):
        flow = fm.architectures.class_mixture(fm.realnvp(2, depth=2, hidden=(8,)), 2, 3)
        labels = fm.Labels(("a", "b", "c"), (0.2, 0.3, 0.5))
        partition = fm.Partition({"x": 2}, {"z": 2}, given={"y": 3})
        model = fm.Model(flow, partition, {"y": labels, **codecs}, jit=False)
        rng = np.random.default_rng(0)
        for variable in leaves(model.weights).values():
            variable.assign_add(0.3 * rng.normal(size=variable.shape).astype("f"))
        return model

    model, plain, x = mixture(x=own.Logs(("a", "b"), ORIGIN)), mixture(), data(50)
    logs = np.log(x - ORIGIN)
    by_hand = plain.class_log_prob(logs) - logs.sum(1, keepdims=True)
    np.testing.assert_allclose(model.class_log_prob(x), by_hand, rtol=1e-4, atol=1e-4)
    assert model.class_log_prob(x).dtype == np.float32
    np.testing.assert_allclose(model.classify(x), plain.classify(logs), atol=1e-4)
    np.testing.assert_allclose(
        model.log_prob(x), plain.log_prob(logs) - logs.sum(1), rtol=1e-4, atol=1e-4
    )
    found = model.class_log_prob([[0.0, 0.0], [np.nan, 0.0]])
    assert np.isneginf(found[0]).all() and np.isnan(found[1]).all()


def python(folder, *arguments, path=()):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, [Path(fm.__file__).parents[1], *path]))
    }
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        check=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    ).stdout


def test_a_codec_of_ones_own_loads_in_a_new_process(own, tmp_path):
    model, x = untrained(x=own.Logs(("a", "b"), ORIGIN)), data(100)
    fm.fit(model, x, settings=dataclasses.replace(SETTINGS, steps=5))
    model.save(str(tmp_path / "model"))
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "elsewhere").mkdir()
    command = ["-c", LOADER, *[tmp_path / name for name in ("model", "x.npy", "out.npy")]]
    lost = python(tmp_path / "elsewhere", *command)
    assert "Logs of the module 'own_codec', which cannot be imported" in lost
    assert lost.count("\n") == 1
    assert python(tmp_path / "elsewhere", *command, path=[tmp_path]) == ""
    expected = np.concatenate([model.log_prob(x), model.sample(10, seed=1).ravel()])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


@dataclasses.dataclass(frozen=True)
class Half(Codec):
    """Has a shape, and nothing else."""

    shape = (2,)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: untrained(x=Codec()), "Codec must define the property shape"),
        (lambda: untrained(x=Half()).log_prob(data(3)), "Half must define the method encode"),
        (lambda: fm.fit(untrained(x=Half()), data()), "Half must define the method draw"),
    ],
)
def test_an_incomplete_codec_says_what_it_lacks(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    "codec",
    [
        fm.Columns(["depth_km", "rate"]),
        fm.Columns(["a"], "y"),
        fm.Noise(3),
        fm.Pixels(4, 6, 3, bits=5, multiple=4),
        fm.Labels(["a", "b"], np.array([0.25, 0.75]), calibration_temperature=2.0, mirrored=True),
    ],
)
def test_codecs_survive_json(codec):
    import json

    again = from_config(json.loads(json.dumps(to_config(codec))))
    assert again == codec and (again.shape, again.columns) == (codec.shape, codec.columns)


def test_rows_of_a_training_step_are_those_of_a_call():
    """But for the noise of pixels, which is another one in every step."""
    x = np.random.default_rng(0).normal(size=(5, 2))
    codec = fm.Columns(["a", "b"])
    drawn = codec.draw(tf.constant(x), tf.float32, (0, 0))
    np.testing.assert_array_equal(drawn, codec.encode(x, np.float32).rows)


def test_noise_is_standard_normal_and_its_draws_know_their_density():
    rows = fm.Noise(4).encode(5000, np.float32, seed=3).rows
    assert rows.shape == (5000, 4) and abs(rows.mean()) < 0.03 and abs(rows.std() - 1) < 0.03
    np.testing.assert_array_equal(rows, fm.Noise(4).encode(5000, np.float32, seed=3).rows)
    draws = fm.Noise(4).draws(64, np.float32)
    points = np.array([point for point, _ in draws])
    log_density = -0.5 * np.square(points).sum(1) - 2 * np.log(2 * np.pi)
    np.testing.assert_allclose([each for _, each in draws], log_density, rtol=1e-5)
    assert len(draws) == 64 and np.abs(points.mean(0)).max() < 0.05
