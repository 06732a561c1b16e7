"""What is no bijection of the data alone: densities, samples and weights beside the truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors import Chain, FlowBijector, LULinear, Standardise
from flow_models.bijectors.argmax import Argmax
from flow_models.bijectors.bernoulli import Bernoulli
from flow_models.bijectors.cdf import AngleCDF, CategoryCDF
from flow_models.bijectors.markov import Energy, Langevin, Metropolis
from flow_models.bijectors.on_columns import OnColumns, Widened
from flow_models.bijectors.order import Maximum, Sort
from flow_models.bijectors.resampled import Resampled
from flow_models.bijectors.rounding import Rounding
from flow_models.core.errors import UserError
from flow_models.core.serializable import from_config, to_config
from flow_models.models import wider

SETTINGS = fm.FitSettings(steps=1000, batch_size=256, learning_rate=5e-3, eval_every_steps=1000)
GAP = 6.0  # between the two modes
SLOW = ("rad", "flow_mixture", "resampled", "vae")
TRAINED = ("mixture", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW))
EXACT = ("absolute", "rad", "mixture", "flow_mixture")


def two_modes(n: int, seed) -> tf.Tensor:
    """Two Gaussians N(+-3, 0.5^2) in the first column, N(0, 1) in the second."""
    seeds = tf.random.split(tf.cast(seed, tf.int32), 2)
    side = tf.cast(tf.random.stateless_uniform([n], seeds[0]) < 0.5, tf.float32)
    normal = tf.random.stateless_normal([n, 2], seeds[1])
    return normal * [0.5, 1.0] + tf.stack([GAP * (side - 0.5), tf.zeros(n)], 1)


def truth(x):
    parts = [-0.5 * ((x[:, 0] + s * GAP / 2) / 0.5) ** 2 - np.log(0.5) for s in (-1, 1)]
    return np.logaddexp(*parts) + np.log(0.5) - 0.5 * x[:, 1] ** 2 - np.log(2 * np.pi)


def grid(reach=5.5, n=121):
    axis = np.linspace(-reach, reach, n)
    rows = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return rows.astype(np.float32), (axis[1] - axis[0]) ** 2


@pytest.fixture(scope="module", params=TRAINED)
def trained(request):
    flow = fm.architectures.build(
        request.param, 2, depth=2, hidden=(32,), components=2, bins=4, seed=1
    )
    model = fm.Model(flow)
    fm.fit(model, two_modes, settings=SETTINGS)
    return request.param, model


def test_densities_integrate_to_one(trained):
    name, model = trained
    rows, cell = grid()
    mass = np.exp(model.log_prob(rows)).sum() * cell
    assert mass == pytest.approx(1, abs=0.02 if wider.is_exact(model) else 0.1), name


def test_exact_ones_do_not_depend_on_the_noise(trained):
    name, model = trained
    rows = two_modes(200, (0, 1)).numpy()
    one, many = (model_log_prob(model, rows, draws) for draws in (1, 64))
    if wider.is_exact(model):
        np.testing.assert_allclose(one, many, atol=2e-3)
    else:  # a mean, which draws make more precise
        each, all_of_them = (np.abs(truth(rows) - value).mean() for value in (one, many))
        assert all_of_them < each, name


def model_log_prob(model, rows, draws):
    encoded = model.codec.encode(rows, np.float32)
    return wider.log_prob(model, encoded, draws=draws)


def test_latents_are_normal_and_samples_are_of_the_density(trained):
    name, model = trained
    x = two_modes(4000, (0, 2)).numpy()
    z = model.encode(x)
    assert z.shape[1] == model.latent_size > 2
    assert np.abs(z.mean(0)).max() < 0.25 and np.abs(z.std(0) - 1).max() < 0.25
    drawn = model.sample(4000, seed=1)
    assert np.mean(drawn[:, 0] > 0) == pytest.approx(0.5, abs=0.08)
    assert drawn.std(0) == pytest.approx(x.std(0), rel=0.15)


def test_separate_modes_have_no_bridge(trained):
    name, model = trained
    rows, cell = grid()
    between = np.abs(rows[:, 0]) < 1
    found, true = (np.exp(log_p[between]).sum() for log_p in (model.log_prob(rows), truth(rows)))
    assert found * cell < 2 * true * cell + (0.01 if wider.is_exact(model) else 0.05), name


@pytest.mark.slow
def test_symmetric_data_are_learnt_better_with_the_absolute_value():
    """From 100 rows, beside the same splines without it."""
    rng = np.random.default_rng(0)
    sides = rng.choice([-1.0, 1.0], (4100, 1)) * rng.gamma(4.0, 0.5, (4100, 1))
    train, test = sides[:100].astype("f"), sides[100:].astype("f")
    settings = fm.FitSettings(steps=300, batch_size=100, learning_rate=1e-2, eval_every_steps=300)
    found = {}
    for name in ("absolute", "maf"):
        flow = fm.architectures.build(name, 1, depth=1, hidden=(8,), bins=8, seed=1)
        model = fm.Model(flow)
        fm.fit(model, train, settings=settings)
        found[name] = model.log_prob(test).mean()
    truth = scipy.stats.gamma(4.0, scale=0.5).logpdf(np.abs(test)).mean() - np.log(2)
    assert found["maf"] + 0.02 < found["absolute"] < truth + 0.02


@pytest.mark.parametrize("name", EXACT)
def test_density_of_each_noise_is_the_same(name):
    flow = fm.architectures.build(name, 2, depth=2, hidden=(8,), components=3, dtype=tf.float64)
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.2 * rng.normal(size=variable.shape))
    x = rng.normal(size=(50, 2))
    values = []
    for _ in range(3):
        e = rng.normal(size=(50, flow.layer.noise))
        z, log_det = flow.layer.forward_and_log_det(flow.weights, tf.constant(np.hstack([x, e])))
        values.append(log_det.numpy() - 0.5 * np.sum(z**2, 1) + 0.5 * np.sum(e**2, 1))
    np.testing.assert_allclose(values[1:], [values[0]] * 2, atol=1e-6)


@pytest.mark.parametrize("layer", [Maximum(4), Sort(5)], ids=["maximum", "sort"])
def test_orders_are_forgotten_exactly(layer):
    """p(x) is that of every order of x, whatever the noise."""
    rng, values = np.random.default_rng(0), []
    x = rng.normal(size=(50, 3))
    for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)):
        e = rng.normal(size=(50, layer.size - 3))
        z, log_det = layer.forward_and_log_det({}, tf.constant(np.hstack([x[:, order], e])))
        values.append(log_det.numpy() - 0.5 * np.sum(z**2, 1) + 0.5 * np.sum(e**2, 1))
    np.testing.assert_allclose(values[1:], [values[0]] * 2, atol=1e-6)


def test_the_mean_over_draws_is_the_marginal_likelihood():
    """Of a linear augmented flow, which is a Gaussian; fewer draws give less."""
    layer = Widened([LULinear(2)], 2, 1)
    model = fm.Model(FlowBijector(layer, seed=1), jit=False)
    model.weights[0]["log_scale"].assign_add([0.4, 0.6])
    columns = layer.forward_and_log_det(model.weights, tf.eye(2))[0].numpy()
    precision = columns @ columns.T
    assert precision[1, 1] > 1 and abs(precision[0, 1]) > 0.2
    x = np.linspace(-1.5, 1.5, 7, dtype="f")
    truth = scipy.stats.norm(0, np.linalg.inv(precision)[0, 0] ** 0.5).logpdf(x)
    np.testing.assert_allclose(model_log_prob(model, x[:, None], 512), truth, atol=0.02)
    few = np.mean([model_log_prob(model, x[:, None], draws) for draws in (1, 2, 3)])
    assert few < truth.mean() - 0.02, "a bound"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["augmented", "augmented_ode"])
def test_augmented_flows_learn_two_modes(name):
    model = fm.Model(fm.architectures.build(name, 2, hidden=(32, 32), layers_per_loop_body=1))
    settings = fm.FitSettings(steps=300, batch_size=256, learning_rate=5e-3, ema=0.98)
    fm.fit(model, two_modes, settings=settings)
    x = two_modes(2000, (0, 5)).numpy()
    gaussian = scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x)
    gaps = [np.mean(truth(x) - each) for each in (model.log_prob(x), gaussian)]
    assert -0.02 < gaps[0] < 0.4 * gaps[1]


def test_exact_ones_learn_the_density(trained):
    name, model = trained
    x = two_modes(4000, (0, 3)).numpy()
    gap = np.mean(truth(x) - model.log_prob(x))
    assert -0.02 < gap < 0.15, name


def test_bits_have_their_probability_whatever_the_noise():
    o = tf.constant([[-30.0], [-2.0], [0.0], [0.7], [30.0]], tf.float64)
    for bit in (0.0, 1.0):
        expected = tf.math.log_sigmoid(o[:, 0] if bit else -o[:, 0])
        for u in (0.01, 0.5, 0.99):
            x = tf.fill([5], tf.constant(bit + u, tf.float64))
            z, log_det = Bernoulli().forward_and_log_det(o, x)
            log_p = log_det - 0.5 * (z**2 + np.log(2 * np.pi))
            np.testing.assert_allclose(log_p, expected, atol=1e-6)
            back, opposite = Bernoulli().inverse_and_log_det(o, z)
            usual = np.abs(o[:, 0]) < 10
            np.testing.assert_allclose(back[usual], x[usual], atol=1e-5)
            np.testing.assert_allclose(opposite[usual], -log_det[usual], atol=1e-4)


def test_saved_and_loaded(tmp_path):
    model = fm.Model(fm.architectures.rad(2, depth=1, hidden=(8,)))
    model.save(str(tmp_path / "model"))
    rows = two_modes(50, (0, 4)).numpy()
    again = fm.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.log_prob(rows), model.log_prob(rows))


def test_where_noise_has_no_place_it_is_refused():
    flow = fm.architectures.rad(2, depth=1, hidden=(8,))
    with pytest.raises(UserError, match="1 dimensions of noise"):
        fm.Model(flow, fm.Partition({"x": 2}, {"z": 2}))
    with pytest.raises(UserError, match="rad takes noise"):
        fm.architectures.mixed("rad", [None, None, AngleCDF()])
    with pytest.raises(UserError, match="rad takes noise"):
        fm.architectures.build("rad", 3, lower=[0.0, None, None])
    with pytest.raises(UserError, match="argmax is of categories, .* column 1 is neither"):
        fm.architectures.mixed("argmax", [CategoryCDF((0.5, 0.5)), AngleCDF()])
    with pytest.raises(UserError, match="there is no category: choose another"):
        fm.architectures.mixed("argmax", [None, None])
    with pytest.raises(UserError, match="angles alone, and column 1 is none: tell their kinds"):
        fm.architectures.mixed("torus", [AngleCDF(), None])


def test_draws_are_checked():
    model = fm.Model(fm.architectures.augmented(2, depth=1, hidden=(8,)))
    with pytest.raises(UserError, match="draws is 0"):
        model_log_prob(model, np.zeros((1, 2), np.float32), 0)


@pytest.fixture(scope="module")
def resampled():
    """One number, a base of 8 proposals, and its density p(x) on a grid, with the exact Z."""
    layer = Resampled(9, 8, (8,), "tanh")
    model = fm.Model(FlowBijector(Widened([layer], 9, 8)))
    rng = np.random.default_rng(6)
    for variable in model.bijector.trainable_variables:
        variable.assign_add(1.5 * rng.normal(size=variable.shape))
    x = np.linspace(-6, 6, 2401, dtype=np.float32)
    rows = np.repeat(x[:, None, None], 8, 1)
    a = tf.sigmoid(layer.logits(model.weights[0], tf.constant(rows))).numpy()[:, 0]
    cell, normal = x[1] - x[0], np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
    z = np.sum(a * normal) * cell
    assert np.ptp(a) > 0.7 and z < 0.3, "a rejection worth its name"
    rest = (1 - z) ** 7
    return model, x, normal * (a * (1 - rest) / z + rest)


def test_density_of_learned_rejection_is_that_of_its_paper(resampled):
    model, x, density = (resampled[0], *(each[::20] for each in resampled[1:]))
    found = np.exp(model_log_prob(model, x[:, None], 256))
    np.testing.assert_allclose(found, density, rtol=0.04, atol=1e-6)
    assert found.sum() * (x[1] - x[0]) == pytest.approx(1, abs=0.04)


def test_samples_of_learned_rejection_are_of_its_density(resampled):
    model, x, density = resampled
    drawn = model.sample(20_000, seed=3)[:, 0]
    cdf = np.cumsum(density) * (x[1] - x[0])
    edges = [-1.0, -0.3, 0.3, 1.0]
    expected = np.interp(edges, x, cdf)
    found = [np.mean(drawn < edge) for edge in edges]
    np.testing.assert_allclose(found, expected, atol=4 * 0.5 / 20_000**0.5)
    normal = [0.159, 0.382, 0.618, 0.841]
    assert np.abs(expected - normal).max() > 0.03, "other than the proposals"


def test_categories_of_an_argmax_alone_have_their_shares():
    """Where nothing is trained log p is exact, and draws have these frequencies."""
    shares = np.array([0.05, 0.6, 0.25, 0.1])
    frame = pd.DataFrame({"kind": np.repeat(list("pqrs"), (1000 * shares).round().astype(int))})
    columns = fm.Columns.of(frame)
    layer = Argmax(4, hidden=(8,), shares=columns.cdfs[0].shares)
    model = fm.Model(FlowBijector(Widened([layer], 4, 3)), codecs={"x": columns})
    rows = pd.DataFrame({"kind": list("pqrs")})
    np.testing.assert_allclose(model.log_prob(rows), np.log(shares), atol=1e-4)
    with pytest.warns(UserWarning, match="a category that training did not have"):
        assert np.isneginf(model.log_prob(pd.DataFrame({"kind": ["t"]})))
    found = model.sample(10_000, seed=1)["kind"].value_counts(normalize=True)[list("pqrs")]
    np.testing.assert_allclose(found, shares, atol=4 * 0.5 / 100)


@pytest.mark.slow
def test_an_argmax_flow_learns_the_frequencies_of_a_table():
    """P(b | a) of draws beside a made-up table, within the error of sampling."""
    table = np.array([[0.3, 0.05, 0.15], [0.05, 0.35, 0.1]])
    a, b = np.divmod(np.repeat(np.arange(6), (1000 * table).round().astype(int).ravel()), 3)
    frame = pd.DataFrame({"a": np.array(["low", "top"])[a], "b": np.array(list("pqr"))[b]})
    columns = fm.Columns.of(frame)
    flow = fm.architectures.argmax(columns.cdfs, 2, (32,), bins=4)
    model = fm.Model(flow, codecs={"x": columns})
    settings = fm.FitSettings(steps=4000, batch_size=256, learning_rate=1e-2, ema=0.99)
    fm.fit(model, frame, settings=settings)
    drawn = model.sample(4000, seed=1)
    found = pd.crosstab(drawn.a, drawn.b, normalize="index").to_numpy()
    np.testing.assert_allclose(found, table / table.sum(1, keepdims=True), atol=0.045)
    truth = np.sum(table * np.log(table))
    assert truth - 0.05 < model.log_prob(frame).mean() < truth + 0.005, "a bound, and near"


def test_rounding_keeps_whole_numbers_whole():
    """Learned noise of integer columns: values come back, and noise never leaves its number."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"n": rng.integers(0, 6, 500), "m": rng.integers(3, 9, 500)})
    columns = fm.Columns.of(frame, {"n": "integer", "m": "integer"})
    flow = FlowBijector(Chain([Rounding(2, 8, hidden=(8,)), Standardise(2)]))
    model = fm.Model(flow, codecs={"x": columns}, jit=False)
    for variable in model.bijector.trainable_variables:
        variable.assign_add(0.5 * rng.normal(size=variable.shape))
    rows = columns.encode(frame, np.float32, 1).rows
    np.testing.assert_array_equal(model.decode(model.encode(frame)), frame)
    seen = model.layer.layers[0].forward_and_log_det(model.weights[0], tf.constant(rows))[0]
    np.testing.assert_array_equal(np.floor(seen), np.floor(rows))
    assert np.abs(seen - rows).max() > 0.05, "the noise is not uniform any more"


