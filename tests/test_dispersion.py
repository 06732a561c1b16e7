"""Surface-wave dispersion against the Rayleigh function, limits of one layer and finite elements;
slopes, script, files."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from in_process import application
from scipy import optimize
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import eigsh

import flow_models as fm
from flow_models.applications.inverse import problem, study
from flow_models.core.serializable import from_config, to_config
from flow_models.references import laplace
from flow_models.simulators import dispersion, rayleigh
from flow_models.simulators.dispersion import Dispersion
from flow_models.simulators.rayleigh import phase_velocities

ALIKE = Dispersion()
SMALL = Dispersion(thickness=(1.0, 2.0, 4.0), periods=(2.0, 4.0, 8.0, 16.0))
DATA = Path(__file__).parents[1] / "data" / "dispersion.csv"


def rayleigh_speed(vs):
    """Root of (2 - s)^2 - 4 sqrt(1 - s) sqrt(1 - s vs^2 / vp^2), s = (c / vs)^2 (Rayleigh 1885)."""
    ratio = 1 / rayleigh.VP_OVER_VS**2
    function = lambda s: (2 - s) ** 2 - 4 * np.sqrt(1 - s) * np.sqrt(1 - s * ratio)
    return vs * np.sqrt(optimize.brentq(function, 0.5, 1 - 1e-9))


def finite_elements(velocity, thickness, k, depth, step):
    """Lowest angular frequency of P-SV motion of wavenumber k, at rest at `depth`: quadratic
    elements, u_x and u_z per node.

    Strains k u_x, u_z', u_x' - k u_z. The lowest eigenvalue is the fundamental mode, which a search
    for roots might miss.
    """
    edges = np.append(np.cumsum(np.append(0.0, thickness)), depth)
    nodes = np.concatenate(
        [np.linspace(a, b, int(np.ceil((b - a) / step)) + 1)[:-1] for a, b in zip(edges, edges[1:])]
        + [[depth]]
    )
    layer = np.searchsorted(edges[1:-1], (nodes[1:] + nodes[:-1]) / 2)
    vp = 1.75 * velocity
    density = 1.741 * vp**0.25
    rows, columns, stiffness, mass = [], [], [], []
    for e, (i, length) in enumerate(zip(layer, np.diff(nodes))):
        modulus, shear = density[i] * vp[i] ** 2, density[i] * velocity[i] ** 2
        ke, me = np.zeros((6, 6)), np.zeros((6, 6))
        for s, weight in zip(
            np.sqrt(0.6) * np.array([-1, 0, 1]), np.array([5, 8, 5]) / 18 * length
        ):
            shape, slope = (
                np.array([s * (s - 1) / 2, 1 - s * s, s * (s + 1) / 2]),
                np.array([s - 0.5, -2 * s, s + 0.5]) * 2 / length,
            )
            xx, zz, xz = (
                np.kron(k * shape, [1, 0]),
                np.kron(slope, [0, 1]),
                np.kron(slope, [1, 0]) - np.kron(k * shape, [0, 1]),
            )
            normal = np.outer(xx + zz, xx + zz)
            ke += weight * (
                (modulus - 2 * shear) * normal
                + 2 * shear * (np.outer(xx, xx) + np.outer(zz, zz))
                + shear * np.outer(xz, xz)
            )
            me += weight * density[i] * np.kron(np.outer(shape, shape), np.eye(2))
        at = 4 * e + np.arange(6)
        (
            rows.append(np.repeat(at, 6)),
            columns.append(np.tile(at, 6)),
            stiffness.append(ke.ravel()),
            mass.append(me.ravel()),
        )
    index, free = (np.concatenate(rows), np.concatenate(columns)), 4 * len(layer)
    matrices = [
        coo_matrix((np.concatenate(values), index)).tocsc()[:free, :free]
        for values in (stiffness, mass)
    ]
    return float(np.sqrt(eigsh(matrices[0], 1, matrices[1], sigma=0, return_eigenvectors=False)[0]))


def test_a_homogeneous_half_space_has_the_speed_of_rayleighs_function_at_all_periods():
    found = phase_velocities(np.full((1, 4), 3.0), np.array([1.0, 2, 4, 0]), np.geomspace(1, 50, 8))
    np.testing.assert_allclose(found, rayleigh_speed(3.0), rtol=1e-7)


def test_one_layer_is_all_that_short_waves_see_and_nothing_to_long_ones():
    periods = np.array([0.2, 2.0, 400.0])
    found = phase_velocities(np.array([[2.0, 3.5]]), np.array([2.0, 0.0]), periods)[0]
    np.testing.assert_allclose(found[[0, 2]], [rayleigh_speed(2.0), rayleigh_speed(3.5)], rtol=2e-3)
    assert found[0] < found[1] < found[2]


def test_layered_media_against_finite_elements():
    """The sixth medium has fast layers over slow ones, where modes come near each other."""
    theta = np.append(np.asarray(ALIKE.prior(5, (3, 4), tf.float64)), np.zeros((1, 11)), 0)
    velocity = np.array(ALIKE.physical(tf.constant(theta)))
    velocity[5] = [2.56, 2.58, 2.77, 2.86, 2.83, 3.08, 3.6, 3.92, 3.64, 3.47, 3.55]
    periods = np.array([3.0, 10.0, 30.0])
    found = phase_velocities(velocity, np.append(ALIKE.thickness, 0.0), periods)
    for v, curve in zip(velocity, found):
        for period, c in zip(periods, curve):
            k = 2 * np.pi / (period * c)
            below = 30 + 4 * period * c  # waves die out over a wavelength
            expected = finite_elements(v, ALIKE.thickness, k, below, min(period * c / 12, 2.0))
            assert 2 * np.pi / expected == pytest.approx(period, rel=2e-4)


def test_a_finer_search_finds_the_same_roots():
    thickness, periods = np.append(ALIKE.thickness, 0.0), np.array(ALIKE.periods)
    velocity = np.asarray(ALIKE.physical(ALIKE.prior(1000, (8, 9), tf.float64)))
    found = phase_velocities(velocity, thickness, periods)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(
        phase_velocities(velocity, thickness, periods, search=0.002), found, atol=1e-8
    )


def test_media_without_a_bound_mode_are_left_out_and_counted(monkeypatch):
    slow_below, broken, far_off = [[3.0, 3.0, 1.5]], [[np.nan, 3.0, 4.0]], [[3.0, 3.0, 1e30]]
    for velocity in map(np.array, (slow_below, broken, far_off)):
        assert np.isnan(
            phase_velocities(velocity, np.array([5.0, 5.0, 0.0]), np.array([1.0, 2.0]))
        ).all()
    monkeypatch.setattr(dispersion, "SPREAD", 0.5)  # half-spaces far slower than what lies above
    dispersion._prior.cache_clear()
    problem._compiled_batch.cache_clear()
    try:
        wild = Dispersion(thickness=(10.0, 10.0), periods=(2.0, 4.0))
        drawn = problem.draw(wild, 1500, 1)
        curves = np.asarray(wild.forward(wild.prior(1000, (1, 1))))
        theta = tf.cast(wild.prior(1000, (1, 1)), tf.float64)
        residual, jacobian = wild.residual_and_jacobian(
            theta, tf.fill([1000, 3], tf.constant(2.0, tf.float64))
        )
    finally:
        dispersion._prior.cache_clear()
        problem._compiled_batch.cache_clear()
    assert 20 < drawn.left_out < 1500 and len(drawn.theta) == 1500 and np.isfinite(drawn.y).all()
    lost = np.isnan(curves).any(1)
    assert lost.any() and (np.asarray(residual)[lost] == 1e4).all() and np.isfinite(jacobian).all()


def test_jacobian_against_differences():
    theta, y = SMALL.simulate(4, (1, 2), tf.float64)
    residual, jacobian = SMALL.residual_and_jacobian(theta, y)
    np.testing.assert_allclose(residual, SMALL.residual(theta, y), rtol=1e-12)
    step = 0.01
    for k in range(SMALL.size):
        ahead = tf.constant(step * np.eye(SMALL.size)[k])
        difference = (SMALL.residual(theta + ahead, y) - SMALL.residual(theta - ahead, y)) / (
            2 * step
        )
        np.testing.assert_allclose(
            jacobian[:, :, k], difference, atol=3e-3 * np.abs(jacobian).max()
        )


def test_velocities_and_whitened_parameters_are_inverse():
    theta = ALIKE.prior(4, (7, 8), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        velocity = ALIKE.physical(theta)
    back, log_det = ALIKE.whiten(velocity)
    np.testing.assert_allclose(back, theta, atol=1e-12)
    np.testing.assert_allclose(
        log_det, -np.linalg.slogdet(tape.batch_jacobian(velocity, theta))[1], atol=1e-12
    )
    log_v = np.log(ALIKE.physical(ALIKE.prior(20000, (1, 1), tf.float64)))
    middle = np.array([0.5, 1.5, 3, 5, 7.5, 10.5, 14, 18, 22.5, 27.5, 30])
    np.testing.assert_allclose(log_v.mean(0), np.log(2.0 + 0.073 * middle), atol=0.004)
    np.testing.assert_allclose(
        np.cov(log_v.T), 0.01 * np.exp(-np.abs(np.subtract.outer(middle, middle)) / 8), atol=5e-4
    )


def test_noise_is_independent_and_of_the_level_that_stands_beside_the_data():
    clean = tf.zeros([20000, 4], tf.float64)
    y = SMALL.observe(clean, (1, 2)).numpy()
    np.testing.assert_array_equal(y, SMALL.observe(clean, (1, 2)))
    np.testing.assert_allclose([y[:, -1].min(), y[:, -1].max()], np.log([0.005, 0.05]), atol=1e-3)
    np.testing.assert_allclose(np.cov((y[:, :-1] / np.exp(y[:, -1:])).T), np.eye(4), atol=0.05)
    np.testing.assert_array_equal(SMALL.decorrelated(tf.constant(y)), y[:, :-1])
    told = Dispersion(thickness=(1.0,), periods=(1.0, 2.0), sigma=0.02).simulate(3, (1, 2))[1]
    np.testing.assert_allclose(told[:, -1], np.log(0.02), rtol=1e-6)


def test_modes_are_those_of_the_exact_density():
    """Where the search for modes ends, the density falls in all directions: its slopes are those of
    the package's curves."""
    theta, y = SMALL.simulate(3, (5, 6), tf.float64)
    found = laplace.gauss_newton(SMALL, y)
    assert found.converged.all()
    mode = tf.constant(found.mean)
    best = SMALL.log_posterior(mode, y).numpy()
    for direction in np.random.default_rng(0).normal(size=(6, 1, SMALL.size)):
        assert (SMALL.log_posterior(mode + 0.02 * direction, y).numpy() < best).all()
    assert (SMALL.log_posterior(theta, y).numpy() < best).all()


