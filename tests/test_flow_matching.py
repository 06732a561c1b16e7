"""Losses of continuous flows: flow matching, and the cost of transport."""

import json

import in_process
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors.layer import leaves
from flow_models.training import paths
from flow_models.training.trainer import _default_loss

SMALL = {"hidden": (24, 24), "tolerance": 1e-4}


def built(name, condition=0, **options):
    partition = fm.Partition({"x": 2}, {"z": 2}, given={"y": condition} if condition else {})
    bijector = fm.architectures.build(name, 2, condition_size=condition, **SMALL | options)
    return fm.Model(bijector, partition)


def moved(model):
    for i, variable in enumerate(leaves(model.weights).values()):
        if variable.trainable:
            noise = np.random.default_rng(i).normal(size=variable.shape)
            variable.assign_add(0.3 * noise.astype("f"))
    return model


def pairs(n, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 1))
    x = 3 + np.concatenate([y, -y], 1) + [[0.5, 0.8]] * rng.normal(size=(n, 2))
    return {"x": x.astype("f"), "y": y.astype("f")}


@pytest.fixture(scope="module")
def matched():
    model = built("flow_matching", 1)
    settings = fm.FitSettings(steps=1500, batch_size=256, learning_rate=5e-3, ema=0.98)
    return model, fm.fit(model, pairs(20_000), pairs(1000, 1), settings)


def test_matching_learns_a_conditional_density_and_its_log_p_is_exact(matched):
    model, result = matched
    assert result.history["val_objective"][-1] < result.history["val_objective"][0]
    test = pairs(3000, 2)
    mean = 3 + np.concatenate([test["y"], -test["y"]], 1)
    truth = scipy.stats.norm(mean, [0.5, 0.8]).logpdf(test["x"]).sum(1)
    gap = truth - model.log_prob(test["x"], test["y"])
    assert abs(gap.mean()) < 0.03 + 3 * gap.std() / len(gap) ** 0.5
    axis = np.linspace(-2, 8, 201)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_p = model.log_prob(grid, np.full((len(grid), 1), 0.7, "f")).astype(float)
    assert abs(np.exp(log_p).sum() * 0.05**2 - 1) < 0.01
    draws = model.sample(4000, np.array([[1.0]], "f")).reshape(-1, 2)
    np.testing.assert_allclose(draws.mean(0), [4, 2], atol=0.1)
    np.testing.assert_allclose(draws.std(0), [0.5, 0.8], atol=0.1)


def test_matching_is_saved_and_loaded(matched, tmp_path):
    matched[0].save(tmp_path / "model")
    again, test = fm.load(tmp_path / "model"), pairs(50, 3)
    np.testing.assert_allclose(
        again.log_prob(test["x"], test["y"]), matched[0].log_prob(test["x"], test["y"]), atol=1e-5
    )


def test_flows_name_their_loss_and_others_train_by_likelihood():
    assert _default_loss(built("flow_matching")).identity == {"flow_matching": 1}
    assert _default_loss(built("ot_flow")).identity == {"transport": paths.TRANSPORT}
    for name in ("ffjord", "realnvp"):
        bijector = fm.architectures.build(name, 2, hidden=(8,))
        assert _default_loss(fm.Model(bijector)).identity is None


@pytest.mark.slow
def test_matching_trains_what_ffjord_trains():
    model = built("ffjord")
    loss, x = fm.flow_matching(model), pairs(512)["x"]
    before = model.log_prob(x).mean()
    fm.fit(model, x, settings=fm.FitSettings(steps=200, batch_size=64, ema=0.9), loss=loss)
    assert model.log_prob(x).mean() > before + 0.5, "from a Gaussian far from the data"


