"""Ensembles of posteriors, what a training says at its end, learning curves, and the defaults that
follow the pairs."""

import dataclasses

import numpy as np
import pytest

import flow_models as fm
from flow_models.applications.own_defaults import OwnFit, defaults
from flow_models.applications.own_problem import prepare
from flow_models.applications.own_training import ending, of_curve
from flow_models.bijectors.regression_frame import regression
from flow_models.commands import infer
from flow_models.models import posteriors
from flow_models.models.truncated import Truncated
from flow_models.runs.config import parse
from flow_models.training.trainer import FitResult


@pytest.fixture(scope="module")
def three():
    """An ensemble for y = x + 0.5 N(0, 1), x uniform on (0, 1), and what was said of it."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=400)
    y = x + 0.5 * rng.normal(size=400)
    settings = fm.FitSettings(steps=60, batch_size=64, learning_rate=8e-3, jit=False)
    options = {"settings": settings, "hidden": (8,), "depth": 1, "bins": 4}
    return fm.fit_posterior(x, y, lower=0, upper=1, members=3, **options)


def test_the_density_of_an_ensemble_is_the_mean_inside_the_bounds(three):
    assert len(three.members) == 3
    x, y = np.array([[0.2], [0.6]]), np.array([[0.3], [0.9]])
    encoded = three.codec.encode(x, np.float32)
    each = [one.log_prob_of_network(encoded, y) for one in three.members]
    assert np.ptp(each, axis=0).min() > 1e-4
    mean = np.log(np.mean(np.exp(each), 0))
    np.testing.assert_allclose(three.log_prob_of_network(encoded, y), mean, atol=1e-5)
    grid = np.linspace(0, 1, 402)[1:-1, None]
    p = np.exp(three.log_prob(grid, [0.3]))
    assert p.mean() == pytest.approx(1, abs=0.06)


def test_samples_of_an_ensemble_are_of_all_members(three):
    drawn = three.posterior([0.3], 600)[:, 0]
    assert drawn.min() > 0 and drawn.max() < 1 and len(np.unique(drawn)) > 590
    grid = np.linspace(0, 1, 402)[1:-1]
    p = np.exp(three.log_prob(grid[:, None], [0.3]))
    assert drawn.mean() == pytest.approx((p * grid).mean() / p.mean(), abs=0.05)
    np.testing.assert_array_equal(drawn, three.posterior([0.3], 600)[:, 0])
    assert three.posterior([[0.3], [0.5]], 1).shape == (2, 1, 1)


def test_the_share_inside_is_that_of_the_draws(three):
    blocks = three.observed(np.array([[0.3], [1.4]]))[0]
    found = posteriors.share_inside(three, blocks, 2000)
    np.testing.assert_allclose(found, np.exp(posteriors.log_share_inside(three, blocks)), atol=0.03)
    assert isinstance(three.codec, Truncated) and 0.2 < found.min() < found.max() < 1


@pytest.mark.slow
def test_bounds_are_in_the_network_where_almost_all_draws_are_outside(capsys):
    """Seven parameters that crowd at a bound: a Gaussian of their moments has 6% inside."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(300, 7)) ** 12
    settings = fm.FitSettings(steps=20, batch_size=64, jit=False)
    options = {"settings": settings, "hidden": (8,), "depth": 1, "bins": 2, "upper": 1.0}
    options["architecture"] = "realnvp"
    model = fm.fit_posterior(x, x[:, 0] + rng.normal(size=300), lower=0.0, **options)
    said = capsys.readouterr().err
    assert "of the network's draws are inside the bounds: it is trained anew" in said
    assert said.count("best at step") == 2 and not isinstance(model.codec, Truncated)
    drawn = model.posterior([0.5], 300)
    assert drawn.min() > 0 and drawn.max() < 1 and np.isfinite(model.log_prob(drawn, [0.5])).all()
    assert drawn.mean() == pytest.approx(1 / 13, abs=0.05)


def test_an_ensemble_is_saved(three, tmp_path):
    three.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    assert len(again.members) == 3
    np.testing.assert_array_equal(again.posterior([0.3], 20), three.posterior([0.3], 20))
    np.testing.assert_array_equal(again.log_prob([0.3], [0.2]), three.log_prob([0.3], [0.2]))
    np.testing.assert_array_equal(again.predict([0.5], 5), three.predict([0.5], 5))


def test_the_number_of_members_is_whole():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1))
    for wrong in (0, 1.5, "5"):
        with pytest.raises(fm.UserError, match="members is .*: a whole number of at least 1"):
            fm.fit_posterior(x, x + rng.normal(size=x.shape), members=wrong)


def _result(train, held, kept, stopped="early"):
    steps = [100, 200, 300]
    history = {"step": steps, "train_objective": train, "val_objective": held}
    place = steps.index(kept)
    return FitResult(history, 1.0, 0.1, 9.0, stopped, kept_step=kept, kept_objective=held[place])


