"""Few rows: flows that start at a stacked mixture, and the defaults that follow the rows."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats

import flow_models as fm
from flow_models.applications.mapping import training_in_words
from flow_models.bijectors.mixture_cdf import MixtureCDF
from flow_models.bijectors.refined import Refined
from flow_models.diagnostics import baselines, stacking
from flow_models.training import few_rows

RNG = np.random.default_rng(0)


def clusters(n, seed):
    """Two clusters, one of them skewed, of different weight."""
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 1, (n, 2)) @ [[0.5, 0.4], [0.0, 0.3]]
    b = np.stack([np.exp(0.6 * rng.normal(size=n)) + 2, rng.normal(3, 0.3, n)], 1)
    return np.where(rng.random((n, 1)) < 0.6, a, b)


@pytest.fixture(scope="module", autouse=True)
def small_grids():
    """Fewer candidates: what is tested does not depend on how many there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacking, "BANDWIDTHS", np.array([0.1, 0.2, 0.4]))
        patch.setattr(stacking, "COMPONENTS", (1, 2, 3))
        patch.setattr(stacking, "SETTINGS", (("full", 0.01), ("diag", 1e-6)))
        yield


@pytest.fixture(scope="module")
def measured():
    layer, x = MixtureCDF(2, 100), tf.constant(clusters(100, 1) * [1, 20], tf.float32)
    weights, z = layer.data_dependent_init({}, x)
    return layer, weights, x, z


def log_prob(layer, weights, x):
    z, log_det = layer.forward_and_log_det(weights, tf.constant(x, tf.float32))
    return stats.norm.logpdf(z.numpy().astype(np.float64)).sum(1) + log_det.numpy()


def test_a_mixture_is_inverted_and_has_the_density_of_its_components(measured):
    layer, w, x, z = measured
    np.testing.assert_allclose(layer.inverse(w, z), x, rtol=1e-4, atol=1e-4)
    s = (x.numpy() - w["mean"]) / w["sd"]
    (s, slope), (bent, bent_slope) = layer._charts(w, x)
    total = np.zeros(len(x))
    factors, is_bent = w["factors"].numpy(), w["bent"].numpy()
    for k, (log_w, centre) in enumerate(zip(w["log_weights"].numpy(), w["centres"].numpy())):
        group = max(k - layer.rows + 1, 0)
        t, log_slope = (bent, bent_slope) if is_bent[group] else (s, slope)
        u = t.numpy() @ factors[group].T - centre
        log_det = np.log(np.diag(factors[group])).sum() + log_slope.numpy().sum(1)
        total += np.exp(log_w + stats.norm.logpdf(u).sum(1) + log_det)
    np.testing.assert_allclose(log_prob(layer, w, x), np.log(total), atol=1e-3)


def test_the_log_determinant_is_that_of_the_map(measured):
    layer, w, x, _ = measured
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = layer.forward_and_log_det(w, x)
    jacobian = tape.batch_jacobian(z, x).numpy().astype(np.float64)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, atol=1e-3)


def test_rows_far_away_have_a_density_and_draws_look_like_the_data(measured):
    layer, w, x, _ = measured
    assert np.isfinite(log_prob(layer, w, x.numpy() + 1e4)).all()
    drawn = layer.inverse(w, tf.constant(RNG.normal(size=(3000, 2)), tf.float32)).numpy()
    assert np.abs(drawn.mean(0) - x.numpy().mean(0)).max() < 0.3 * x.numpy().std(0).max()
    assert 0.8 < (drawn.std(0) / x.numpy().std(0)).min() < 1.3


def test_probabilities_of_whole_numbers_sum_to_one_whatever_the_noise():
    n = RNG.poisson(3, 120)
    kind = RNG.integers(0, 2, 120)
    x = np.stack([kind, n + 2 * kind], 1) + RNG.random((120, 2))
    layer = MixtureCDF(2, 120, ((0.0, 1.0), (0.0, None)))
    w, _ = layer.data_dependent_init({}, tf.constant(x, tf.float32))
    cells = np.stack(np.meshgrid([0, 1], np.arange(40)), -1).reshape(-1, 2)
    low, high = (log_prob(layer, w, cells + u) for u in (0.1, 0.9))
    assert np.exp(low).sum() == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(low, high, atol=1e-3)
    outside = log_prob(layer, w, np.array([[2.5, 3.5], [-0.5, 3.5], [0.5, -0.5]]))
    assert np.isneginf(outside).all()
    z = layer.forward_and_log_det(w, tf.constant(x, tf.float32))[0]
    np.testing.assert_allclose(layer.inverse(w, z), x, atol=1e-3)


def test_copies_of_rows_are_left_out_together_and_do_not_narrow_the_kernels():
    x = clusters(60, 8)
    x = (x - x.mean(0)) / x.std(0)
    repeated, level = np.repeat(x, 5, 0), np.zeros(300)
    stack, _, folds = stacking.stacked([repeated, repeated], level, 300)
    assert (folds.reshape(60, 5) == folds.reshape(60, 5)[:, :1]).all()
    assert len(set(folds)) == stacking.FOLDS
    widths = [1 / np.linalg.det(each.factors[0]) for each in (stack, _of(x))]
    assert widths[0] > 0.3 * widths[1], "the narrowest kernels, 0.1, if copies knew each other"