def test_noise_follows_the_batch_alone_so_that_validation_compares_weights():
    model = moved(built("flow_matching"))
    loss, x = fm.flow_matching(model), tf.constant(pairs(64)["x"])
    first, again = (loss(model.weights, {"x": x})["objective"].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = loss(model.weights, {"x": x + [[1e-3, 0.0]]})["objective"]
    assert np.abs(other - first).max() > 0.1, "another batch has other noise"
    model.weights[-1]["b0"].assign_add(1e-4 * tf.ones_like(model.weights[-1]["b0"]))
    np.testing.assert_allclose(loss(model.weights, {"x": x})["objective"], first, atol=0.01)


def test_times_are_spread_evenly_and_follow_no_order_of_the_rows():
    times = paths._times(tf.constant(64), tf.constant([1, 2]), tf.float64).numpy()
    assert (np.sort(np.floor(64 * times**0.5)) == np.arange(64)).all()
    assert abs(np.corrcoef(times, np.arange(64))[0, 1]) < 0.4


def test_the_cost_of_transport_is_that_of_the_path():
    model = moved(built("ot_flow"))
    x = pairs(256)["x"]
    found = paths.transport(model, 0.3)(model.weights, {"x": tf.constant(x)})
    terms = {name: each.numpy() for name, each in found.items()}
    objective = terms["latent"] - terms["log_det"] + 0.3 * terms["transport"]
    np.testing.assert_allclose(terms["objective"], objective, rtol=1e-5)
    np.testing.assert_allclose(terms["latent"] - terms["log_det"], -model.log_prob(x), rtol=1e-3)
    front = model.layer.layers[0].forward_and_log_det(model.weights[0], tf.constant(x))[0]
    straight = np.sum((model.encode(x) - front) ** 2, 1) / 2  # the least cost to get there
    assert (terms["transport"] >= straight - 1e-3).all() and straight.mean() > 0.1
    assert terms["transport"].mean() > straight.mean() + 1e-3, "these paths bend"


@pytest.mark.slow
def test_the_cost_straightens_paths():
    x, costs = pairs(2000)["x"] ** 3 / 20, []
    for weight in (0.0, 1.0):
        model = built("ot_flow", seed=1, hidden=(8, 8), tolerance=1e-3)
        settings = fm.FitSettings(steps=60, batch_size=64, learning_rate=2e-2, ema=0.9)
        result = fm.fit(model, x, settings=settings, loss=paths.transport(model, weight))
        costs.append(result.history["train_transport"][-1])
    assert costs[1] < 0.9 * costs[0]


@pytest.mark.parametrize("name, options", [("ffjord", {"depth": 2}), ("realnvp", {})])
def test_flows_without_one_field_are_refused(name, options):
    model = fm.Model(fm.architectures.build(name, 2, hidden=(8,), **options))
    for loss in (paths.flow_matching, paths.transport):
        with pytest.raises(fm.UserError, match="does not end with one Continuous layer"):
            loss(model)


@pytest.mark.slow
def test_application_1_trains_by_matching_and_reports_the_likelihood(monkeypatch, tmp_path):
    arguments = {"data": "moons", "architecture": "flow_matching", "steps": 60, "hidden": "[16]"}
    small = {"test-points": 400, "batch-size": 64, "output-dir": tmp_path / "run"}
    told = [part for name, value in (arguments | small).items() for part in (f"--{name}", value)]
    assert in_process.application(monkeypatch, 1, *told) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert abs(metrics["nll_val"] - metrics["nll_test"]) < 0.3, "not the objective of the matching"
    assert metrics["kl_to_truth"] > 0 and (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_posteriors_are_matched_behind_a_frame():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    y = x + 0.5 * rng.normal(size=x.shape)
    settings = fm.FitSettings(steps=400, batch_size=128, learning_rate=5e-3, ema=0.98)
    options = {"architecture": "flow_matching", "hidden": (24,), "tolerance": 1e-3}
    model = fm.fit_posterior(x, y, settings=settings, **options)
    draws = model.posterior([1.0, -0.5], 2000)
    np.testing.assert_allclose(draws.mean(0), [0.8, -0.4], atol=0.12)
    np.testing.assert_allclose(draws.std(0), 0.2**0.5, atol=0.1)


def test_bounded_columns_come_first_and_training_is_by_likelihood():
    flow = fm.architectures.flow_matching(3, hidden=(8,), lower=[0.0, None, None])
    assert _default_loss(fm.Model(flow)).identity is None
    assert np.isneginf(fm.Model(flow).log_prob(np.array([[-1.0, 0.0, 0.0]], "f"))).all()
