"""Families of flows after a short training: the density has mass one, samples come back, and saving
keeps it."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import flow_models as fm
from flow_models.architectures import ARCHITECTURES, images, known_options
from flow_models.bijectors import (
    BatchNorm,
    Chain,
    CircularCoupling,
    DeepSigmoid,
    EmergingConv,
    FlowBijector,
    Hyperbolic,
    Inverse,
    LeakyReLU,
    LULinear,
    MonotonicIntegral,
    OnTorus,
    PeriodicConv,
    Planar,
    Radial,
    RecursiveCoupling,
    Repeat,
    Reversible,
    Sylvester,
)
from flow_models.bijectors.argmax import Argmax
from flow_models.bijectors.layer import leaves, make_variables
from flow_models.bijectors.planar import tanh_root
from flow_models.bijectors.sliced import Slice
from flow_models.core.serializable import from_config, to_config
from flow_models.diagnostics import normality

SHORT = fm.FitSettings(steps=400, batch_size=256, learning_rate=1e-2, warmup_steps=20, ema=0.98)
MOONS = {  # options, most of a Gaussian's distance from the truth
    "planar": ({"depth": 24}, 0.4),
    "radial": ({"depth": 24}, 0.95),
    "sylvester": ({"depth": 12}, 0.4),
    "naf": ({"hidden": (32, 32)}, 0.2),
    "umnn": ({"hidden": (32, 32), "units": 6}, 0.4),
    "realnvp_batch_norm": ({"depth": 6, "hidden": (32, 32)}, 0.45),
    "hint": ({"depth": 4, "hidden": (32, 32)}, 0.7),
    "hyperbolic": ({"depth": 8, "hidden": (32,)}, 0.8),
    "irim": ({"depth": 8, "hidden": (32, 32)}, 0.5),
    "sliced": ({"depth": 6, "hidden": (32, 32)}, 0.5),
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


@pytest.mark.slow
def test_the_density_is_near_the_truth_and_has_mass_one(trained):
    model, moons, most = trained
    x = moons.draw(4000, (3, 0)).numpy()
    gap, _ = normality.kl_to_truth(model.log_prob(x), moons.log_prob(x))
    gaussian = scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x)
    assert gap < most * normality.kl_to_truth(gaussian, moons.log_prob(x))[0]
    side = np.linspace(-6, 6, 401)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2).astype("f")
    mass = np.exp(model.log_prob(grid).astype(float)).sum() * (side[1] - side[0]) ** 2
    assert abs(mass - 1) < 2e-3


@pytest.mark.slow
def test_latents_come_back_and_a_saved_model_is_the_same(trained, tmp_path):
    model, moons, _ = trained
    x = moons.draw(500, (4, 0)).numpy()
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=2e-3)
    model.save(tmp_path / "model")
    again = fm.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.log_prob(x), model.log_prob(x))


@pytest.mark.parametrize("recipes", [ARCHITECTURES, images.ARCHITECTURES], ids=["rows", "images"])
def test_every_architecture_is_described_by_what_is_saved(recipes):
    size = 4 if recipes is ARCHITECTURES else (4, 4, 2)
    for name, recipe in recipes.items():
        options = {"depth": 1, "hidden": (4,), "levels": 1, "heads": 1}
        layer = recipe(size, **known_options(options, recipe)).layer
        assert from_config(json.loads(json.dumps(to_config(layer)))) == layer, name


@pytest.mark.parametrize("layer", [Planar(2), Sylvester(2)], ids=["planar", "sylvester"])
@pytest.mark.slow
def test_the_inverse_is_a_variational_posterior(layer):
    """In the direction of the papers: draws need no search. The target is a normalised banana."""
    flow = FlowBijector(Inverse(Repeat(layer, 8, 1)))

    def log_density(x):
        bent = x[:, 1] - 0.5 * x[:, 0] ** 2
        return -0.5 * (x[:, 0] ** 2 + 4 * bent**2) + np.log(1 / np.pi)

    found = fm.fit_density(log_density, flow, SHORT, method="reverse_kl")
    draws = found.sample(4000, seed=1)
    assert abs(draws.log_z) < 0.05 and draws.ess_fraction > 0.8


def test_running_statistics_follow_the_batches_and_stay_at_evaluation():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(4000, 2)) * [1.0, 3.0] + [5.0, -2.0]).astype("f")
    model = fm.Model(FlowBijector(Chain([LULinear(2), BatchNorm(2)])))
    fm.fit(model, rows, settings=fm.FitSettings(steps=1, batch_size=250, jit=False))
    for name in ("mean", "log_sd"):
        model.weights[1][name].assign_add([0.5, -0.5])
    fm.fit(model, rows, settings=SHORT)
    seen = model.layer.layers[0].forward_and_log_det(model.weights[0], tf.constant(rows))[0]
    np.testing.assert_allclose(model.weights[1]["mean"], np.mean(seen, 0), atol=0.1)
    np.testing.assert_allclose(model.weights[1]["log_sd"], np.log(np.std(seen, 0)), atol=0.05)
    before = model.weights[1]["mean"].numpy()
    np.testing.assert_allclose(model.log_prob(rows[:3]), model.log_prob(rows)[:3], rtol=1e-5)
    np.testing.assert_array_equal(model.weights[1]["mean"], before)
    np.testing.assert_allclose(model.decode(model.encode(rows)), rows, rtol=1e-5, atol=1e-5)


def test_steep_ridges_are_inverted_in_float32():
    p = tf.constant([[-0.999], [-0.9], [30.0], [1e4]])
    s = tf.constant([[-50.0, -1e-3, 0.0, 0.2, 3.0, 1e5]])
    t = tanh_root(*(tf.broadcast_to(each, [4, 6]) for each in (p, s)))
    np.testing.assert_allclose(t + p * tf.tanh(t), s + 0 * p, rtol=1e-6, atol=2e-3)
    for layer in (Planar(2), Radial(2), Sylvester(2)):
        weights = {k: tf.constant(w) for k, w in layer.init(np.random.default_rng(0)).items()}
        if isinstance(layer, Planar):
            weights = {
                "w": tf.constant([1.0, -1.0]),
                "u": tf.constant([-5.0, 5.0]),
                "b": tf.zeros(1),
            }
        elif isinstance(layer, Radial):
            weights |= {"log_alpha": tf.ones(1), "beta": tf.fill([1], -50.0)}
        else:
            weights |= {"product": tf.fill([2], -9.0), "log_s": tf.ones(2), "b": tf.zeros(2)}
        x = tf.random.stateless_normal([1000, 2], (0, 1))
        y, log_det = layer.forward_and_log_det(weights, x)
        back, opposite = layer.inverse_and_log_det(weights, y)
        assert np.isfinite(log_det).all() and np.min(log_det) < -3, "nearly flat somewhere"
        np.testing.assert_allclose(layer.forward_and_log_det(weights, back)[0], y, atol=1e-4)
        assert np.isfinite(opposite).all()


@pytest.mark.parametrize("step", [Hyperbolic(4, 8), RecursiveCoupling(4, hidden=(8,))])
def test_training_by_inversion_stores_nothing_for_each_layer(step):
    def lists(layer):
        """Tensors that grow with each round of the loop of forward, and of that of the gradient."""
        weights = make_variables(layer.init(np.random.default_rng(0)), tf.float32)
        variables = list(leaves(weights).values())

        def gradient(x):
            with tf.GradientTape() as tape:
                y, log_det = layer.forward_and_log_det(weights, x)
                target = tf.reduce_sum(y * y) - tf.reduce_sum(log_det)
            return tape.gradient(target, variables)

        run = tf.function(gradient, autograph=False)
        graph = run.get_concrete_function(tf.TensorSpec([32, 4])).graph
        loops = [op.outputs for op in graph.get_operations() if "While" in op.type]
        return [sum(out.dtype == tf.variant for out in outputs) for outputs in loops], variables

    plain = Repeat(step, 9, 1, "everything")
    assert lists(plain)[0][0] > 0, "states of each layer"
    found, variables = lists(Reversible(plain))
    assert found[0] == 0 and found[1] <= len(variables), "gradients of each layer's weights alone"


@pytest.mark.parametrize("units", [1, 3, 8])
def test_the_rule_of_the_integral_increases_whatever_its_parameters(units):
    """Its slope, which is the density, stays near the function that is integrated."""
    transform, rng = MonotonicIntegral(units, 3.0), np.random.default_rng(0)
    scale = rng.choice([0.3, 1.0, 3.0, 10.0, 100.0], (4000, 1, 1))
    o = tf.constant(scale * rng.normal(size=(4000, 1, transform.parameters)))
    x = tf.constant(rng.uniform(-3, 3, (4000, 16)))
    log_slope = transform.forward_and_log_det(o, x)[1]
    _, s, w, a, c = transform._integrand(o)
    log_g = s + tf.reduce_sum(w * tf.tanh(a * (x[..., None, None] / 3 - c)), -1)[..., 0]
    off = np.abs(log_slope - log_g)
    assert off.max() < 0.15 and np.median(off) < 1e-3


@pytest.mark.parametrize(
    "transform", [DeepSigmoid(8), MonotonicIntegral(8)], ids=["sum", "integral"]
)
def test_extreme_parameters_are_inverted_in_float32(transform):
    rng = np.random.default_rng(0)
    o = tf.constant(5 * rng.normal(size=(5000, 1, transform.parameters)).astype("f"))
    y = tf.constant(np.concatenate([rng.normal(size=4900), rng.normal(size=100) * 1e4])[:, None])
    y = tf.cast(y, tf.float32)
    x, log_slope = transform.inverse_and_log_det(o, y)
    assert np.isfinite(x).all() and np.isfinite(log_slope).all()
    again, opposite = transform.forward_and_log_det(o, x)
    np.testing.assert_allclose(opposite, -log_slope, atol=1e-4)
    # a rounding error of x, times the slope
    error = np.abs(again - y) / (1 + np.abs(y) + np.exp(opposite) * np.abs(x))
    assert error.max() < 1e-5


def test_the_layer_of_the_page_trains_and_is_loaded(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "doc" / "families.md").read_text()
    (tmp_path / "own_layer.py").write_text(re.findall(r"```python\n(.*?)```", page, re.S)[-1])
    monkeypatch.syspath_prepend(tmp_path)
    import own_layer

    rows = np.sinh(np.random.default_rng(0).normal(size=(2000, 2))).astype("f")
    fm.fit(own_layer.model, rows, settings=fm.FitSettings(steps=60, batch_size=200, jit=False))
    assert np.abs(own_layer.model.weights[1]["stretch"]).min() > 0
    own_layer.model.save(tmp_path / "model")
    again = fm.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.log_prob(rows), own_layer.model.log_prob(rows))
    np.testing.assert_allclose(again.decode(again.encode(rows)), rows, rtol=1e-3, atol=1e-3)
    del sys.modules["own_layer"]


@pytest.fixture(scope="module")
def torus():
    """Two angles in degrees, the second within 20 of twice the first, over all seams."""
    rng = np.random.default_rng(0)
    first = 360 * rng.uniform(size=4000)
    angles = np.stack([first, 2 * first + 20 * rng.normal(size=4000)], 1) % 360
    model = fm.Model(fm.architectures.torus(2, 4, (32, 32), period=360.0, **LOOP))
    fm.fit(model, angles.astype("f"), settings=SHORT)
    return model, angles


def test_circular_layers_have_no_seam():
    layer = OnTorus(Repeat(CircularCoupling(2, hidden=(8, 8)), 3, 1), 360.0)
    rng = np.random.default_rng(0)
    weights = make_variables(layer.init(rng), tf.float64)
    for variable in leaves(weights).values():
        if variable.trainable:
            variable.assign_add(rng.normal(size=variable.shape))
    other = 360 * rng.uniform(size=200)

    def log_p(first):
        rows = tf.constant(np.stack([np.full(200, first), other], 1))
        z, log_det = layer.forward_and_log_det(weights, rows)
        return log_det.numpy() - 0.5 * np.sum(z**2, 1)

    assert np.ptp(log_p(0.0)) > 1 and np.abs(log_p(90.0) - log_p(0.0)).max() > 0.3
    np.testing.assert_allclose(log_p(360 - 1e-9), log_p(0.0), atol=1e-4)
    np.testing.assert_allclose(log_p(361.0), log_p(1.0), atol=1e-8)


@pytest.mark.slow
def test_densities_of_angles_have_no_seam(torus):
    model, angles = torus
    inside = 360 * np.random.default_rng(1).uniform(size=(2000, 1)).astype("f")
    for swap in (1, -1):
        seam = [np.hstack([inside, np.full_like(inside, x)][::swap]) for x in (0.0, 359.9999, 360)]
        before, at, after = (model.log_prob(rows) for rows in seam)
        np.testing.assert_allclose(at, before, atol=2e-2)
        np.testing.assert_allclose(after, before, atol=2e-2)
    np.testing.assert_allclose(model.log_prob(angles + 360), model.log_prob(angles), atol=1e-2)


@pytest.mark.slow
def test_angles_are_learnt_and_have_mass_one(torus):
    model, angles = torus
    truth = np.log(1 / 360) + scipy.stats.norm(0, 20).entropy() * -1
    assert model.log_prob(angles).mean() > truth - 0.25
    side = np.arange(0.5, 360)
    grid = np.stack(np.meshgrid(side, side), -1).astype("f")
    assert abs(np.exp(model.log_prob(grid).astype(float)).sum() - 1) < 2e-3
    draws = model.sample(2000)
    assert (0 <= draws).all() and (draws < 360).all()
    off = (draws[:, 1] - 2 * draws[:, 0] + 180) % 360 - 180
    assert abs(off.mean()) < 3 and off.std() < 35


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fm.architectures.hyperbolic(3), "two equal halves, but the size is 3"),
        (lambda: fm.architectures.hint(1), "hint splits a vector in two .* got 1; use maf"),
        (lambda: fm.architectures.torus(1), "torus splits a vector in two"),
        (lambda: fm.architectures.torus(2, period=0.0), "period is 0.0, must be above 0"),
        (lambda: Sylvester(2, units=3), "units is 3, must be 0 to 2"),
        (lambda: DeepSigmoid(0), "units is 0, must be at least 1"),
        (lambda: MonotonicIntegral(4, 0.0), "bound 0.0; they must be at least 1 and above 0"),
        (lambda: PeriodicConv(2, 0), "kernel is 0, must be at least 1"),
        (lambda: EmergingConv(2, 4), "kernel is 4, must be an odd number"),
        (lambda: fm.architectures.resampled(2, proposals=1), "proposals is 1, must be at least 2"),
        (lambda: Argmax(3, shares=(0.5, 0.5)), "2 shares of 3 categories: give at least 2, and a"),
        (lambda: Slice(2, kept=2), "kept is 2, must be 1 to 1"),
        (lambda: LeakyReLU(0.0), "slope is 0.0, must be above 0"),
        (lambda: fm.realnvp_image((8, 8, 1), norm="batch"), "no norm 'batch'; there are actnorm, "),
    ],
)
def test_wrong_sizes_are_one_clear_line(make, message):
    with pytest.raises(fm.UserError, match=message):
        make()
