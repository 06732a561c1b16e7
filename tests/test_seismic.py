"""Seismograms against travelling waves on a lattice in time; the Jacobian against differences and
autodiff."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from flow_models import UserError
from flow_models.core.serializable import from_config, to_config
from flow_models.simulators.seismic import TOP, Seismograms

SMALL = dict(layers=5, samples=30, layer_time=0.05)
KINDS = {
    "equal time": Seismograms(**SMALL),
    "equal thickness": Seismograms(**SMALL, layer_thickness=0.04),
}


TICK = 1e-4  # s, of the lattice


def on_lattice(simulator, velocity, p):
    """The nearest velocities whose vertical two-way times are whole pairs of ticks, and these
    times."""
    h = simulator.layer_thickness
    time = lambda v: (2 * h / v if h else simulator.layer_time) * np.sqrt(1 - (p * v) ** 2)
    pairs = np.round(time(velocity[:-1]) / (2 * TICK))
    exact = 2 * TICK * pairs
    if h:
        moved = 1 / np.sqrt((exact / (2 * h)) ** 2 + p**2)
    else:
        moved = np.sqrt(1 - (exact / simulator.layer_time) ** 2) / p if p else velocity[:-1]
    return np.append(moved, velocity[-1]), pairs.astype(int).tolist()


def lattice(velocity, p, one_way, length):
    """What returns to the top at each tick: up- and downgoing waves on a Goupillaud lattice, split
    at interfaces."""
    v = np.append(TOP, velocity)
    impedance = 1.741 * v**0.25 / np.sqrt(1 / v**2 - p**2)
    r = (impedance[1:] - impedance[:-1]) / (impedance[1:] + impedance[:-1])
    down, up = [[collections.deque([0.0] * n, maxlen=n) for n in one_way] for _ in range(2)]
    returned = np.zeros(length)
    for t in range(length):
        incident = [float(t == 0)] + [line[-1] for line in down]  # on each interface from above
        rising = [line[-1] for line in up] + [0.0]  # and from below
        reflected = [a * i + (1 - a) * u for a, i, u in zip(r, incident, rising)]
        for a, i, u, line in zip(r, incident, rising, down):
            line.appendleft((1 + a) * i - a * u)
        for wave, line in zip(reflected[1:], up):
            line.appendleft(wave)
        returned[t] = reflected[0]
    return returned


def trace_in_time(simulator, velocity, p, one_way):
    """The lattice's impulses, each replaced by a Ricker wavelet [T]."""
    times = np.arange(simulator.samples) * simulator.interval
    impulses = lattice(
        velocity, p, one_way, int(1.5 * simulator.samples * simulator.interval / TICK)
    )
    at = np.flatnonzero(impulses)
    squared = (np.pi * simulator.frequency * (times[:, None] - TICK * at - simulator.delay)) ** 2
    return (1 - 2 * squared) * np.exp(-squared) @ impulses[at]


