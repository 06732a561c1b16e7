"""Tables with missing cells: the density of what is observed, and draws of the rest."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from in_process import application, status
from scipy.stats import multivariate_normal, norm

import flow_models as fm
from flow_models.core.errors import FlowModelsWarning
from flow_models.models import missing
from flow_models.training import missing as training

MEAN = np.array([3.0, -1.0, 100.0])
COVARIANCE = np.array([[1.0, 0.8, -6.0], [0.8, 1.0, -3.0], [-6.0, -3.0, 100.0]])
SETTINGS = fm.FitSettings(steps=700, batch_size=128, learning_rate=4e-3)


def _gaussian(rows, seed, share=0.25):
    rng = np.random.default_rng(seed)
    x = rng.multivariate_normal(MEAN, COVARIANCE, rows)
    return np.where(rng.random(x.shape) < share, np.nan, x)


def _truth(x):
    """log p(x_obs) of the Gaussian."""
    found = np.zeros(len(x))
    for i, row in enumerate(x):
        k = np.flatnonzero(~np.isnan(row))
        if len(k):
            found[i] = multivariate_normal.logpdf(row[k], MEAN[k], COVARIANCE[np.ix_(k, k)])
    return found


@pytest.fixture(scope="module")
def model():
    flow = fm.architectures.with_missing(
        fm.realnvp(3, depth=4, hidden=(32, 32)), 3, hidden=(32, 32)
    )
    model = fm.Model(flow, codecs={"x": ["a", "b", "c"]})
    fm.fit(model, _gaussian(6000, 0), _gaussian(600, 1), SETTINGS, progress=False)
    return model


def test_the_density_of_what_is_observed_is_that_of_the_truth(model):
    x = _gaussian(2000, 2)
    found, truth = model.log_prob(x), _truth(x)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    assert abs((truth - found).mean()) < 0.03
    for pattern in (np.isnan(x).any(1), ~np.isnan(x).any(1), np.isnan(x[:, 0])):
        assert abs((truth - found)[pattern].mean()) < 0.05
    samples = model.sample(20_000, seed=1)
    scale = np.sqrt(np.diag(COVARIANCE))
    assert np.abs((np.cov(samples.T) - COVARIANCE) / np.outer(scale, scale)).max() < 0.06


def test_the_estimate_has_an_error_and_is_the_same_wherever_a_row_stands(model):
    x = _gaussian(300, 3, share=0.4)
    found, error = missing.observed_log_prob(model, x)
    other, _ = missing.observed_log_prob(model, x, seed=1)
    complete = ~np.isnan(x).any(1)
    assert (error[complete] == 0).all() and (found == other)[complete].all()
    partial = ~complete & ~np.isnan(x).all(1)
    assert 0 < error[partial].min() and np.median(error[partial]) < 0.03
    z = (found - other)[partial] / (error[partial] * 2**0.5)
    assert 0.01 < np.sqrt(np.mean(z**2)) < 1.5
    np.testing.assert_allclose(model.log_prob(x[::-1])[::-1], found, atol=1e-4)
    np.testing.assert_allclose(model.log_prob(x[7]), found[7], atol=1e-4)
    finer, small = missing.observed_log_prob(model, x, draws=4000)
    assert small[partial].mean() < 0.4 * error[partial].mean()
    assert np.abs(finer - found).mean() < 0.02


def test_the_density_integrates_to_one_over_each_column(model):
    grid = MEAN[0] + np.linspace(-6, 6, 301)
    x = np.full((301, 3), np.nan)
    x[:, 0] = grid
    density = np.exp(model.log_prob(x).astype(float))
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.02)
    assert np.abs(density - norm.pdf(grid, MEAN[0])).max() < 0.05


def test_missing_cells_are_drawn_given_the_others(model):
    row = np.array([4.0, np.nan, 90.0])
    draws = model.impute(row, 4000, seed=1)
    assert draws.shape == (4000, 3) and (draws[:, 0] == 4).all() and (draws[:, 2] == 90).all()
    inverse = np.linalg.inv(COVARIANCE[np.ix_([0, 2], [0, 2])])
    weights = COVARIANCE[1, [0, 2]] @ inverse
    mean = MEAN[1] + weights @ (row[[0, 2]] - MEAN[[0, 2]])
    sd = np.sqrt(COVARIANCE[1, 1] - weights @ COVARIANCE[[0, 2], 1])
    assert draws[:, 1].mean() == pytest.approx(mean, abs=0.15 * sd)
    assert draws[:, 1].std() == pytest.approx(sd, rel=0.15)
    frame = pd.DataFrame(_gaussian(50, 4), columns=["a", "b", "c"])
    full = model.impute(frame)
    assert full.shape == (50, 3) and np.isfinite(np.asarray(full)).all()
    known = frame.notna().to_numpy()
    np.testing.assert_allclose(np.asarray(full)[known], frame.to_numpy()[known], rtol=1e-6)


def test_latents_of_incomplete_rows_are_of_drawn_cells(model):
    x = _gaussian(2000, 6, share=0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z = model.encode(x, seed=3)
    np.testing.assert_array_equal(z, model.encode(x, seed=3))
    np.testing.assert_allclose(z, model.encode(model.impute(x, seed=3)), atol=2e-3)
    assert (z != model.encode(x, seed=4))[np.isnan(x).any(1)].any(1).all()
    assert np.abs(z.mean(0)).max() < 0.1 and np.abs(np.cov(z.T) - np.eye(3)).max() < 0.15
    row = model.encode(x[7], seed=3)
    assert row.shape == (3,) and np.isfinite(row).all()


def _two_sided(rows, seed):
    """x and y = +-1, with noise 0.15, P(y > 0 | x) = 1 / (1 + exp(-2 x)); a third of y missing."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, rows))
    sign = np.where(rng.random(rows) < 1 / (1 + np.exp(-2 * x)), 1.0, -1.0)
    y = np.where(rng.random(rows) < 1 / 3, np.nan, sign + 0.15 * noise)
    return np.stack([x, y], 1)


