"""Posteriors of series and images, which convolutions or attention summarise."""

import json

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors.layer import leaves, make_variables
from flow_models.bijectors.summaries import Attention, Convolutions
from flow_models.core.errors import UserError
from flow_models.core.serializable import from_config, to_config

NETWORKS = {
    "series": Convolutions((11,), 2, 3, channels=4, hidden=(5,)),
    "short": Convolutions((3,), 2, 3, channels=4),
    "image": Convolutions((5, 9), 1, 3, channels=4),
    "attention": Attention(6, 2, 3, hidden=(8,), heads=2),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_summaries_have_their_width_and_all_weights_learn(network):
    assert from_config(json.loads(json.dumps(to_config(network)))) == network
    rng = np.random.default_rng(0)
    weights = make_variables(network.init(rng), tf.float32)
    x = rng.normal(size=(7, network.places, network.columns + 1)).astype("f")
    x[..., -1] = 1
    x = tf.constant(x.reshape(7, -1))
    with tf.GradientTape() as tape:
        summary = network(weights, x)
        loss = tf.reduce_sum(summary**2)
    assert summary.shape == (7, network.width)
    assert 0.05 < np.std(summary) < 20
    for gradient in tape.gradient(loss, list(leaves(weights).values())):
        assert np.abs(np.asarray(gradient)).max() > 0
    compiled = tf.function(network, jit_compile=True)(weights, x)
    np.testing.assert_allclose(compiled, summary, atol=1e-4)


def waves(rng, n, places=24):
    """Frequencies of sines [n, 1] whose phases are not known, and their series [n, T, 1]."""
    x = rng.uniform(1, 4, (n, 1))
    phase = rng.uniform(0, 2 * np.pi, (n, 1))
    y = np.sin(x * np.linspace(0, 2 * np.pi, places) + phase) + 0.1 * rng.normal(size=(n, places))
    return x, y[..., None]


@pytest.fixture(scope="module")
def of_waves():
    x, y = waves(np.random.default_rng(1), 3000)
    y[:100, 18:] = np.nan  # some are shorter
    settings = fm.FitSettings(steps=150, batch_size=128, learning_rate=8e-3)
    small = {"hidden": (16,), "depth": 1, "bins": 4, "settings": settings}
    return fm.fit_posterior(x, y, ["frequency"], data_form="series", **small)


def test_a_series_tells_its_frequency_where_no_average_does(of_waves, tmp_path):
    x, y = waves(np.random.default_rng(2), 200)
    drawn = of_waves.posterior(y, 50)[..., 0]
    assert np.abs(drawn.mean(1) - x[:, 0]).mean() < 0.1  # 0.75 of the prior, 0.71 by a deep set
    assert of_waves.posterior(y[0, :18], 3).shape == (3, 1)
    of_waves.save(str(tmp_path))
    again = fm.load(str(tmp_path))
    np.testing.assert_array_equal(again.posterior(y[0], 5), of_waves.posterior(y[0], 5))


def test_places_in_another_order_are_another_series(of_waves):
    _, y = waves(np.random.default_rng(2), 1)
    turned = of_waves.log_prob(np.array([2.0]), y[0, ::-1])
    assert abs(turned - of_waves.log_prob(np.array([2.0]), np.roll(y[0], 5, 0))) > 1e-3


@pytest.mark.parametrize("form", [None, "attention"])
def test_images_are_data(form):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 1))
    y = x[:, :, None, None] + rng.normal(size=(300, 5, 6, 1))
    settings = fm.FitSettings(steps=2, batch_size=64, jit=False)
    small = {"hidden": (8,), "depth": 1, "bins": 4, "settings": settings}
    model = fm.fit_posterior(x, y, data_form=form, **small)
    assert model.posterior(y[:2], 3).shape == (2, 3, 1)
    assert np.isfinite(model.log_prob(x[:2], y[:2])).all()
    with pytest.raises(UserError, match=r"y must have shape \['...', 5, 6, 1\]"):
        model.posterior(y[0, :4], 3)


@pytest.mark.parametrize(
    "shape, form, message",
    [
        ((300, 4), "series", "of y \\[N, T, M\\]"),
        ((300, 4, 1), "sets", "must be trials, series or attention"),
        ((300, 4, 4, 1), "trials", "must be series or attention"),
    ],
)
def test_forms_that_do_not_fit_are_refused(shape, form, message):
    rng = np.random.default_rng(4)
    with pytest.raises(UserError, match=message):
        fm.fit_posterior(rng.normal(size=(300, 1)), rng.normal(size=shape), data_form=form)
