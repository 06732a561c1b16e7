"""A posterior that is known exactly, both frames, save and load, wrong input."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from posterior_models import measured, new

import flow_models as fm
from flow_models.applications.inverse.problem import InverseProblem
from flow_models.applications.settings import Inverse
from flow_models.architectures.registry import build
from flow_models.bijectors.frames import LaplaceFrame, PriorFrame
from flow_models.models import posteriors
from flow_models.simulators.ballistics import Ballistics
from flow_models.simulators.dispersion import Dispersion
from flow_models.simulators.drawn import Drawn
from flow_models.simulators.gravity import Gravity
from flow_models.simulators.kinematics import Kinematics
from flow_models.simulators.linear_gaussian import LinearGaussian
from flow_models.simulators.seismic import Seismograms
from flow_models.training import batches

SIMULATOR = LinearGaussian(matrix=((1.0, 0.5, 0.0), (0.0, 1.0, -1.0)))


def flow(size, width):
    return build("realnvp", size, depth=2, hidden=(16,), condition_size=width, standardise=False)


def autoregressive(size, width):
    return build("maf", size, depth=1, hidden=(8,), condition_size=width, standardise=False)


def draws(n=2000, seed=(1, 2), simulator=SIMULATOR):
    return (np.asarray(a) for a in simulator.simulate(n, seed))


@pytest.fixture(scope="module")
def laplace():
    return measured(LaplaceFrame(SIMULATOR, components=2, steps=1), *draws(), flow)


def test_in_the_laplace_frame_a_linear_problem_is_solved_without_training(laplace):
    theta, y = draws(5, (3, 4))
    mean, covariance = SIMULATOR.exact_posterior(y)
    x = laplace.posterior(y, 20_000, seed=0)
    np.testing.assert_allclose(x.mean(1), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x[2].T), covariance, atol=0.03)
    inverse, deviation = np.linalg.inv(covariance), theta - mean
    exact = (
        -0.5 * np.einsum("bi,ij,bj->b", deviation, inverse, deviation)
        - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    np.testing.assert_allclose(laplace.log_prob(theta, y), exact, atol=1e-4)


def test_in_the_prior_frame_training_finds_the_exact_posterior():
    theta, y = draws(20_000)
    model = measured(PriorFrame(SIMULATOR), theta, y, flow)
    assert not batches.through_frame(model, {"x": theta, "y": y})["log_det"].any()
    fm.fit(
        model,
        {"x": theta, "y": y},
        settings=fm.FitSettings(steps=1500, batch_size=256, learning_rate=3e-3),
    )
    y = list(draws(3, (5, 6)))[1]
    mean, covariance = SIMULATOR.exact_posterior(y)
    x = model.posterior(y, 5000, seed=0)
    np.testing.assert_allclose(x.mean(1), mean, atol=0.12)
    np.testing.assert_allclose(np.cov(x[0].T), covariance, atol=0.12)


@pytest.mark.parametrize(
    "simulator",
    [
        Ballistics(),
        Kinematics(),
        Gravity(),
        Seismograms(),
        Dispersion(),
        SIMULATOR,
        Drawn.of(np.eye(3)[:, :2], np.eye(3)[:, :1]),
    ],
)
def test_samples_of_many_posteriors_are_in_the_units_of_the_user_row_by_row(simulator):
    theta = np.asarray(simulator.prior(10, (0, 5)))
    many = np.asarray(simulator.physical(tf.constant(theta.reshape(2, 5, -1))))
    np.testing.assert_allclose(
        many, np.asarray(simulator.physical(tf.constant(theta))).reshape(2, 5, -1), rtol=1e-5
    )


def test_draws_repeat_and_one_observation_is_the_first_of_many(laplace):
    y = list(draws(3, (5, 6)))[1]
    np.testing.assert_array_equal(laplace.posterior(y, 7, seed=1), laplace.posterior(y, 7, seed=1))
    assert laplace.posterior(y, 7).shape == (3, 7, 3) and laplace.posterior(y[0], 7).shape == (7, 3)
    np.testing.assert_allclose(
        laplace.posterior(y[0], 7, seed=1), laplace.posterior(y, 7, seed=1)[0], atol=1e-5
    )
    assert np.abs(laplace.posterior(y, 7, seed=1) - laplace.posterior(y, 7, seed=2)).max() > 0.1


def test_many_samples_are_drawn_in_parts_and_none_repeats(laplace, monkeypatch):
    monkeypatch.setattr(posteriors, "SAMPLES", 20)
    y = list(draws(5, (5, 6)))[1]
    x = laplace.posterior(y, 10)
    assert len(np.unique(x.reshape(-1, 3), axis=0)) == 50


def test_a_loaded_model_gives_equal_densities_and_draws(laplace, tmp_path):
    theta, y = draws(4, (3, 4))
    laplace.save(str(tmp_path / "model"))
    again = fm.load(str(tmp_path))
    np.testing.assert_array_equal(again.log_prob(theta, y), laplace.log_prob(theta, y))
    np.testing.assert_array_equal(again.posterior(y, 3), laplace.posterior(y, 3))
    assert again.columns == ["x1", "x2", "x3"]


def test_density_in_the_units_of_the_user_integrates_to_one():
    theta, y = draws(5000)
    x, simulator = 3 + 2 * theta[:, :2], Drawn.of(3 + 2 * theta[:, :2], y, ["a", "b"])
    whitened = simulator.whiten(x.astype(np.float32))[0].numpy()
    model = measured(PriorFrame(simulator), whitened, y, flow)
    fm.fit(model, {"x": whitened, "y": y}, settings=fm.FitSettings(steps=100, batch_size=256))
    axis = np.linspace(-12, 18, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    assert np.exp(model.log_prob(grid, y[0])).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(
        1, abs=0.01
    )


def test_y_of_one_row_serves_many_x(laplace):
    theta, y = draws(4, (3, 4))
    np.testing.assert_allclose(
        laplace.log_prob(theta, y[0])[2], laplace.log_prob(theta[2], y[0]), atol=1e-5
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda m: m.posterior(np.zeros(3), 5),
            r"y must have shape \[..., 2\] \(y1, y2\), got \[3\]",
        ),
        (lambda m: m.posterior(np.array([np.nan, 0.0]), 5), "not finite"),
        (lambda m: m.posterior(np.zeros(2), 0), "at least 1"),
        (
            lambda m: m.posterior(np.zeros(2), 5, seed=2**63),
            "a seed is a whole number of 64 bits, got 9223372036854775808",
        ),
        (
            lambda m: m.posterior(np.zeros(2), 5, seed=1.5),
            "a seed is a whole number of 64 bits, got 1.5",
        ),
        (
            lambda m: m.predict(np.zeros(3), 5, seed=None),
            "a seed is a whole number of 64 bits, got None",
        ),
        (lambda m: m.posterior("here", 5), "must be numbers"),
        (lambda m: m.log_prob(np.zeros(2), np.zeros(2)), r"x must have shape \[..., 3\]"),
        (lambda m: m.log_prob(np.zeros((3, 3)), np.zeros((2, 2))), "do not go together"),
        (
            lambda m: m.log_prob(np.zeros(3), np.array([np.nan, 0.0])),
            "y has values that are not finite",
        ),
        (lambda m: m.sample(3), "give y"),
        (lambda m: m.posterior(None, 3), "give y"),
        (
            lambda m: m.posterior(np.zeros(2), 3, sampling_temperature=float("nan")),
            "sampling_temperature is nan",
        ),
        (
            lambda m: m.posterior(np.zeros(2), 3, sampling_temperature="hot"),
            "sampling_temperature is 'hot'",
        ),
        (lambda m: m.anomaly_score(np.zeros(2)), "no density of the data"),
    ],
)
def test_wrong_input_is_one_clear_line(laplace, call, message):
    with pytest.raises(fm.UserError, match=message):
        call(laplace)


def test_pairs_that_do_not_fit_are_refused():
    with pytest.raises(fm.UserError, match="unequal length"):
        Drawn.of(np.zeros((3, 1)), np.zeros((4, 1)))
    with pytest.raises(fm.UserError, match="column 0 of y is constant"):
        Drawn.of(np.arange(4.0)[:, None], np.ones((4, 1)))


def test_data_are_predicted_by_the_simulator(laplace):
    x = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, 0.0]], np.float32)
    y = laplace.predict(x, 20_000, seed=3)
    np.testing.assert_allclose(y.mean(1), x @ np.array(SIMULATOR.matrix).T, atol=0.05)
    assert laplace.predict(x[0], 5).shape == (5, 2)
    np.testing.assert_array_equal(
        laplace.predict(x[0], 5, seed=1), laplace.predict(x[0], 5, seed=1)
    )
    with pytest.raises(fm.UserError, match=r"x must have shape \[..., 3\]"):
        laplace.predict(x[:, :2], 5)
    assert laplace.predict(x[:0], 5).shape == (0, 5, 2)


def test_there_are_test_pairs_for_all_references():
    asked = Inverse(simulations=1000, validation_draws=100, test_draws=20, references=40)
    problem = InverseProblem("linear", SIMULATOR, None)
    problem.draw(SimpleNamespace(inverse=asked, fit=fm.FitSettings()))
    assert [len(problem.parts[name].y) for name in ("train", "validation", "test")] == [
        1000,
        100,
        40,
    ] and problem.rate > 0


def test_what_cannot_be_predicted_is_told():
    frame = PriorFrame(Drawn.of(np.arange(300.0)[:, None], np.arange(300.0)[:, None] ** 2))
    model = new(frame, autoregressive)
    with pytest.raises(
        fm.UserError, match="saved without data to predict from"
    ):  # as pairs were before they were kept
        model.predict([1.0], 3)
    model = new(PriorFrame(Dispersion()), flow)
    with pytest.raises(fm.UserError, match="outside what the prior allows"):
        model.predict([-1.0] * 11, 3)