@pytest.mark.slow
def test_imputation_has_both_modes_in_the_right_shares():
    flow = fm.spline_coupling(2, depth=3, hidden=(32, 32))
    model = fm.Model(fm.architectures.with_missing(flow, 2, hidden=(32, 32)))
    fm.fit(model, _two_sided(8000, 0), _two_sided(800, 1), SETTINGS, progress=False)
    for x in (-1.0, 0.0, 0.7):
        y = model.impute(np.array([x, np.nan]), 4000, seed=1)[:, 1]
        assert (y > 0).mean() == pytest.approx(1 / (1 + np.exp(-2 * x)), abs=0.06)
        assert y[y > 0].mean() == pytest.approx(1.0, abs=0.06)
        assert y[y < 0].mean() == pytest.approx(-1.0, abs=0.06)
        assert (np.abs(y) < 0.4).mean() < 0.03  # between the modes


def test_a_row_without_observed_cells_is_of_the_whole_density(model):
    x = np.full((4000, 3), np.nan)
    assert (model.log_prob(x[:3]) == 0).all()
    drawn = model.impute(x, seed=5)
    assert (np.abs(drawn.mean(0) - MEAN) < 0.15 * np.sqrt(np.diag(COVARIANCE))).all()
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(0.8, abs=0.05)


