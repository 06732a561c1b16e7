"""Families of flows after a short training: the density has mass one, samples come back, and saving
keeps it."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors import Planar, Sylvester
from flow_models.bijectors.planar import tanh_root
from flow_models.diagnostics import normality

SHORT = fm.FitSettings(steps=400, batch_size=256, learning_rate=1e-2, warmup_steps=20, ema=0.98)
MOONS = {  # options, most of a Gaussian's distance from the truth
    "planar": ({"depth": 24}, 0.4),
    "radial": ({"depth": 24}, 0.95),
    "sylvester": ({"depth": 12}, 0.4),
}
LOOP = {"layers_per_loop_body": 1}


@pytest.fixture(scope="module", params=MOONS)
def trained(request):
    """A model of the moons, trained for seconds, the truth, and what it has to reach."""
    options, most = MOONS[request.param]
    moons = fm.data.points.get("moons")
    model = fm.Model(fm.architectures.build(request.param, 2, **{**LOOP, **options}))
    fm.fit(model, moons.draw, settings=SHORT)
    return model, moons, most


def test_the_density_is_near_the_truth_and_has_mass_one(trained):
    model, moons, most = trained
    x = moons.draw(4000, (3, 0)).numpy()
    gap, _ = normality.kl_to_truth(model.log_prob(x), moons.log_prob(x))
    gaussian = scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x)
    assert gap < most * normality.kl_to_truth(gaussian, moons.log_prob(x))[0]
    side = np.linspace(-6, 6, 801)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2).astype("f")
    mass = np.exp(model.log_prob(grid).astype(float)).sum() * (side[1] - side[0]) ** 2
    assert abs(mass - 1) < 2e-3


def test_latents_come_back_and_a_saved_model_is_the_same(trained, tmp_path):
    model, moons, _ = trained
    x = moons.draw(500, (4, 0)).numpy()
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=2e-3)
    model.save(tmp_path / "model")
    again = fm.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.log_prob(x), model.log_prob(x))


def test_steep_ridges_are_inverted_in_float32():
    p = tf.constant([[-0.999], [-0.9], [30.0], [1e4]])
    s = tf.constant([[-50.0, -1e-3, 0.0, 0.2, 3.0, 1e5]])
    t = tanh_root(*(tf.broadcast_to(each, [4, 6]) for each in (p, s)))
    np.testing.assert_allclose(t + p * tf.tanh(t), s + 0 * p, rtol=1e-6, atol=2e-3)
    for layer in (Planar(2), Sylvester(2)):
        weights = {k: tf.constant(w) for k, w in layer.init(np.random.default_rng(0)).items()}
        if isinstance(layer, Planar):
            weights = {
                "w": tf.constant([1.0, -1.0]),
                "u": tf.constant([-5.0, 5.0]),
                "b": tf.zeros(1),
            }
        else:
            weights |= {"product": tf.fill([2], -9.0), "log_s": tf.ones(2), "b": tf.zeros(2)}
        x = tf.random.stateless_normal([1000, 2], (0, 1))
        y, log_det = layer.forward_and_log_det(weights, x)
        back, opposite = layer.inverse_and_log_det(weights, y)
        assert np.isfinite(log_det).all() and np.min(log_det) < -3, "nearly flat somewhere"
        np.testing.assert_allclose(layer.forward_and_log_det(weights, back)[0], y, atol=1e-4)
        assert np.isfinite(opposite).all()
