"""One posterior refined by the exact likelihood, from the amortised one."""

import numpy as np
import pytest
import tensorflow as tf
from posterior_models import measured

import flow_models as fm
from flow_models.applications.inverse.refined import refine
from flow_models.architectures.registry import build
from flow_models.bijectors.frames import LaplaceFrame, PriorFrame
from flow_models.bijectors.layer import leaves
from flow_models.models.given import given
from flow_models.simulators.gravity import Gravity
from flow_models.simulators.linear_gaussian import LinearGaussian

# steep enough for a posterior that no Gaussian is
GRAVITY = Gravity(stations=(2.0, 6.0), columns=4, width=8.0, tolerance=1.0, correlation=3.0)
LINEAR = LinearGaussian(matrix=((1.0, 0.5, 0.0), (0.0, 1.0, -1.0)))
SETTINGS = fm.FitSettings(steps=400, batch_size=256, learning_rate=5e-3, eval_every_steps=100)


def flow(size, width):
    return build("maf", size, depth=1, hidden=(16,), condition_size=width, standardise=False)


def pairs(simulator, n=1000):
    return (np.asarray(each) for each in simulator.simulate(n, (0, 1)))


@pytest.fixture(scope="module")
def gravity():
    """A model that knows the Laplace approximation and no more, and an observation."""
    theta, y = pairs(GRAVITY)
    return measured(LaplaceFrame(GRAVITY, components=2, steps=2), theta, y, flow), y[3]


@pytest.fixture(scope="module")
def refined(gravity):
    model, y = gravity
    before = {name: value.numpy() for name, value in leaves(model.weights).items()}
    found = refine(model, y, SETTINGS)
    after = leaves(model.weights)
    assert all((before[name] == after[name].numpy()).all() for name in before)
    return found


def test_a_model_given_y_is_the_conditional_one_at_y(gravity, tmp_path):
    model, y = gravity
    alone = given(model, y)
    x = model.posterior(y, 50, seed=1)
    np.testing.assert_allclose(alone.log_prob(x), model.log_prob(x, y), atol=2e-4)
    alone.save(str(tmp_path))
    loaded = fm.load(str(tmp_path))
    np.testing.assert_allclose(loaded.log_prob(x), alone.log_prob(x), atol=1e-6)
    np.testing.assert_array_equal(loaded.sample(3, seed=0), alone.sample(3, seed=0))


def test_a_model_without_frame_or_with_y_among_the_outputs(gravity):
    flow_ = build("realnvp", 2, depth=2, hidden=(8,), condition_size=3)
    model = fm.Model(flow_, fm.Partition({"x": 2}, {"z": 2}, given={"y": 3}))
    x, y = np.ones((4, 2), np.float32), np.array([0.5, -1.0, 2.0], np.float32)
    np.testing.assert_allclose(given(model, y).log_prob(x), model.log_prob(x, y), atol=1e-5)
    with pytest.raises(fm.UserError, match="one y"):
        given(model, y[None])
    joint = fm.Model(build("realnvp", 2, depth=2), fm.Partition({"x": 2}, {"y": 1, "z": 1}))
    with pytest.raises(fm.UserError, match="one y"):
        given(joint, [0.5])


@pytest.mark.slow
def test_refining_a_gravity_posterior_makes_its_draws_exact(gravity, refined):
    """The effective share rises to almost all, and means agree with weighted draws of before."""
    model, y = gravity
    log_posterior = lambda theta: GRAVITY.log_posterior(
        theta, tf.repeat(tf.constant(y)[None], theta.shape[0], 0)
    )
    from flow_models.models.weighted import weighted_samples

    before = weighted_samples(given(model, y), log_posterior, 40_000, seed=1)
    after = refined.sample(10_000, seed=2)
    assert after.ess_fraction > max(0.97, before.ess_fraction)
    assert after.log_z == pytest.approx(before.log_z, abs=4 * before.log_z_se + 0.01)
    spread = before.x.std(0)
    error = np.abs(after.x.mean(0) - before.mean(before.x)) / spread
    assert error.max() < 0.08


@pytest.mark.slow
def test_refining_a_linear_problem_finds_the_exact_posterior_and_evidence():
    theta, y = pairs(LINEAR)
    model = measured(PriorFrame(LINEAR), theta, y, flow)
    found = refine(model, y[0], SETTINGS)
    mean, covariance = LINEAR.exact_posterior(y[:1])
    drawn = found.sample(20_000, seed=1)
    np.testing.assert_allclose(drawn.mean(drawn.x), mean[0], atol=0.03)
    centred = drawn.x - mean[0]
    np.testing.assert_allclose(
        drawn.mean(centred[:, :, None] * centred[:, None]), covariance, atol=0.03
    )
    at_mean = LINEAR.log_posterior(tf.constant(mean[:1], tf.float32), tf.constant(y[:1]))
    log_z = float(at_mean[0]) + 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert drawn.log_z == pytest.approx(log_z, abs=0.01)