def test_a_stochastic_flow_names_its_energy():
    layer = fm.architectures.stochastic(2, 1, (8,), energy=two_sided, scale=2.0).layer
    energy = layer.layers[1].layer.energy
    assert energy == Energy("test_wider:two_sided", 1.0, 2.0)
    x = tf.constant([[1.0, 0.5]])
    np.testing.assert_allclose(energy.log_prob(x), two_sided(2 * x))
    assert from_config(to_config(layer)) == layer
    for options, message in (
        ({"energy": lambda x: x[:, 0]}, "define it at the top level of a file"),
        ({"energy": "test_wider:GAP"}, "the energy test_wider:GAP is no function"),
        ({"chain": "gibbs"}, "no chain 'gibbs'; there are metropolis, langevin"),
    ):
        with pytest.raises(UserError, match=message):
            fm.architectures.stochastic(2, 1, (8,), **options)


def narrow(x):
    """log N(x; 1, 0.5^2), summed over columns."""
    return tf.reduce_sum(-2 * (x - 1.0) ** 2 - 0.5 * np.log(0.5 * np.pi), -1)


def two_sided(x):
    """Masses 0.3 and 0.7 at x1 = -+2 with sd 0.5, x2 ~ N(0, 1), and log Z = 2."""
    away = tf.stack([x[:, 0] + 2, x[:, 0] - 2], 1)
    parts = np.log([0.3, 0.7]).astype(np.float32) - 2 * away**2
    return 2 + tf.reduce_logsumexp(parts, 1) - 0.5 * x[:, 1] ** 2 - np.log(np.pi)


