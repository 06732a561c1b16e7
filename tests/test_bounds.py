"""Numbers with bounds: a density that may be positive at a bound, samples strictly inside."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit
from scipy.stats import norm

import flow_models as fm
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.simulators.drawn import Drawn

RNG = np.random.default_rng(0)
BOUNDS = {"both": (-1.0, 2.0), "lower": (0.0, None), "upper": (None, 3.0)}
NEAR_ZERO = 3e-5


def parameters(one, rows, seed=0, spread=1.0):
    """Parameters of random networks, and what was measured behind them."""
    o = spread * np.random.default_rng(seed).normal(size=(rows, one.parameters))
    return tf.constant(np.concatenate([o, np.tile(one.measure(), (rows, 1))], 1), tf.float32)


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_there_and_back_inside_the_bounds(bounds):
    one, z = NumberCDF(*bounds), RNG.normal(size=4000).astype(np.float32)
    o = parameters(one, 4000, spread=0.5)
    x = one.inverse(o, tf.constant(z))
    assert (x > -np.inf if bounds[0] is None else x > bounds[0]).numpy().all()
    assert (x < np.inf if bounds[1] is None else x < bounds[1]).numpy().all()
    back = one.forward_and_log_det(o, x)[0].numpy()
    assert np.quantile(np.abs(back - z), 0.99) < 2e-2


@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (-1.0, None)])
def test_the_density_integrates_to_one_for_every_condition(bounds):
    one, reach = NumberCDF(*bounds), 2.0 if bounds[1] else 1e6
    u = np.geomspace(1e-11, 1, 40_001)
    edges = -1 + (reach + 1) * u
    x = 0.5 * (edges[1:] + edges[:-1])
    for seed in range(4):
        o = tf.repeat(parameters(one, 1, seed, 0.3), len(x), 0)
        log_p = one.tails(o, tf.constant(x, tf.float32))[2].numpy().astype(np.float64)
        assert np.sum(np.exp(log_p) * np.diff(edges)) == pytest.approx(1.0, abs=0.01)


def test_far_from_its_centre_the_mass_is_still_known():
    """Curves 20 and 40 scales beyond the bounds, in closed form."""
    one = NumberCDF(0.0, 1.0)
    c, low, high, spread = one.measure()
    assert (c, low, high) == pytest.approx((0.5, 0.02, 0.02), abs=0.02)
    w = lambda x: (np.log((x + low) / (c + low)) - np.log((1 - x + high) / (1 - c + high))) / spread
    slope = lambda x: (1 / (x + low) + 1 / (1 - x + high)) / spread
    x = np.array([1e-4, 0.01, 0.3, 0.99])
    o = np.zeros((len(x), one.parameters), np.float32)
    o = np.concatenate([o, np.tile(one.measure(), (len(x), 1))], 1).astype(np.float32)
    for centre in (-20.0, 0.0, 40.0):
        o[:, 0] = centre
        t, a, b = (w(each) - centre for each in (x, 0.0, 1.0))
        mass = expit(b) * expit(-a) * -np.expm1(a - b)
        below = expit(t) * expit(-a) * -np.expm1(a - t) / mass
        lower, upper, log_p = one.tails(tf.constant(o), tf.constant(x, tf.float32))
        log_truth = np.log(expit(t) * expit(-t) * slope(x) / mass)
        np.testing.assert_allclose(log_p, log_truth, atol=0.01)
        np.testing.assert_allclose(lower, below, rtol=0.02)
        np.testing.assert_allclose((lower + upper).numpy(), 1, atol=1e-3)
        np.testing.assert_allclose(one.quantile(tf.constant(o), lower, upper), x, rtol=0.02)


@pytest.fixture(scope="module")
def box():
    """Pairs of a uniform prior whose bounds are far from 0 beside their distance."""
    rng = np.random.default_rng(1)
    x = rng.random((20_000, 2))
    y = x + 0.05 * rng.normal(size=x.shape)
    settings = fm.FitSettings(steps=400, batch_size=512, learning_rate=8e-3)
    return fm.fit_posterior(
        1000 + x, y, lower=[1000, 1000], upper=[1001, 1001], settings=settings, hidden=(32, 32)
    )


def test_the_posterior_at_a_bound(box):
    observed = np.array([-0.1, 1.1])
    samples = box.posterior(observed, 50_000)
    assert samples.dtype == np.float64
    assert samples.min() > 1000 and samples.max() < 1001
    assert len(np.unique(samples[:, 0])) > 40_000
    near = (samples[:, 0] < 1000 + NEAR_ZERO).mean(), (samples[:, 1] > 1001 - NEAR_ZERO).mean()
    assert all(0.0007 < share < 0.0022 for share in near)  # 0.0014
    assert np.isfinite(box.log_prob(samples, observed)).all()
    wide = box.posterior([0.5, 0.02], 20_000) - 1000
    np.testing.assert_allclose(wide.mean(0), [0.5, 0.0481], atol=0.02)


def test_outside_the_bounds_there_is_no_density(box):
    found = box.log_prob(
        [[1000.0, 1000.5], [1000.5, 1001.0], [1000.5, 999.0], [1000.5, 1000.5]], [0.5, 0.5]
    )
    assert list(np.isneginf(found)) == [True, True, True, False]


def test_a_saved_model_keeps_its_bounds(box, tmp_path):
    box.save(str(tmp_path))
    again = fm.load(str(tmp_path))
    np.testing.assert_array_equal(again.posterior([0.0, 1.0], 9), box.posterior([0.0, 1.0], 9))


def test_an_exponential_is_positive_at_its_bound():
    rng = np.random.default_rng(2)
    x = rng.exponential(size=(20_000, 1))
    flow = fm.maf(1, lower=[0.0], hidden=(16,))
    model = fm.Model(flow)
    fm.fit(model, x, settings=fm.FitSettings(steps=500, batch_size=512, learning_rate=8e-3))
    at = np.array([1e-6, 1e-3, 0.1, 1.0, 4.0])[:, None]
    np.testing.assert_allclose(model.log_prob(at), -at[:, 0], atol=0.2)
    assert np.isneginf(model.log_prob(np.array([[0.0], [-1.0]]))).all()
    assert model.sample(10_000).min() > 0
    test = rng.exponential(size=(20_000, 1))
    assert np.mean(-test[:, 0] - model.log_prob(test)) < 0.01


def test_numbers_of_several_magnitudes_above_a_bound():
    """log x ~ N(0, 2^2), of which a linear scale would see nothing near 0."""
    x = np.exp(2 * np.random.default_rng(3).normal(size=(20_000, 1)))
    model = fm.Model(fm.maf(1, lower=[0.0], hidden=(16,)))
    fm.fit(model, x, settings=fm.FitSettings(steps=500, batch_size=512, learning_rate=8e-3))
    test = np.exp(2 * np.random.default_rng(4).normal(size=(20_000, 1)))
    truth = norm.logpdf(np.log(test), 0, 2) - np.log(test)
    assert np.mean(truth[:, 0] - model.log_prob(test)) < 0.015


@pytest.mark.slow
def test_bounds_that_are_far_away_change_nothing():
    x = np.random.default_rng(5).normal(size=(20_000, 1))
    model = fm.Model(fm.maf(1, lower=[-1e6], upper=[1e5], hidden=(16,)))
    fm.fit(model, x, settings=fm.FitSettings(steps=300, batch_size=512, learning_rate=8e-3))
    test = np.random.default_rng(6).normal(size=(20_000, 1))
    assert np.mean(norm.logpdf(test)[:, 0] - model.log_prob(test)) < 0.015
    assert model.sample(20_000).std() == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_bounded_and_free_columns_together():
    flow = fm.architectures.build(
        "spline_coupling", 4, lower=[0, None, None, None], hidden=(8,), depth=2
    )
    model, rng = fm.Model(flow), np.random.default_rng(3)
    x = np.abs(rng.normal(size=(500, 4)))
    fm.fit(model, x, settings=fm.FitSettings(steps=5, batch_size=64))
    drawn = model.sample(1000)
    assert drawn[:, 0].min() > 0 and np.isfinite(model.log_prob(drawn)).all()
    np.testing.assert_allclose(model.decode(model.encode(x[:50])), x[:50], atol=1e-3)


def test_messages_name_the_column_the_row_and_the_bound_in_the_users_units():
    x, y = RNG.normal(size=(300, 2)) + 50, RNG.normal(size=(300, 1))
    x[120, 1] = 40.0
    with pytest.raises(
        fm.UserError, match="column 'depth', row 121: 40 is not above the lower bound 40"
    ):
        Drawn.of(x, y, ["age", "depth"], lower=[None, 40.0])
    with pytest.raises(
        fm.UserError, match="'age': the lower bound 60 is not below the upper bound 50"
    ):
        Drawn.of(x, y, ["age", "depth"], lower={"age": 60}, upper={"age": 50})
    with pytest.raises(fm.UserError, match="a bound of 'dept'"):
        Drawn.of(x, y, ["age", "depth"], lower={"dept": 60})


@pytest.mark.parametrize("lower", [[1.0, None], [0.5, -np.inf]])
def test_rows_outside_are_named_in_the_units_of_the_user(lower):
    x = np.random.default_rng(0).uniform(0, 1, (200, 2))
    x[7, 0], x[:7, 0] = 0.25, 2.0
    x[8:, 0] += 2
    model = fm.Model(
        fm.realnvp(2, depth=1, hidden=(4,), lower=lower), codecs={"x": ["depth", "b"]}, jit=False
    )
    with pytest.raises(fm.UserError, match="column 'depth', row 8: 0.25 is not above the lower"):
        fm.fit(model, x, settings=fm.FitSettings(steps=1, batch_size=50, jit=False))


@pytest.mark.parametrize("bound", ["zero", np.nan])
def test_a_bound_that_is_no_number_is_refused(bound):
    with pytest.raises(fm.UserError, match="the bound of 'x1' is .*: a number or None is expected"):
        fm.realnvp(2, depth=1, hidden=(4,), lower=[bound, None])
