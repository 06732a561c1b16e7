"""Kinematics and ballistics: forward models against worked and integrated cases, exact posteriors
against rejection."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.integrate import solve_ivp

from flow_models.core.errors import UserError
from flow_models.diagnostics.two_sample import mmd_squared
from flow_models.references import correction
from flow_models.simulators import ballistics, kinematics
from flow_models.simulators.ballistics import Ballistics
from flow_models.simulators.kinematics import Kinematics

ARM, THROW = Kinematics(), Ballistics()
SAMPLERS = {
    "kinematics": (ARM, kinematics.exact_posterior),
    "ballistics": (THROW, ballistics.exact_posterior),
}
RIGHT = math.pi / 2


@pytest.mark.parametrize(
    "x, joints",
    [
        ((0.0, 0.0, 0.0, 0.0), ((0, 0), (0.5, 0), (1, 0), (2, 0))),
        ((0.1, RIGHT, -RIGHT, RIGHT), ((0, 0.1), (0, 0.6), (0.5, 0.6), (0.5, 1.6))),
        (
            (-0.2, 2 * RIGHT, -RIGHT, -3 * RIGHT),
            ((0, -0.2), (-0.5, -0.2), (-0.5, 0.3), (-1.5, 0.3)),
        ),
    ],
)
def test_arm_worked_by_hand(x, joints):
    theta, log_det = ARM.whiten(tf.constant([x], tf.float64))
    np.testing.assert_allclose(ARM.joints(theta)[0], joints, atol=1e-12)
    np.testing.assert_allclose(ARM.forward(theta)[0], joints[-1], atol=1e-12)
    np.testing.assert_allclose(log_det, -np.log([0.25 * 0.5**3]))


@pytest.mark.parametrize(
    "height, angle, speed", [(1.5, 0.2, 15.0), (0.0, 1.4, 25.0), (3.0, 0.7, 3.0), (0.01, 0.16, 8.0)]
)
def test_flight_against_integration(height, angle, speed):
    def motion(_, state):
        _, _, v1, v2 = state
        return v1, v2, -0.25 / 0.2 * v1, -0.25 / 0.2 * v2 - 9.81

    def ground(_, state):
        return state[1]

    ground.terminal, ground.direction = True, -1
    start = (-0.3, height, speed * math.cos(angle), speed * math.sin(angle))
    flight = solve_ivp(motion, (0, 20), start, events=ground, rtol=1e-10, atol=1e-12)
    theta = THROW.whiten(tf.constant([[-0.3, height, angle, speed]], tf.float64))[0]
    np.testing.assert_allclose(THROW.forward(theta)[0, 0], flight.y_events[0][0][0], rtol=1e-7)


def test_below_the_ground_is_thrown_from_the_ground():
    throws = tf.constant([[0.0, -0.4, 0.8, 15.0], [0.0, 0.0, 0.8, 15.0]], tf.float64)
    below, at = ballistics.landing(throws).numpy()
    np.testing.assert_array_equal(below, at)
    assert at > 1


def test_float32_lands_where_float64_does():
    theta = THROW.prior(20_000, (0, 3), tf.float64)
    exact = THROW.forward(theta).numpy()
    np.testing.assert_allclose(THROW.forward(tf.cast(theta, tf.float32)), exact, atol=1e-4)
    assert np.isfinite(exact).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_whitening_and_linearisation_against_autodiff(name):
    simulator = SAMPLERS[name][0]
    theta = simulator.prior(50, (1, 1), tf.float64)
    y = simulator.observe(simulator.forward(theta), (1, 2))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(theta)
        x, residual = simulator.physical(theta), simulator.residual(theta, y)
    back, log_det = simulator.whiten(x)
    np.testing.assert_allclose(back, theta, atol=1e-9)
    slopes = np.linalg.slogdet(tape.batch_jacobian(x, theta))[1]
    np.testing.assert_allclose(log_det, -slopes, atol=1e-9)
    np.testing.assert_allclose(
        simulator.residual_and_jacobian(theta, y)[1],
        tape.batch_jacobian(residual, theta),
        atol=1e-7,
    )


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_repeat_and_carry_the_stated_noise(name):
    simulator = SAMPLERS[name][0]
    theta, y = simulator.simulate(20_000, (3, 0))
    np.testing.assert_array_equal(y, simulator.simulate(20_000, (3, 0))[1])
    r = simulator.residual(theta, y).numpy()
    assert r.shape[1] == simulator.data_size == len(simulator.data_names)
    assert abs(r.std() - 1) < 0.02 and abs(r.mean()) < 0.03  # of 20,000: 4 standard errors


def test_ballistics_derivative_against_differences():
    theta = THROW.prior(20, (5, 5), tf.float64)
    jacobian = THROW.residual_and_jacobian(theta, THROW.forward(theta))[1][:, 0] * THROW.tolerance
    for i in range(4):
        step = 1e-6 * np.eye(4)[i]
        slope = (THROW.forward(theta + step) - THROW.forward(theta - step))[:, 0] / 2e-6
        np.testing.assert_allclose(jacobian[:, i], slope, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_exact_posterior_lies_on_the_surface(name):
    simulator, exact = SAMPLERS[name]
    y = simulator.forward(simulator.prior(8, (7, 0), tf.float64)).numpy()
    x, size = exact(y, 500, seed=1)
    reached = (
        simulator.forward(simulator.whiten(tf.constant(x.reshape(-1, 4)))[0])
        .numpy()
        .reshape(8, 500, -1)
    )
    np.testing.assert_allclose(reached, np.broadcast_to(y[:, None], reached.shape), atol=1e-9)
    assert (size > 1000).all()
    np.testing.assert_array_equal(
        x[:2], exact(y[:2], 500, seed=1)[0]
    )  # each has random numbers of its own


@pytest.mark.parametrize(
    "name, y", [("kinematics", (1.7, -0.8)), ("kinematics", (1.9, -0.5)), ("ballistics", (6.0,))]
)
def test_exact_posterior_against_rejection(name, y):
    """Draws of the prior whose data lie within 0.01 of y."""
    simulator, exact = SAMPLERS[name]
    simulate = tf.function(lambda seed: _pairs(simulator, seed), jit_compile=True)
    kept = []
    for number in range(30):
        x, data = (a.numpy() for a in simulate(tf.constant([4, number])))
        kept.append(x[np.square(data - y).sum(1) < 0.01**2])
    kept = np.concatenate(kept)[:2000].astype(float)
    assert len(kept) > 500
    gap = mmd_squared(exact([y], 2000, seed=2)[0][0], kept)
    prior = simulator.physical(simulator.prior(len(kept), (0, 9))).numpy().astype(float)
    assert gap < 0.002 < 0.03 < mmd_squared(prior, kept)


def _pairs(simulator, seed):
    theta = simulator.prior(200_000, seed)
    return simulator.physical(theta), simulator.forward(theta)


@pytest.mark.parametrize("name", SAMPLERS)
def test_posteriors_of_the_prior_predictive_average_to_the_prior(name):
    """One draw of the posterior of each of 120 observations: theta ~ N(0, I) again."""
    simulator, exact = SAMPLERS[name]
    y = simulator.forward(simulator.prior(120, (8, 0), tf.float64)).numpy()
    x = exact(y, 1, seed=3, proposals=3000)[0][:, 0]
    theta = simulator.whiten(tf.constant(x))[0].numpy()
    np.testing.assert_allclose(theta.mean(0), 0, atol=4 / 120**0.5)
    np.testing.assert_allclose(theta.std(0), 1, atol=4 / 240**0.5)


def test_an_end_point_out_of_reach_is_refused():
    with pytest.raises(UserError, match="no candidate of the prior explains the observation"):
        kinematics.exact_posterior([[2.1, 0.0]], 10, proposals=2_000_000)
    with pytest.raises(UserError, match="tolerance is 0.0; it must be above 0"):
        Kinematics(tolerance=0.0)


def test_steps_onto_the_data_take_the_shortest_way():
    theta = ARM.prior(64 * 10, (2, 0), tf.float64)
    y = ARM.forward(theta[::10]).numpy()
    start = (tf.repeat(theta[::10], 10, 0) + 0.02 * theta).numpy().reshape(64, 10, 4)
    moved = correction.gauss_newton(ARM, start, y, steps=4)
    data = np.repeat(y, 10, 0)
    before, after = (
        np.square(ARM.residual(tf.constant(t.reshape(-1, 4)), data)).mean() for t in (start, moved)
    )
    assert before > 1 and after < 1e-3 * before
    step = moved - start
    jacobian = ARM.residual_and_jacobian(tf.constant(moved.reshape(-1, 4)), data)[1].numpy()
    rows = np.linalg.svd(jacobian, full_matrices=False)[2]
    along = np.einsum("bmp,bp->bm", rows, step.reshape(-1, 4))
    assert np.linalg.norm(along) > 0.98 * np.linalg.norm(
        step
    )  # the step has little outside the rows of the Jacobian


def test_correction_refuses_what_does_not_fit():
    theta, y = np.zeros((2, 5, 4)), np.zeros((3, 2))
    with pytest.raises(UserError, match=r"samples \[B, S, P\] go with y \[B, M\]"):
        correction.gauss_newton(ARM, theta, y)