def test_description_names_and_sizes():
    for simulator in (ALIKE, SMALL):
        assert from_config(to_config(simulator)) == simulator
        theta, y = simulator.simulate(2, (1, 2))
        assert (
            theta.shape == (2, simulator.size)
            and y.shape == (2, simulator.data_size)
            and theta.dtype == y.dtype == tf.float32
        )
    assert ALIKE.size == 11 and ALIKE.data_size == 21
    assert ALIKE.parameter_names[0] == "vs_1_km_s" and ALIKE.parameter_names[-1] == "vs_11_km_s"
    assert ALIKE.data_names[0] == "c_2_s_km_s" and ALIKE.data_names[-1] == "log_sigma"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(thickness=()), "thickness is"),
        (dict(thickness=(1.0, 0.0)), "must be numbers above 0"),
        (dict(periods=(1.0,)), "at least two"),
        (dict(periods=(2.0, 1.0)), "rising"),
        (dict(sigma=-0.1), "sigma is -0.1"),
    ],
)
def test_wrong_experiments(arguments, message):
    with pytest.raises(fm.UserError, match=message):
        Dispersion(**arguments)


TINY = [
    "--problem",
    "dispersion",
    "--steps",
    "30",
    "--depth",
    "1",
    "--hidden",
    "[8]",
    "--batch-size",
    "64",
    "--simulations",
    "1000",
    "--validation-draws",
    "100",
    "--test-draws",
    "30",
    "--posterior-samples",
    "60",
    "--compare",
    "false",
    "--mlflow",
    "false",
    "--architecture",
    "realnvp",
    "--references",
    "1",
    "--reference",
    "false",
    "--correct",
    "false",
]


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs application 7 with a reference folder of its own; returns the exit status."""
    monkeypatch.setattr(study, "ALARM_DRAWS", 300)
    return lambda *arguments: application(
        monkeypatch, 7, "--reference-folder", tmp_path / "kept", *TINY, *arguments
    )


@pytest.mark.slow
def test_the_example_of_the_folder_data(call, tmp_path):
    more = ["--compare", "true", "--joint-depth", "1", "--joint-hidden", "[8]", "--bins", "4"]
    assert call("--output-dir", str(tmp_path / "run"), "--observed", str(DATA), *more) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (
        metrics["nats_above_laplace"] < 1.5
        and 0.6 < metrics["observed_misfit"] < 1.6
        and metrics["draws_left_out"] == 0
    )
    assert metrics["observed_p_value"] > 0.01 and 0.3 < metrics["coverage_50"] < 0.7
    assert 0 < metrics["coverage_90_joint"] <= 1
    figures = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert {
        "velocity_observed",
        "curve_observed",
        "velocity_test_1",
        "curve_test_1",
        "corner",
        "coverage",
        "ranks",
    } <= figures
    rows = list(csv.DictReader(open(tmp_path / "run" / "posterior.csv")))
    assert [row["parameter"] for row in rows] == list(ALIKE.parameter_names)
    model, y = (
        fm.load(str(tmp_path / "run")),
        np.append(np.loadtxt(DATA, delimiter=",", skiprows=2)[:, 1], np.log(0.02)),
    )
    x = model.posterior(y, 5, seed=1)
    np.testing.assert_array_equal(x, model.posterior(y, 5, seed=1))
    assert np.isfinite(model.log_prob(x, y)).all()


EXAMPLE = DATA.read_text()


@pytest.mark.parametrize(
    "text, more, message",
    [
        (
            EXAMPLE.replace("period_s", "period"),
            [],
            "no column 'period_s'; columns are period_s, phase_velocity_km_s, [sigma]",
        ),
        (
            EXAMPLE[: EXAMPLE.rindex("30,")],
            [],
            "19 periods; the network takes the 20 periods 2, 2.31,",
        ),
        (
            EXAMPLE.replace("2.31,", "2.5,"),
            [],
            "column period_s: 2.5 where 2.31 is expected; the network takes the 20 periods",
        ),
        (
            EXAMPLE.replace(",2.041,", ",2041,"),
            [],
            "column phase_velocity_km_s: 2041 is no speed in km/s",
        ),
        (
            EXAMPLE.replace(",0.02\n", "\n").replace(",sigma", ""),
            [],
            "give the noise as one number above 0: --sigma",
        ),
        (None, ["--problem", "love"], "no problem 'love'; there are seismograms, dispersion"),
        (None, ["--hard", "true"], "hard is a variant of --problem seismograms"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_no_folder(
    call, tmp_path, capsys, text, more, message
):
    if text is not None:
        (tmp_path / "mine.csv").write_text(text)
        more = ["--observed", str(tmp_path / "mine.csv")]
    assert call("--output-dir", str(tmp_path / "run"), *more) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "Traceback" not in error and len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named(call, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "flow_models.simulators.rayleigh")
    monkeypatch.delattr(sys.modules["flow_models.simulators"], "rayleigh")
    monkeypatch.setitem(sys.modules, "disba._cps._surf96", None)
    assert call("--output-dir", str(tmp_path / "run")) == 2
    assert "dispersion curves need the package disba" in capsys.readouterr().err