@pytest.mark.slow
@pytest.mark.parametrize("chain", ["metropolis", "langevin"])
def test_reweighted_expectations_of_a_stochastic_flow_are_unbiased(chain):
    """Whatever a few steps of training learnt."""
    options = {"depth": 2, "hidden": (8,), "bins": 4, "energy": two_sided, "scale": 2.0}
    model = fm.Model(fm.architectures.build("stochastic", 2, chain=chain, **options), jit=False)
    settings = fm.FitSettings(steps=4, batch_size=64, learning_rate=1e-3, jit=False)
    found = fm.fit_density(two_sided, model, settings, method="reverse_kl", scale=2.0)
    drawn = found.sample(20_000, seed=1)
    assert drawn.log_z == pytest.approx(2, abs=4 * drawn.log_z_se) and drawn.log_z_se < 0.02
    assert drawn.mean(drawn.x)[0] == pytest.approx(0.8, abs=0.1)
    assert drawn.mean(drawn.x**2) == pytest.approx([4.25, 1.0], abs=0.15)


@pytest.mark.parametrize("kind", ["langevin", "metropolis"])
def test_weights_of_paths_are_unbiased(kind):
    """x from N(0, 1) by steps towards N(1, 0.5^2): reweighted, Z is 1 and the mean is 1."""
    steps, layers = 4, []
    for i in range(steps):
        energy = Energy("test_wider:narrow", (i + 1) / steps)
        if kind == "langevin":
            layers.append(OnColumns(Langevin(2, energy, 0.1), 1 + 2 * steps, (0, 1 + i)))
        else:
            layers.append(
                OnColumns(Metropolis(3, energy, 0.7), 1 + 2 * steps, (0, 1 + i, 1 + steps + i))
            )
    chain = Chain(layers)
    flow = FlowBijector(chain)
    z = np.random.default_rng(0).normal(size=(20_000, 1 + 2 * steps)).astype(np.float32)
    x, log_det = chain.forward_and_log_det(flow.weights, tf.constant(z))
    x = x.numpy()
    log_w = narrow(x[:, :1]).numpy() + log_det.numpy() + 0.5 * np.log(2 * np.pi)
    w = np.exp(log_w + 0.5 * np.sum(z**2, 1) - 0.5 * np.sum(x[:, 1:] ** 2, 1))
    error = w.std() / len(w) ** 0.5
    assert w.mean() == pytest.approx(1, abs=4 * error)
    assert error < 0.02
    mean = np.sum(w * x[:, 0]) / w.sum()
    assert mean == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_flows_tighten_the_bound_of_an_autoencoder_of_silhouettes(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import autoencoder

    monkeypatch.setattr(autoencoder, "DRAWS", 8)
    train, validation, test = autoencoder.bits()
    bounds = {}
    for name, depth in autoencoder.FORMS.items():
        model, _ = autoencoder.trained(depth, train, validation, steps=300)
        bounds[name] = autoencoder.log_weights(model, test[:500]).mean(0)
    gain = bounds["flows"] - bounds["plain"]  # nats of each picture
    assert gain.mean() > 5 * autoencoder.error(gain)
