"""Rows in compiled tiles: the same bits on any number of cores, in place, and nothing else."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.core import tiling
from flow_models.core.tiling import FixedShapeBatches
from flow_models.models.pixels import Pixels

SHAPES = ((1, 4), (1, 16), (4, 16))


def function(weights, x, y):
    """Row by row, but for the mean over a tile, which shows with whom a row shares it."""
    z = tf.tanh(x @ weights) * y
    return z, {"sum": tf.reduce_sum(z, -1), "mean": 0 * y[:, 0] + tf.reduce_mean(x)}


@pytest.fixture(scope="module")
def batches():
    return FixedShapeBatches(function, SHAPES)


def rows(n):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, 3)).astype("f"), rng.normal(size=(n, 2)).astype("f")


def whole(weights, n):
    """What each tile must give: the rows in order, the last one filled up from the first row on of
    what one loop holds."""
    x, y = rows(n)
    means = np.zeros(n, "f")
    for begin in range(0, n, 64):
        piece = x[begin : begin + 64]
        height = next(t * h for t, h in SHAPES if len(piece) <= t * h)
        height = min(height, 16)
        for first in range(0, len(piece), height):
            tile = piece[first : first + height]
            filled = [tile, np.resize(piece, (height - len(tile), 3))]
            means[begin + first : begin + first + height] = np.concatenate(filled).mean()
    z = np.tanh(x @ weights) * y
    return z, z.sum(-1), means


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_any_number_of_rows_on_any_number_of_cores(batches, cores, monkeypatch):
    monkeypatch.setattr(tiling, "cores", lambda: cores)
    weights = np.random.default_rng(0).normal(size=(3, 2)).astype("f")
    for n in (0, 1, 4, 5, 17, 33, 64, 65, 130, 300):
        z, found = batches(tf.constant(weights), *rows(n))
        for value, wanted in zip((z, found["sum"], found["mean"]), whole(weights, n), strict=True):
            assert value.dtype == np.float32 and value.shape == wanted.shape
            np.testing.assert_allclose(value, wanted, atol=1e-5)


def test_bits_do_not_depend_on_the_cores_nor_on_the_loop(batches, monkeypatch):
    weights, given = tf.ones([3, 2]), rows(300)
    found = []
    for cores, loop in ((1, 2**22), (3, 2**22), (1, 1), (3, 1)):
        monkeypatch.setattr(tiling, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(tiling, "LOOP_BYTES", loop)
        found.append(batches(weights, *given)[0])
    assert all(np.array_equal(each, found[0]) for each in found)


def test_what_then_leaves_out_is_not_returned(batches, monkeypatch):
    monkeypatch.setattr(tiling, "cores", lambda: 3)
    weights, (x, y) = tf.ones([3, 2]), rows(200)
    seen = np.zeros(200, int)

    def then(result, some):
        seen[some] += 1
        return result[0][:, 0] + x[some, 0]

    found = batches(weights, x, y, then=then)
    assert (seen == 1).all()
    np.testing.assert_array_equal(found, batches(weights, x, y)[0][:, 0] + x[:, 0])


def test_work_is_shared_by_threads_and_a_mistake_comes_out(monkeypatch):
    monkeypatch.setattr(tiling, "cores", lambda: 2)
    together, names = threading.Barrier(2, timeout=60), set()

    def work(item):
        together.wait()  # ends only where two run at a time
        names.add(threading.current_thread().name)
        inner = []
        tiling.on_all_cores(lambda _: inner.append(threading.current_thread().name), [1, 2, 3])
        assert set(inner) == {threading.current_thread().name}, "no threads of threads"

    tiling.on_all_cores(work, [1, 2, 3, 4])
    assert len(names) == 2
    with pytest.raises(ZeroDivisionError):
        tiling.on_all_cores(lambda item: 1 / item, [1, 0, 2])


def test_wide_rows_are_no_loop(monkeypatch):
    wide = FixedShapeBatches(lambda weights, x: x + weights, ((1, 4), (8, 16)))
    monkeypatch.setattr(tiling, "LOOP_BYTES", 8 * 16 * 4 * 10)
    for width, tiles in ((10, 8), (11, 1)):
        wide(tf.zeros([]), np.ones((40, width), "f"))
        assert list(wide._compiled)[-1][0][:2] == (tiles, 16)
    assert Pixels(28, 28, 1).tiles == ((1, 8), (1, 64)) and Pixels(8, 8, 1).tiles[1] == (16, 64)


def test_densities_are_those_of_latents_of_all_rows_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    model = fm.Model(fm.realnvp(2, depth=2, hidden=(8,)))
    for weight in model.bijector.variables:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    x = rng.normal(size=(40_000, 2)).astype("f")
    monkeypatch.setattr(tiling, "cores", lambda: 2)
    v, log_det = model.passes.forward(x)
    whole = model.partition.base_log_prob(tf.constant(v)).numpy() + log_det
    found = model.log_prob(x)
    np.testing.assert_array_equal(found, whole)
    monkeypatch.setattr(tiling, "cores", lambda: 1)
    np.testing.assert_array_equal(model.log_prob(x), found)
    np.testing.assert_array_equal(model.encode(x), v)
    np.testing.assert_allclose(model.decode(v), x, atol=1e-4)