@pytest.mark.parametrize("kind", KINDS)
def test_traces_are_those_of_a_lattice_in_time_at_every_ray_parameter(kind):
    """All multiples included; contrasts are several times those of the prior."""
    simulator = KINDS[kind]
    velocity = np.array([2.0, 1.9, 2.5, 2.2, 2.7])
    for k, p in enumerate(simulator.ray_parameters):
        moved, pairs = on_lattice(simulator, velocity, p)
        traces = (
            simulator.forward(simulator.whiten(moved[None])[0])
            .numpy()
            .reshape(len(simulator.ray_parameters), -1)
        )
        expected = trace_in_time(simulator, moved, p, pairs)
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(traces[k], expected, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_against_autodiff_and_differences(kind):
    simulator = KINDS[kind]
    theta, y = simulator.simulate(2, (1, 2), tf.float64)
    residual, jacobian = tf.function(simulator.residual_and_jacobian, jit_compile=True)(theta, y)
    np.testing.assert_allclose(residual, simulator.residual(theta, y), atol=1e-11)
    step = 1e-5
    for k in range(simulator.size):
        ahead = tf.constant(step * np.eye(simulator.size)[k])
        difference = (
            simulator.residual(theta + ahead, y) - simulator.residual(theta - ahead, y)
        ) / (2 * step)
        np.testing.assert_allclose(jacobian[:, :, k], difference, atol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        log_posterior = simulator.log_posterior(theta, y)
    expected = -np.einsum("bmp,bm->bp", jacobian, residual) - theta
    np.testing.assert_allclose(tape.gradient(log_posterior, theta), expected, rtol=1e-9)


def test_float32_is_accurate_far_below_the_noise():
    simulator = Seismograms()
    theta, y = simulator.simulate(50, (1, 2))
    double = tf.cast(theta, tf.float64), tf.cast(y, tf.float64)
    exact = simulator.forward(double[0]).numpy()
    np.testing.assert_allclose(simulator.forward(theta), exact, atol=2e-6)
    assert 0.03 < exact.std() < 0.08
    single, full = (
        simulator.residual_and_jacobian(theta, y),
        simulator.residual_and_jacobian(*double),
    )
    np.testing.assert_allclose(single[0], full[0], atol=2e-3)
    np.testing.assert_allclose(single[1], full[1], atol=1e-3)


def test_velocities_and_whitened_parameters_are_inverse():
    simulator = Seismograms()
    theta = simulator.prior(4, (7, 8), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        velocity = simulator.physical(theta)
    back, log_det = simulator.whiten(velocity)
    np.testing.assert_allclose(back, theta, atol=1e-12)
    np.testing.assert_allclose(
        log_det, -np.linalg.slogdet(tape.batch_jacobian(velocity, theta))[1], atol=1e-12
    )
    log_v = np.log(simulator.physical(simulator.prior(20000, (1, 1), tf.float64)))
    np.testing.assert_allclose(
        log_v.mean(0), np.log(1.8 + 0.028 * (np.arange(20) + 0.5)), atol=0.003
    )
    lag = np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    np.testing.assert_allclose(np.cov(log_v.T), 0.08**2 * np.exp(-lag / 2), atol=3e-4)


def test_noise_is_correlated_within_a_trace_and_the_residual_decorrelates_it():
    simulator = Seismograms(samples=10)
    theta = tf.zeros([20000, simulator.size], tf.float64)
    clean = simulator.forward(theta)
    y = simulator.observe(clean, (1, 2))
    np.testing.assert_array_equal(y, simulator.observe(clean, (1, 2)))
    log_sigma = y[:, -1].numpy()
    np.testing.assert_allclose([log_sigma.min(), log_sigma.max()], np.log([0.004, 0.04]), atol=1e-3)
    np.testing.assert_allclose(
        log_sigma.std(), np.log(10) / np.sqrt(12), rtol=0.02
    )  # of a uniform distribution
    noise = (y[:, :-1] - clean).numpy() / np.exp(log_sigma)[:, None]
    lag = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    np.testing.assert_allclose(np.cov(noise.T), np.kron(np.eye(4), 0.6**lag), atol=0.05)
    white = simulator.residual(theta, y).numpy()
    np.testing.assert_allclose(np.cov(white.T), np.eye(40), atol=0.05)


def test_the_noise_level_can_be_told():
    simulator = Seismograms(samples=5, sigma=0.01)
    theta, y = simulator.simulate(3, (1, 2))
    np.testing.assert_allclose(y[:, -1], np.log(0.01), rtol=1e-6)
    told = simulator.observe(
        simulator.forward(theta), (1, 2), log_sigma=tf.constant([-3.0, -4.0, -5.0])
    )
    np.testing.assert_allclose(told[:, -1], [-3, -4, -5])


def test_description_names_and_sizes():
    for simulator in (Seismograms(), *KINDS.values()):
        assert from_config(to_config(simulator)) == simulator
        theta, y = simulator.simulate(2, (1, 2))
        assert theta.shape == (2, simulator.size) and y.shape == (2, simulator.data_size)
    assert Seismograms().data_size == 193 and Seismograms().data_names[-2:] == (
        "p_0.180_t_0.94_s",
        "log_sigma",
    )
    assert Seismograms().parameter_names[19] == "velocity_20_km_s"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(layers=1), "layers is 1"),
        (dict(samples=1), "samples is 1"),
        (dict(interval=0.0), "interval is 0.0, must be above 0"),
        (dict(layer_thickness=-1.0), "layer_thickness is -1.0"),
        (dict(sigma=-0.1), "sigma is -0.1"),
        (dict(ray_parameters=()), "at least one ray parameter"),
        (dict(ray_parameters=(0.0, 0.4)), "beyond which waves are refracted"),
    ],
)
def test_wrong_experiments(arguments, message):
    with pytest.raises(UserError, match=message):
        Seismograms(**arguments)
