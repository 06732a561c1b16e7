"""Pairs as users have them: what `fit_posterior` takes, leaves out and refuses, and how it cuts at
bounds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import flow_models as fm
from flow_models.applications.own_pairs import own_pairs, refuse_discrete
from flow_models.applications.own_problem import held_out, prepare
from flow_models.core.errors import FlowModelsWarning
from flow_models.models.rare import reached

WHERE = ("on its lower", "on its upper", "below its lower")
TINY = {"hidden": (8,), "depth": 1}


def _pairs(n=300, size=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, size))
    return x, x + rng.normal(size=x.shape)


def test_the_held_out_share_is_random():
    x, y = _pairs(1000)
    order = np.argsort(x[:, 0])
    ready = prepare(x[order], y[order], **TINY)
    held = ready.held["x"][:, 0]
    assert len(held) == 100 and abs(held.mean()) < 0.3 and 0.8 < held.std() < 1.2
    kept = ready.model.codecs["y"].kept
    assert len(kept) == 1000
    again = prepare(x[order], y[order], **TINY)
    np.testing.assert_array_equal(again.held["x"], ready.held["x"])


def test_what_is_kept_of_many_sorted_pairs_is_a_random_part():
    x, y = _pairs(30_000, 1)
    order = np.argsort(y[:, 0])
    kept = own_pairs(x[order], y[order]).data.kept
    assert len(kept) == 20_000
    assert kept.mean() == pytest.approx(0, abs=0.05) and kept.std() == pytest.approx(1.41, abs=0.05)


def test_parameters_that_were_simulated_twice_are_held_out_together():
    theta = np.repeat(np.random.default_rng(0).normal(size=(100, 2)), 5, 0)
    held = held_out(theta, 0.1, 0).reshape(100, 5)
    assert held.any(1).sum() == 10 and (held.all(1) == held.any(1)).all()


@pytest.mark.parametrize("rows", [250, 400, 568])
def test_few_pairs_have_small_batches(rows):
    x, y = _pairs(rows)
    ready = prepare(x, y, **TINY)
    assert 64 <= ready.settings.batch_size <= len(ready.train["x"])
    told = prepare(x, y, settings=fm.FitSettings(batch_size=512), **TINY)
    assert told.settings.batch_size == min(512, len(told.train["x"]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_simulation_that_failed_is_counted_and_left_out(bad):
    x, y = _pairs()
    y[7, 1] = bad
    with pytest.warns(FlowModelsWarning, match="1 of 300 simulations .* the first in row 7"):
        pairs = own_pairs(x, y)
    assert len(pairs.theta) == 299 and not pairs.valid[7] and pairs.simulator.mean[0] != 0
    frame = pd.DataFrame({"a": y[:, 0], "b": np.where(y[:, 0] > 0, "up", "down")})
    frame.loc[7, "b"] = None
    with pytest.warns(FlowModelsWarning, match="1 of 300 simulations"):
        assert len(own_pairs(x, frame, data_kinds={"b": "categorical"}).theta) == 299
    weights = np.arange(300.0)
    with pytest.warns(FlowModelsWarning):
        ready = prepare(x, y, weights=weights, **TINY)
    assert len(ready.train["weight"]) + len(ready.held["weight"]) == 299


def test_parameters_that_are_not_finite_are_refused():
    x, y = _pairs()
    x[3] = np.nan
    with pytest.raises(fm.UserError, match="x has 1 rows with NaN"):
        own_pairs(x, y)
    with pytest.raises(fm.UserError, match="y has 300 rows with NaN"):
        own_pairs(_pairs()[0], np.full((300, 2), np.nan))


@pytest.mark.parametrize(
    "column",
    [
        np.arange(300) % 3,
        np.arange(300) // 2,
        np.where(np.arange(300) < 30, 0.0, np.linspace(0.1, 1, 300)),
        np.round(np.random.default_rng(0).normal(size=300), 1),
    ],
    ids=["codes", "whole numbers", "an atom", "one decimal"],
)
def test_a_discrete_parameter_is_refused(column):
    x, y = _pairs()
    x[:, 1] = column
    with pytest.raises(fm.UserError, match="parameter 'x2' has .* values in 300 pairs"):
        own_pairs(x, y)
    with pytest.raises(fm.UserError, match="parameter 'x1' has"):
        own_pairs(x[:, 1], y)


def test_continuous_parameters_are_no_discrete_ones():
    rng = np.random.default_rng(0)
    refuse_discrete(np.repeat(rng.normal(size=(60, 2)), 5, 0), ["a", "b"])
    refuse_discrete(np.repeat(rng.normal(size=(60, 1)), 5, 0), ["a"])
    refuse_discrete(rng.integers(0, 10**7, (300, 1)).astype(float), ["a"])
    refuse_discrete(rng.normal(size=(10_000, 1)).astype(np.float32).astype(float), ["a"])


def test_one_number_a_row_is_a_column():
    x, y = _pairs(size=1)
    for one in (x[:, 0], list(x[:, 0]), pd.Series(x[:, 0], name="speed")):
        pairs = own_pairs(one, y[:, 0])
        np.testing.assert_allclose(pairs.theta[:, 0], (x[:, 0] - x.mean()) / x.std(), rtol=1e-5)
    assert pairs.simulator.names == ("speed",)


def test_one_number_bounds_all_columns():
    x, y = _pairs()
    pairs = own_pairs(x, y, lower=-9, upper=np.float64(9.5))
    assert pairs.simulator.lower == (-9.0, -9.0) and pairs.simulator.upper == (9.5, 9.5)
    with pytest.raises(fm.UserError, match="column 'x1', row .* is not above the lower bound 0"):
        own_pairs(x, y, lower=0)


def test_a_prior_that_touches_its_bound():
    rng = np.random.default_rng(1)
    x = np.stack([rng.gamma(0.3, size=2000), rng.uniform(size=2000)], 1)
    x[5, 1], y = 1 - 1e-9, rng.normal(size=(2000, 1))
    for truncate in (True, False):
        prepare(x, y, lower=0, upper=[None, 1.0], truncate=truncate, **TINY)
    rounded = x.astype(np.float32)
    assert rounded.max(0)[1] == 1
    prepare(rounded, y, lower=0, upper=[None, 1.0], **TINY)
    x[5, 1] = 1.0
    with pytest.raises(fm.UserError, match="column 'x2', row 6: 1 is not below the upper bound 1"):
        prepare(x, y, lower=0, upper=[None, 1.0], **TINY)


@pytest.fixture(scope="module")
def far():
    """A uniform prior far from 0 and N(x, 0.2^2) data."""
    rng = np.random.default_rng(2)
    x = rng.uniform(100_000, 100_001, 4000)
    y = x - 100_000 + 0.2 * rng.normal(size=4000)
    settings = fm.FitSettings(steps=300, batch_size=256, learning_rate=8e-3, jit=False)
    options = {"settings": settings, "hidden": (32,), "depth": 2}
    return fm.fit_posterior(x, y, lower=100_000, upper=100_001, **options)


def test_no_sample_is_on_a_bound_or_outside(far):
    drawn = far.posterior([[0.0], [0.5], [1.0]], 4_000)
    assert drawn.min() > 100_000 and drawn.max() < 100_001
    assert len(np.unique(drawn[1])) > 3_900
    assert np.isfinite(far.log_prob(drawn[0], [0.0])).all()
    with pytest.warns(FlowModelsWarning) as caught:
        outside = far.log_prob([[100_000.0], [100_001.0], [99_999.0]], [0.5])
    assert np.isneginf(outside).all()
    texts = " ".join(str(each.message) for each in caught)
    assert all(f"column 'x1' is {where} bound" in texts for where in WHERE)
    assert "in (100000, 100001)" in repr(far)


def test_the_density_is_renormalised_inside(far):
    grid = np.linspace(0, 1, 2002)[1:-1, None]
    for y in (-0.1, 0.1, 0.5):
        p = np.exp(far.log_prob(100_000 + grid, [y]))
        assert p.mean() == pytest.approx(1, abs=0.05)
        truth = norm.pdf(grid[:, 0], y, 0.2) / np.diff(norm.cdf([0, 1], y, 0.2))
        assert np.abs(p - truth).mean() < 0.15
    one = far.log_prob([100_000.2], [0.1])
    both = far.log_prob([[100_000.2], [100_000.5]], [[0.1], [0.6]])
    assert one == pytest.approx(both[0], abs=1e-5)
    assert far.predict([100_000.5], 2000).mean() == pytest.approx(0.5, abs=0.05)


def test_samples_repeat_with_their_seed_and_with_saving(far, tmp_path):
    far.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    np.testing.assert_array_equal(again.posterior([0.0], 500), far.posterior([0.0], 500))
    np.testing.assert_array_equal(
        again.log_prob([100_000.5], [0.1]), far.log_prob([100_000.5], [0.1])
    )


def test_an_observation_whose_draws_are_all_outside_is_refused(far):
    with (
        pytest.warns(FlowModelsWarning, match="y of 1 of 2 rows lies farther out"),
        pytest.raises(fm.UserError, match="and none were found by moving towards them"),
    ):
        far.posterior([[0.5], [300.0]], 10)


def test_rare_draws_and_their_share_are_those_of_the_tail():
    identity = lambda z: z.astype(np.float32)
    beyond = lambda theta: 4.0 - theta[:, 0].astype(float)
    drawn, log_share = reached(identity, beyond, 2, 500, 0)
    assert drawn.shape == (500, 2) and drawn[:, 0].min() >= 4
    assert log_share == pytest.approx(norm.logsf(4), abs=0.6)
    assert drawn[:, 0].mean() == pytest.approx(norm.pdf(4) / norm.sf(4), abs=0.05)
    assert drawn[:, 1].std() == pytest.approx(1, abs=0.15)
    assert reached(identity, lambda theta: np.ones(len(theta)), 2, 5, 0) is None


@pytest.fixture(scope="module")
def triangle():
    """Uniform in x1, x2 > 0, x1 + x2 < 1, with N(x, 0.2^2) data."""
    x = np.random.default_rng(3).dirichlet([1, 1, 1], 2000)[:, :2]
    y = x + 0.2 * np.random.default_rng(4).normal(size=x.shape)
    settings = fm.FitSettings(steps=200, batch_size=256, learning_rate=8e-3, jit=False)
    options = {"settings": settings, "hidden": (32,), "depth": 1, "bins": 4}
    return fm.fit_posterior(x, y, lower=0, support=([[1.0, 1.0]], [1.0]), **options)


def test_linear_limits_cut_as_bounds_do(triangle, tmp_path):
    drawn = triangle.posterior([[0.5, 0.5], [0.2, 0.2]], 2000)
    assert drawn.min() > 0 and drawn.sum(-1).max() <= 1
    assert np.isfinite(triangle.log_prob(drawn[0], [0.5, 0.5])).all()
    grid = np.random.default_rng(5).dirichlet([1, 1, 1], 2000)[:, :2]
    for y in ([0.5, 0.5], [0.2, 0.3]):
        p = np.exp(triangle.log_prob(grid, y))
        assert 0.5 * p.mean() == pytest.approx(1, abs=0.08)
        truth = norm.pdf(grid, y, 0.2).prod(1)
        assert np.abs(p - truth / truth.mean() / 0.5).mean() < 0.5
    with pytest.warns(FlowModelsWarning, match="-inf: the row is outside the support"):
        assert np.isneginf(triangle.log_prob([0.6, 0.6], [0.5, 0.5]))
    triangle.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    np.testing.assert_array_equal(
        again.posterior([0.5, 0.5], 50), triangle.posterior([0.5, 0.5], 50)
    )


def test_an_observation_beyond_the_limits_has_samples_of_the_tail(triangle):
    with pytest.warns(FlowModelsWarning, match="only .* are inside the bounds: its samples are of"):
        drawn = triangle.posterior([1.5, 1.5], 400)
    assert drawn.min() > 0 and drawn.sum(1).max() <= 1 and len(np.unique(drawn[:, 0])) > 200
    assert drawn.sum(1).mean() > 0.75  # beside the limit
    grid = np.random.default_rng(5).dirichlet([1, 1, 1], 2000)[:, :2]
    p = np.exp(triangle.log_prob(grid, [1.5, 1.5]))
    assert 0.5 * p.mean() == pytest.approx(1, abs=0.6)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"support": ([[1.0, 1.0]], [0.5])}, "rows of x are outside the support, the first is row"),
        ({"support": ([[1.0]], [1.0])}, r"A \[K, 2\] and b \[K\]"),
        ({"support": 3}, r"support is \(A, b\)"),
        ({"support": ([[0.0, 0.0]], [1.0])}, "a row of A of the support is 0"),
        ({"truncate": False}, "goes without kinds and without truncate=False"),
    ],
)
def test_supports_that_do_not_fit_are_refused(change, message):
    x = np.random.default_rng(3).dirichlet([1, 1, 1], 300)[:, :2]
    with pytest.raises(fm.UserError, match=message):
        prepare(x, x + 0.1, **{"support": ([[1.0, 1.0]], [1.0]), **TINY, **change})