def test_the_ending_says_when_it_was_best_and_what_would_help():
    settings = fm.FitSettings(steps=300, batch_size=50)
    line = ending(_result([1.0, 0.5, 0.2], [1.1, 0.9, 1.4], 200), 1000, settings)
    assert line.startswith("best at step 200 of 300 (pass 10): -log p 0.900 of held-out pairs")
    assert line.endswith("0.40 more than of training pairs: more pairs would help")
    line = ending(_result([1.0, 0.85, 0.8], [1.1, 0.9, 1.0], 200), 1000, settings)
    assert line.endswith("more pairs would help little")
    line = ending(_result([1.0, 0.9, 0.8], [1.1, 0.9, 0.8], 300, "finished"), 1000, settings)
    assert line.endswith("still falling: more steps may help")


def test_a_learning_curve_says_what_twice_as_many_pairs_would_gain():
    line = of_curve([(250, 1.4), (500, 1.0), (1000, 0.8)])
    assert line.endswith("0.800 with 1,000 pairs; twice as many would gain about 0.100")
    assert of_curve([(250, 1.0), (500, 1.1), (1000, 1.2)]).endswith("about 0.000")


def test_defaults_follow_the_pairs():
    batches = [defaults(pairs, 5, 8).settings.batch_size for pairs in (250, 900, 9_000, 90_000)]
    assert batches == [64, 128, 384, 512]
    assert defaults(1000, 5, 8).architecture == "maf"
    assert defaults(1000, 40, 8).architecture == "spline_coupling"
    for pairs in (200, 900, 9_000, 90_000, 10**6):
        settings = defaults(pairs, 5, 8).settings
        assert settings.patience == 20 and settings.batch_size <= pairs
        looks = settings.eval_every_steps * settings.batch_size / pairs
        assert looks <= 4
    assert defaults(1000, 5, 8) == defaults(1000, 5, 8)


@pytest.fixture(scope="module")
def linear():
    """A linear Gaussian problem, as its network starts: p(x | y) = N(G y, C)."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3))
    operator = rng.normal(size=(3, 4))
    y = x @ operator + 0.5 * rng.normal(size=(400, 4))
    settings = fm.FitSettings(steps=1, batch_size=64, learning_rate=1e-6, jit=False)
    model = fm.fit_posterior(1e4 + x, y, settings=settings, hidden=(8,), depth=1)
    covariance = np.linalg.inv(np.eye(3) + operator @ operator.T / 0.25)
    return model, covariance @ operator / 0.25, covariance


def test_a_linear_gaussian_is_nearly_known_before_training(linear):
    model, gain, covariance = linear
    y = np.random.default_rng(2).normal(size=(200, 4))
    drawn = model.posterior(y, 50) - 1e4
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(1) - y @ gain.T) / sd).mean() < 0.25
    np.testing.assert_allclose((drawn - drawn.mean(1)[:, None]).std((0, 1)), sd, rtol=0.15)
    np.testing.assert_allclose(
        model.decode(model.encode(1e4 + drawn[:, 0], y), y) - 1e4, drawn[:, 0], atol=1e-3
    )


def test_data_unlike_the_pairs_have_a_high_score(linear, tmp_path):
    model, _, _ = linear
    scores = model.anomaly_score(np.random.default_rng(3).normal(size=(50, 4)))
    assert model.anomaly_score([30.0, 0, 0, 0]) > scores.max() + 20
    model.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    assert again.anomaly_score([30.0, 0, 0, 0]) == model.anomaly_score([30.0, 0, 0, 0])


def test_a_regression_that_explains_little_is_left_out():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(500, 60))
    y -= y.mean(0)
    theta = np.stack([y[:, 0] + 0.1 * rng.normal(size=500), rng.normal(size=500)], 1)
    slopes, left = regression(y, theta)
    assert not slopes[:, 1].any() and left[1] == 1
    assert slopes[0, 0] == pytest.approx(1, abs=0.02) and left[0] == pytest.approx(0.01, rel=0.3)


def test_what_a_run_is_not_told_follows_from_the_pairs():
    x = np.random.default_rng(0).normal(size=(600, 1))
    options = {"hidden": (8,), "depth": 1, "bins": 4}
    found = prepare(x, x + 1, **options).settings
    assert prepare(x, x + 1, settings=OwnFit(), **options).settings == found
    told = OwnFit(steps=5000, patience=0, batch_size=5000, seed=3)  # as in FitSettings, and wider
    ready = prepare(x, x + 1, settings=told, **options)
    expected = {"steps": 5000, "patience": 0, "batch_size": 540, "seed": 3}
    assert ready.settings == dataclasses.replace(found, **expected)
    plain = prepare(x, x + 1, settings=fm.FitSettings(seed=3), **options)
    np.testing.assert_array_equal(ready.held["x"], plain.held["x"])
    with pytest.raises(fm.UserError, match="steps is 0"):
        OwnFit(steps=0)


def test_flags_of_infer_that_are_defaults_elsewhere_are_heard():
    parsed = parse(infer.Config, infer.PRESETS, "", ["--patience", "0", "--steps", "5000"])
    assert parsed.fit == OwnFit(steps=5000, patience=0)
    assert infer.Config().fit.batch_size == -1
