"""Columns of data that repeat one another: found, and told to the network by their moments."""

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors.repeats import LEAST, moments, repeated_columns, width


def draws(rng, n, trials):
    """Draws of a Gaussian [N, T, 2] whose mean, spreads and correlation are the parameters."""
    x = rng.uniform(-3, 3, (n, 5))
    e = rng.normal(size=(n, trials, 2))
    rho = np.tanh(x[:, 4:])
    second = rho * e[..., 0] + np.sqrt(1 - rho**2) * e[..., 1]
    e = np.stack([e[..., 0], second], -1)
    return x, x[:, None, :2] + x[:, None, 2:4] ** 2 * e


@pytest.mark.parametrize("n", [300, 5000])
def test_draws_of_one_distribution_are_found_in_any_order(n):
    x, y = draws(np.random.default_rng(0), n, 4)
    assert repeated_columns(x, y.reshape(n, 8)) == ((0, 2, 4, 6), (1, 3, 5, 7))
    beside = np.concatenate([x[:, :1], y.transpose(0, 2, 1).reshape(n, 8)], 1)
    assert repeated_columns(x, beside) == ((1, 2, 3, 4), (5, 6, 7, 8))


def others(rng, n):
    """Data whose columns have one distribution each, and do not repeat one another."""
    x = rng.uniform(-1, 1, (n, 8))
    times = np.linspace(0, 1, 8)
    noise = rng.normal(size=(n, 8))
    walk = np.cumsum(noise * np.exp(x[:, :1]), 1)
    slow = noise.copy()
    for t in range(1, 8):
        slow[:, t] = 0.8 * slow[:, t - 1] + 0.6 * noise[:, t]
    return x, {
        "each of a parameter of its own": x + 0.5 * noise,
        "a series": np.exp(-x[:, :1] * times) * np.sin(6 * x[:, 1:2] * times) + 0.1 * noise,
        "a random walk": walk,
        "a stationary series": slow * np.exp(x[:, :1]),
        "two": x[:, :1] + noise[:, :2],
    }


def test_other_columns_are_not_taken_for_repeats():
    x, data = others(np.random.default_rng(1), 5000)
    assert {name: repeated_columns(x, y) for name, y in data.items()} == dict.fromkeys(data, ())


def test_moments_are_those_of_numpy_and_of_trials_that_are_there():
    y = np.random.default_rng(2).normal(size=(3, 5, 2)) * [[[1e-6, 1.0]], [[1, 10]], [[1e9, 1]]]
    found = moments(tf.constant(y)).numpy()
    assert found.shape == (3, width(2))
    np.testing.assert_allclose(found[:, :2], y.mean(1))
    np.testing.assert_allclose(found[:, 2:4], np.log(y.std(1)), atol=1e-6)
    np.testing.assert_allclose(found[:, 4], [np.corrcoef(each.T)[0, 1] for each in y], atol=1e-6)
    there = np.array([1.0, 0, 1, 1, 0])[None, :, None] + np.zeros((3, 1, 1))
    some = moments(tf.constant(np.where(there, y, 7e9)), tf.constant(there)).numpy()
    np.testing.assert_allclose(some, moments(tf.constant(y[:, [0, 2, 3]])).numpy(), atol=1e-6)


def test_trials_that_are_equal_or_alone_have_finite_moments():
    equal = moments(tf.fill([1, 4, 2], 3.0)).numpy()
    np.testing.assert_allclose(equal, [[3, 3, *[np.log(3 * LEAST)] * 2, 0]], atol=1e-5)
    alone = moments(tf.fill([1, 4, 1], 3.0), tf.constant([[[0.0], [1], [0], [0]]])).numpy()
    np.testing.assert_array_equal(alone, [[3, 0]])


def test_a_posterior_says_what_repeats_and_learns_a_narrow_one(capsys, tmp_path):
    rng = np.random.default_rng(3)
    x = np.stack([rng.normal(size=2000), rng.uniform(-5, 0, 2000)], 1)
    y = x[:, :1] + np.exp(x[:, 1:]) * rng.normal(size=(2000, 6))
    settings = fm.FitSettings(steps=150, batch_size=128, learning_rate=1e-2, jit=False)
    small = {"hidden": (16,), "depth": 1, "bins": 4, "settings": settings}
    model = fm.fit_posterior(x, y, ["mean", "log_sd"], **small)
    assert "repeat one another: y1, y2, y3, y4, y5, y6." in capsys.readouterr().err
    observed = 0.7 + np.exp(-4) * np.array([-1.2, -0.7, 0.1, 0.3, 0.6, 0.9])
    drawn = model.posterior(observed, 2000)
    assert drawn[:, 1].mean() == pytest.approx(-4, abs=0.4)
    assert np.abs(drawn[:, 0] - 0.7).mean() < 0.15
    model.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    np.testing.assert_array_equal(again.posterior(observed, 5), model.posterior(observed, 5))
