"""Gravity over a valley against quadrature of the attraction; the Jacobian against autodiff and
differences."""

import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf

from flow_models import UserError
from flow_models.core.serializable import from_config, to_config
from flow_models.simulators.gravity import Gravity

SIMULATORS = [
    Gravity(),
    Gravity(decay=3.0),
    Gravity(
        stations=(-2.0, 0.0, 7.3, 20.0, 20.0),
        tolerance=(0.3, 0.4, 0.5, 0.6, 0.7),
        columns=9,
        width=18.0,
        contrast=250.0,
    ),
]
NAMES = ["default", "decay", "own profile"]


def attraction(simulator, depth, station):
    """mGal of all columns: 2 G times the double integral of contrast(z) z / (x^2 + z^2), by
    adaptive quadrature."""
    density = lambda z: (
        simulator.contrast * (np.exp(-z / simulator.decay) if simulator.decay else 1.0)
    )
    vertical = lambda z, x: 2 * 6.6743e-3 * density(z) * z / ((x - station) ** 2 + z**2)
    edges = simulator.edges
    columns = [
        scipy.integrate.dblquad(vertical, edges[j], edges[j + 1], 0, d)[0]
        for j, d in enumerate(depth)
    ]
    return sum(columns)


@pytest.mark.parametrize("simulator", SIMULATORS, ids=NAMES)
def test_gravity_agrees_with_quadrature_of_the_two_dimensional_integral(simulator):
    depth = simulator.physical(simulator.prior(1, (3, 4), tf.float64)).numpy()
    gravity = simulator.gravity(depth).numpy()[0]
    for k in (0, len(simulator.stations) // 2):
        expected = attraction(simulator, depth[0], simulator.stations[k])
        assert gravity[k] == pytest.approx(expected, abs=2e-4), simulator.stations[k]


def test_a_station_on_an_edge_beside_one_and_on_no_edge():
    """The term x ln(1 + d^2 / x^2) is continuous through x = 0."""
    near = Gravity(stations=(1.0, 1.0 + 1e-9, 1.0 + 1e-7, 1.0 + 1e-5))
    gravity = near.forward(near.prior(3, (1, 1), tf.float64)).numpy()
    np.testing.assert_allclose(gravity, np.repeat(gravity[:, :1], 4, 1), atol=2e-3)
    assert np.isfinite(near.forward(near.prior(3, (1, 1))).numpy()).all()


def test_a_decay_over_a_great_depth_is_none():
    theta = Gravity().prior(2, (5, 6), tf.float64)
    np.testing.assert_allclose(
        Gravity(decay=1e6).forward(theta), Gravity().forward(theta), atol=1e-3
    )


@pytest.mark.parametrize("simulator", SIMULATORS, ids=NAMES)
def test_jacobian_against_autodiff_and_differences(simulator):
    theta, y = simulator.simulate(3, (1, 2), tf.float64)
    residual, jacobian = tf.function(simulator.residual_and_jacobian, jit_compile=True)(theta, y)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        plain = simulator.residual(theta, y)
    np.testing.assert_allclose(residual, plain, atol=1e-11)
    np.testing.assert_allclose(
        residual, (simulator.forward(theta) - y) / simulator.sigma, atol=1e-11
    )
    np.testing.assert_allclose(
        jacobian, tape.batch_jacobian(plain, theta), atol=1e-6
    )  # 16 nodes, differentiated
    step = 1e-5
    for k in (0, simulator.size - 1):
        ahead = tf.constant(step * np.eye(simulator.size)[k])
        difference = (
            simulator.residual(theta + ahead, y) - simulator.residual(theta - ahead, y)
        ) / (2 * step)
        np.testing.assert_allclose(jacobian[:, :, k], difference, atol=1e-6)


@pytest.mark.parametrize("simulator", SIMULATORS, ids=NAMES)
def test_depths_and_whitened_parameters_are_inverse(simulator):
    theta = simulator.prior(4, (7, 8), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        depth = simulator.physical(theta)
    back, log_det = simulator.whiten(depth)
    np.testing.assert_allclose(back, theta, atol=1e-10)
    np.testing.assert_allclose(
        log_det, -np.linalg.slogdet(tape.batch_jacobian(depth, theta))[1], atol=1e-9
    )
    single = tf.cast(theta, tf.float32)
    np.testing.assert_allclose(simulator.whiten(simulator.physical(single))[0], single, atol=5e-4)


def test_prior_quantiles_of_depth_and_gravity():
    simulator = Gravity()
    theta = simulator.prior(20000, (1, 1))
    depth, gravity = simulator.physical(theta).numpy(), simulator.forward(theta).numpy()
    np.testing.assert_allclose(
        np.quantile(depth[:, 19], [0.01, 0.5, 0.99]), [0.35, 2.12, 4.9], atol=0.2
    )
    np.testing.assert_allclose(
        np.quantile(gravity.min(1), [0.01, 0.5, 0.99]), [-65, -41, -20], atol=2.5
    )


def test_float32_is_accurate_to_a_thousandth_of_the_tolerance():
    theta = Gravity().prior(200, (1, 2))
    for simulator in (Gravity(), Gravity(decay=3.0)):
        exact = simulator.forward(tf.cast(theta, tf.float64))
        np.testing.assert_allclose(simulator.forward(theta), exact, atol=2e-4)


def test_noise_has_the_tolerance_of_its_station_and_its_seed():
    simulator = SIMULATORS[2]
    clean = tf.zeros([20000, 5], tf.float64)
    noise = simulator.observe(clean, (1, 2)).numpy()
    np.testing.assert_allclose(noise.std(0), simulator.tolerance, rtol=0.03)
    np.testing.assert_array_equal(noise, simulator.observe(clean, (1, 2)))
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.03


def test_description_names_and_sizes():
    for simulator in SIMULATORS:
        assert from_config(to_config(simulator)) == simulator
        theta, y = simulator.simulate(2, (1, 2))
        assert theta.shape == (2, simulator.size) and y.shape == (2, simulator.data_size)
    assert (
        Gravity().parameter_names[0] == "depth_0.5_km"
        and Gravity().data_names[-1] == "gravity_39_km_mgal"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(stations=()), "at least one station"),
        (dict(stations=(1.0, float("nan"))), "must be finite"),
        (dict(tolerance=0.0), "tolerance is 0.0, must be above 0"),
        (dict(tolerance=(0.5, 0.5)), "2 tolerances for 20 stations"),
        (dict(decay=-1.0), "decay is -1.0"),
        (dict(contrast=0.0), "contrast is 0.0"),
        (dict(columns=1), "columns is 1"),
        (dict(width=0.0), "width is 0.0"),
        (dict(correlation=0.0), "correlation is 0.0"),
    ],
)
def test_wrong_profiles(arguments, message):
    with pytest.raises(UserError, match=message):
        Gravity(**arguments)
