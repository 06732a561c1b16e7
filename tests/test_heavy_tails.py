"""Columns whose densities are hard: heavy tails, outliers, offsets, scales; a base with tails."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import flow_models as fm
from flow_models.bijectors import StudentT
from flow_models.models.kinds import Continuous

CAUCHY = stats.cauchy(loc=1e6, scale=3.0)
OUTLIERS = (stats.norm(), stats.norm(scale=100.0))  # 97% and 3%
COLUMNS = {
    "cauchy, UTM": CAUCHY,
    "t of 2, tiny": stats.t(2, loc=1e-9, scale=1e-9),
    "epoch": stats.norm(1.7e9, 20.0),
    "huge": stats.norm(0.0, 1e9),
    "above": stats.expon(),
}


def _drawn(rows, seed):
    """Independent columns [N, D], and the log-density of the rows."""
    rng = np.random.default_rng(seed)
    x = np.stack([each.rvs(rows, random_state=rng) for each in COLUMNS.values()], 1)
    outliers = rng.normal(size=(rows, 1)) * np.where(rng.random((rows, 1)) < 0.03, 100.0, 1.0)
    truth = sum(each.logpdf(column) for each, column in zip(COLUMNS.values(), x.T, strict=True))
    log_p = [
        np.log(share) + each.logpdf(outliers[:, 0]) for share, each in zip((0.97, 0.03), OUTLIERS)
    ]
    return np.concatenate([outliers, x], 1), truth + np.logaddexp(*log_p)


def test_hard_columns_of_one_table_have_the_density_of_the_truth():
    (x, _), (test, truth) = _drawn(20_000, 0), _drawn(20_000, 1)
    flow = fm.maf(6, depth=1, hidden=(16,), bins=12, bound=6.0, lower=[*[None] * 5, 0.0])
    model = fm.Model(flow)
    fm.fit(model, x, settings=fm.FitSettings(steps=600, batch_size=512, learning_rate=8e-3))
    log_p = model.log_prob(test)
    assert np.isfinite(log_p).all()
    assert (truth - log_p).mean() < 0.12  # nats, of six columns
    drawn = model.sample(20_000)
    assert np.isfinite(model.log_prob(drawn)).all() and drawn[:, 5].min() > 0
    for column, known in zip(drawn.T, test.T, strict=True):
        wanted = np.quantile(known, (0.01, 0.25, 0.75, 0.99))
        reached = np.mean(column[:, None] < wanted, 0)
        np.testing.assert_allclose(reached, (0.01, 0.25, 0.75, 0.99), atol=0.025)


def test_only_heavy_tails_are_bent():
    rng = np.random.default_rng(0)
    heavy, light = (
        Continuous.of(CAUCHY.rvs(500, random_state=rng)),
        Continuous.of(rng.normal(size=500)),
    )
    assert heavy.heavy and heavy.centre == pytest.approx(1e6, abs=1) and not light.heavy
    x = 1e6 + np.array([-1e5, -3.0, 0.0, 1e8])
    rows = heavy.prepare(x)
    np.testing.assert_allclose(heavy.decode(rows), x, rtol=1e-12)
    step = 1e-6 * np.maximum(np.abs(x - 1e6), 1)
    slope = (heavy.prepare(x + step) - heavy.prepare(x - step)) / (2 * step)
    np.testing.assert_allclose(heavy.log_det(rows), np.log(slope), atol=1e-4)


@pytest.mark.parametrize("df", [1.0, 2.0, 3.0, 30.0])
def test_the_base_is_that_of_student(df):
    layer, truth = StudentT(1, df), stats.t(df)
    weights = {"log_df": tf.constant([np.log(df)], tf.float32)}
    x = truth.ppf(np.linspace(1e-6, 1 - 1e-6, 2001))[:, None]
    z, log_det = layer.forward_and_log_det(weights, tf.constant(x, tf.float32))
    error = np.abs(stats.norm.cdf(z) - truth.cdf(x)).max()
    assert error < (0.009 if df < 2 else 0.002)
    log_p = stats.norm.logpdf(z)[:, 0] + log_det
    middle = np.linspace(1e-6, 1 - 1e-6, 2001)
    assert np.trapezoid(truth.logpdf(x[:, 0]) - log_p, middle) < (0.005 if df < 2 else 5e-4)


def test_a_flow_learns_the_degrees_of_freedom(tmp_path):
    x = np.random.default_rng(0).standard_t(3, size=(4000, 2)).astype(np.float32)
    x = x[(np.abs(x) < 15).all(1)]  # so that columns go to the network as they are
    model = fm.Model(fm.realnvp(2, depth=2, hidden=(4,), base="student_t"))
    fm.fit(model, x, settings=fm.FitSettings(steps=300, batch_size=512, learning_rate=2e-2))
    df = np.exp(model.bijector.named_weights()[f"{len(model.layer.layers) - 1}/log_df"].numpy())
    assert (df > 1.5).all() and (df < 7).all()
    model.save(str(tmp_path))
    np.testing.assert_array_equal(fm.load(str(tmp_path)).log_prob(x[:9]), model.log_prob(x[:9]))
    with pytest.raises(fm.UserError, match="no base 'cauchy'; there are normal, student_t"):
        fm.realnvp(2, base="cauchy")
    with pytest.raises(fm.UserError, match="a number is expected behind student_t"):
        fm.realnvp(2, base="student_t x")