def _of(x):
    return stacking.stacked([x, x], np.zeros(len(x)), len(x))[0]


@pytest.fixture(scope="module")
def fitted():
    """A flow of 300 rows, 240 of them for training, by the rule of few rows."""
    train, held = clusters(240, 2).astype(np.float32), clusters(30, 3).astype(np.float32)
    flow = fm.spline_coupling(2, **few_rows.network(len(train), 2))
    model = fm.Model(flow, codecs={"x": ["a", "b"]}, jit=False)
    settings = few_rows.settings(fm.FitSettings(steps=100, jit=False), len(train), ("batch_size",))
    result = fm.fit(model, train, held, settings, progress=False)
    return model, result, train, held


def test_a_table_of_300_rows_ends_no_worse_than_the_best_baseline(fitted):
    model, result, train, held = fitted
    test = clusters(2000, 4)
    nll = {k: -v.mean() for k, v in baselines.densities(train, held, test).items()}
    assert isinstance(model.layer, Refined) and set(nll) == {"gaussian", "kde", "mixture"}
    assert -model.log_prob(test).mean() < min(nll.values()) + 0.01
    assert result.kept_step in (0, *result.history["step"])


def test_the_kept_weights_have_the_objective_that_is_told(fitted):
    model, result, _, held = fitted
    assert -model.log_prob(held).mean() == pytest.approx(result.kept_objective, abs=1e-3)


def test_training_rows_are_taken_through_mixtures_that_have_not_seen_them(fitted):
    model, _, train, _ = fitted
    rows = tf.constant(train)
    own, log_det = model.layer.start(model.weights, rows)
    of_others, log_det_of_others = model.layer.cross_fitted(model.weights, rows)
    own, of_others = (
        stats.norm.logpdf(np.asarray(z, np.float64)).sum(1) + np.asarray(each)
        for z, each in ((own, log_det), (of_others, log_det_of_others))
    )
    assert own.mean() > of_others.mean() + 0.02
    new = model.layer.start(model.weights, tf.constant(clusters(2000, 5), tf.float32))
    new = stats.norm.logpdf(np.asarray(new[0], np.float64)).sum(1) + np.asarray(new[1])
    assert of_others.mean() == pytest.approx(new.mean(), abs=0.2)


def test_validation_rows_of_a_category_get_their_noise_once():
    rng = np.random.default_rng(7)
    kind = rng.integers(0, 2, 150)
    frame = pd.DataFrame({"kind": np.array(["a", "b"])[kind], "v": rng.normal(size=150) + 3 * kind})
    columns = fm.Columns.of(frame)
    flow = fm.architectures.mixed("spline_coupling", columns.cdfs, depth=1, kernels=120)
    model = fm.Model(flow, codecs={"x": columns}, jit=False)
    settings = fm.FitSettings(steps=2, batch_size=120, eval_every_steps=1, jit=False)
    result = fm.fit(model, frame[:120], frame[120:], settings, progress=False)
    found = -model.log_prob(frame[120:]).mean()
    assert found == pytest.approx(result.kept_objective, abs=1e-3)
    truth = np.log(2) + stats.norm.entropy()
    assert truth - 0.4 < found < truth + 0.4


def test_a_saved_flow_is_the_same_in_a_new_process(fitted, tmp_path):
    model, _, _, held = fitted
    model.save(str(tmp_path / "model"))
    np.save(tmp_path / "held.npy", held)
    code = (
        "import sys, numpy as np, flow_models as fm; f = sys.argv[1];"
        "m = fm.load(f + '/model', jit=False);"
        "np.save(f + '/found.npy', m.log_prob(np.load(f + '/held.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=280)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.log_prob(held), atol=1e-4)


def test_a_start_that_stays_and_overfitting_are_said_in_words():
    history = {"step": [25.0, 50.0], "val_objective": [2.0, 2.5]}
    kept = SimpleNamespace(history=history, kept_step=0, stopped="early")
    assert training_in_words(kept) == (
        "Training: the mixture that the flow starts at is kept; in 50 steps no change of it was"
        " better on validation rows by more than its standard error."
    )
    better = SimpleNamespace(history=history, kept_step=25, stopped="early")
    text = "Training: best at step 25 of 50; validation rose since, by 0.5 nats."
    assert training_in_words(better) == text


def test_defaults_follow_the_rows():
    few = few_rows.settings(fm.FitSettings(), 150, (*few_rows.FIT, "batch_size"))
    assert (few.batch_size, few.patience, few.weight_decay) == (150, 8, 0.1)
    assert few_rows.settings(fm.FitSettings(), 5000) == fm.FitSettings(patience=15)
    assert few_rows.settings(fm.FitSettings(patience=3), 5000) == fm.FitSettings(patience=3)
    assert few_rows.settings(fm.FitSettings(), 5000, ("batch_size",)) == fm.FitSettings()
    assert few_rows.settings(fm.FitSettings(), 50_000) == fm.FitSettings()
    assert few_rows.network(150, 4)["kernels"] == 150 and "kernels" not in few_rows.network(150, 90)
    assert few_rows.network(5000, 4) == {}
    model, x = fm.Model(fm.realnvp(2, 1, (4,)), jit=False), clusters(90, 6)
    for data in (x, {"x": x}):
        assert few_rows.defaults(model, data).batch_size == 90
    assert few_rows.defaults(model, clusters(3000, 6)) == fm.FitSettings(patience=15)