def test_a_step_shares_its_completions_among_the_rows_with_missing_cells():
    x = np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, 4.0], [2.0, np.nan]], np.float32)
    assert list(training._in_turn(tf.constant(x))) == [1, 3, 1, 3]
    empty = np.concatenate([np.full((1, 2), np.nan, np.float32), x])
    assert list(training._in_turn(tf.constant(empty))) == [2, 4, 2, 4, 2]  # it says nothing
    assert list(training._in_turn(tf.constant(x[::2]))) == [0, 0]  # nothing is missing
    owner, log_w = tf.constant([1, 3, 1, 1]), tf.constant([0.0, -1.0, 2.0, -np.inf])
    assert list(training._best(log_w, owner, 4)) == [0, 2, 0, 1]
    mean = training._log_mean(tf.maximum(log_w, -3e38), owner, 4).numpy()
    assert mean[[1, 3]] == pytest.approx([np.log((1 + np.exp(2.0)) / 3), -1.0])


def test_complete_rows_are_seen_once_and_the_others_several_times():
    x = np.ones((8, 2), np.float32)
    x[[1, 2, 5], 0] = x[7] = np.nan
    owner, turn, share = (each.numpy() for each in training._owners(tf.constant(x), 2, 0))
    assert list(owner) == [0, 3, 4, 6] + [1, 2, 5] * 4
    assert list(turn) == [0] * 4 + [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    np.testing.assert_array_equal(share, [1, 1, 1, 1, 1, 1, 1, 0])
    x[[0, 3], 1] = np.nan  # five lack a cell; fourteen draws are enough for three of them
    owner, _, share = (each.numpy() for each in training._owners(tf.constant(x), 2, 4))
    assert list(owner[:5]) == [4, 6, 5, 0, 1] and np.bincount(owner)[[5, 0, 1]].min() >= 4
    np.testing.assert_allclose(share, np.array([1, 1, 0, 0, 1, 1, 1, 0]) * 8 / 6, rtol=1e-6)
    owner, _, share = training._owners(tf.fill([4, 2], np.float32(np.nan)), 2, 3)
    assert (share.numpy() == 0).all() and owner.shape == (8,)


def test_a_new_process_knows_it_all(model, tmp_path):
    model.save(str(tmp_path / "model"))
    x = _gaussian(40, 5)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import flow_models as fm, numpy as np, sys; m = fm.load(sys.argv[1] + '/model');"
        "x = np.load(sys.argv[1] + '/x.npy'); np.savez(sys.argv[1] + '/out.npz',"
        "p=m.log_prob(x), i=m.impute(x, 3, seed=2))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(found["p"], model.log_prob(x), atol=1e-4)
    np.testing.assert_allclose(found["i"], model.impute(x, 3, seed=2), rtol=1e-3, atol=1e-2)


def test_other_models_say_what_to_do():
    plain = fm.Model(fm.realnvp(2, depth=2, hidden=(8,)))
    with pytest.raises(fm.UserError, match="with_missing"):
        plain.impute(np.array([[1.0, np.nan]]))
    with pytest.raises(fm.UserError, match="NaN"):
        fm.fit(plain, np.full((600, 2), np.nan), progress=False)
    flow = fm.architectures.with_missing(fm.realnvp(2, depth=2, hidden=(8,)), 2)
    x = np.random.default_rng(0).normal(size=(600, 2))
    x[:, 1] = np.nan
    with pytest.raises(fm.UserError, match="column 1 has no value in any row"):
        fm.fit(fm.Model(flow), x, settings=SETTINGS, progress=False)
    x[0] = np.inf
    with pytest.raises(fm.UserError, match="NaN or Inf"):
        fm.fit(fm.Model(flow), x, settings=SETTINGS, progress=False)


def _table(rows, seed=0, share=0.2):
    """Two kinds and two numbers that depend on each other, the second at least 0."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    level = np.where(kind == "a", 0.0, 2.0) + rng.normal(size=rows)
    frame = {
        "kind": kind,
        "level": level,
        "size": np.exp(0.5 * level + 0.3 * rng.normal(size=rows)),
    }
    frame["count"] = rng.poisson(np.exp(0.5 * level)).astype(float)
    frame = pd.DataFrame(frame)
    return frame.mask(rng.random(frame.shape) < share)


@pytest.fixture(scope="module")
def of_kinds():
    frame = _table(6000)
    columns = fm.Columns.of(frame, lower={"size": 0.0})
    flow = fm.architectures.mixed("realnvp", columns.cdfs, depth=3, hidden=(32, 32))
    flow = fm.architectures.with_missing(flow, 4, hidden=(32, 32))
    model = fm.Model(flow, codecs={"x": columns})
    fm.fit(model, frame, _table(600, 1), SETTINGS, progress=False)
    return model


@pytest.mark.slow
def test_kinds_and_bounds_may_be_missing_too(of_kinds):
    assert of_kinds.codec.described()["kind"].startswith("categorical")
    assert of_kinds.codec.described()["count"] == "count"
    asked = pd.DataFrame({"kind": ["a", "b", None, None], "level": [np.nan] * 4})
    asked = asked.assign(size=[np.nan] * 4, count=[np.nan, np.nan, 0, 3])
    asked.loc[2:, "level"] = [0.0, 2.0]
    found = np.exp(of_kinds.log_prob(asked).astype(float))
    assert found[:2] == pytest.approx([0.7, 0.3], abs=0.04)
    levels = np.array([0.0, 2.0])
    p_level = 0.7 * norm.pdf(levels) + 0.3 * norm.pdf(levels - 2)
    p_count = np.array([np.exp(-1.0), np.exp(-np.e) * np.e**3 / 6])
    assert found[2:] == pytest.approx(p_level * p_count, rel=0.2)
    row = pd.DataFrame({"kind": ["b"], "level": [2.0], "size": [np.nan], "count": [np.nan]})
    draws = of_kinds.impute(row, 3000)[0]
    assert set(draws[:, 0]) == {"b"} and draws[:, 2].min() > 0
    assert np.log(draws[:, 2].astype(float)).mean() == pytest.approx(1.0, abs=0.15)
    assert draws[:, 3].astype(float).mean() == pytest.approx(np.e, abs=0.35)
    kinds = of_kinds.impute(pd.DataFrame({**row, "kind": [None]}), 3000)[0][:, 0]
    share = 0.3 * norm.pdf(0) / (0.3 * norm.pdf(0) + 0.7 * norm.pdf(2))
    assert (kinds == "b").mean() == pytest.approx(share, abs=0.06)


@pytest.mark.slow
def test_values_without_a_density_are_not_taken_for_missing(of_kinds):
    frame = pd.DataFrame({"kind": ["a"], "level": [0.0], "size": [np.nan], "count": [0.5]})
    assert of_kinds.log_prob(frame)[0] == -np.inf
    with pytest.raises(fm.UserError, match="column 'count' has a value that has no density"):
        of_kinds.impute(frame)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_application_1_models_missing_cells(tmp_path, monkeypatch, kinds):
    frame = _table(500) if kinds else pd.DataFrame(_gaussian(500, 0), columns=["a", "b", "c"])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    told = ["--data", str(tmp_path / "rows.csv"), "--missing", "model", "--steps", "40"]
    told += ["--output-dir", str(tmp_path / "run"), "--mlflow", "false", "--batch-size", "64"]
    told += ["--depth", "1", "--hidden", "[8]", "--architecture", "realnvp"]
    assert application(monkeypatch, 1, *told) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert np.isfinite(metrics["nll_test"])
    model = fm.load(str(tmp_path / "run"))
    assert np.isfinite(model.log_prob(frame)).all()
    from flow_models.__main__ import main

    scores = tmp_path / "scores.csv"
    call = ["flow_models", "score", str(tmp_path / "run"), str(tmp_path / "rows.csv")]
    monkeypatch.setattr("sys.argv", [*call, "--csv", str(scores)])
    with pytest.warns(FlowModelsWarning, match=f"{frame.isna().any(axis=1).sum()} of 500 rows"):
        assert status(main) == 0
    assert np.isfinite(pd.read_csv(scores).nll).all()
