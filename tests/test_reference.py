"""Laplace approximations and Markov chains against posteriors known exactly, and the cache."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from flow_models import UserError
from flow_models.core.errors import FlowModelsWarning
from flow_models.references import cache as reference_cache
from flow_models.references.laplace import gauss_newton, laplace, modes
from flow_models.references.reference import Sampling, convergence, reference, sample
from flow_models.simulators.gravity import Gravity
from flow_models.simulators.simulator import Simulator

SHORT = Sampling(chains=4, warmup=100, draws=600, thin=2, starts=3)


@dataclasses.dataclass(frozen=True)
class Linear(Simulator):
    """y = G theta + 0.3 e: the posterior is Gaussian with precision I + G^T G / 0.09."""

    matrix: tuple[tuple[float, ...], ...] = ((1.0, 0.5, 0.0), (0.2, -1.0, 0.1))
    sigma: float = 0.3

    parameter_names = property(lambda self: tuple("abc"))
    data_names = property(lambda self: tuple("uv"))

    def forward(self, theta):
        return tf.linalg.matmul(theta, tf.constant(self.matrix, theta.dtype), transpose_b=True)

    def observe(self, clean, seed):
        return clean + self.sigma * tf.random.stateless_normal(
            tf.shape(clean), seed, dtype=clean.dtype
        )

    def residual_and_jacobian(self, theta, y):
        jacobian = tf.constant(self.matrix, theta.dtype) / self.sigma
        return (self.forward(theta) - y) / self.sigma, tf.tile(
            jacobian[None], [tf.shape(theta)[0], 1, 1]
        )

    def exact(self, y):
        """Mean [B, P] and covariance [P, P] of the posterior."""
        g = np.array(self.matrix)
        covariance = np.linalg.inv(np.eye(3) + g.T @ g / self.sigma**2)
        return y @ g @ covariance / self.sigma**2, covariance


@dataclasses.dataclass(frozen=True)
class Folded(Simulator):
    """y = theta^2 + 0.2 theta + 0.3 e: two modes, of unequal mass."""

    parameter_names = property(lambda self: ("a",))
    data_names = property(lambda self: ("u",))

    def forward(self, theta):
        return theta**2 + 0.2 * theta

    def residual_and_jacobian(self, theta, y):
        return (self.forward(theta) - y) / 0.3, (2 * theta[..., None] + 0.2) / 0.3


@pytest.fixture(scope="module")
def gravity():
    """A small profile, data of four valleys, and its reference."""
    simulator = Gravity(stations=(2.0, 5.0, 8.0), columns=6, width=10.0, tolerance=0.5)
    y = simulator.simulate(4, (1, 2), tf.float64)[1].numpy()
    return simulator, y, sample(simulator, y, dataclasses.replace(SHORT, draws=1600))


def test_laplace_of_a_linear_problem_is_exact():
    y = np.array([[1.0, 2.0], [0.3, -0.4]])
    mean, covariance = Linear().exact(y)
    found = laplace(Linear(), y, starts=2)
    assert found.converged.all()
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)
    np.testing.assert_allclose(
        found.factor[0] @ found.factor[0].T, np.linalg.inv(covariance), rtol=1e-10
    )
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    np.testing.assert_allclose(found.entropy, entropy)
    draws = found.sample(50000, seed=1)
    np.testing.assert_allclose(np.cov(draws[1].T), covariance, atol=0.02)
    np.testing.assert_allclose(draws.mean(1), mean, atol=0.02)


def test_modes_of_a_folded_problem_and_their_masses():
    y = np.array([[2.0], [-3.0]])
    found = modes(Folded(), y, starts=12)
    grid = np.linspace(-4, 4, 8001)
    density = np.exp(Folded().log_posterior(tf.constant(grid[:, None]), tf.constant(y[:1])))
    mass = density[grid < -0.1].sum() / density[grid > -0.1].sum()
    assert found.best.mean[0, 0] > 0 and [len(others) for others in found.others] == [1, 0]
    assert found.others[0][0, 0] == pytest.approx(
        grid[grid < -0.1][density[grid < -0.1].argmax()], abs=2e-3
    )
    assert found.masses[0][0] == pytest.approx(mass, rel=0.05)
    np.testing.assert_allclose(
        np.exp(found.best.log_mass[0]), density[grid > -0.1].sum() * 1e-3, rtol=0.05
    )


def test_too_few_steps_are_reported():
    simulator = Gravity()
    y = simulator.simulate(3, (1, 2), tf.float64)[1]
    assert not gauss_newton(simulator, y, steps=1).converged.any()
    single, double = gauss_newton(simulator, y, dtype=tf.float32), gauss_newton(simulator, y)
    assert double.converged.all() and single.converged.all() and single.mean.dtype == np.float32
    np.testing.assert_allclose(single.mean, double.mean, atol=0.02)


@pytest.mark.parametrize("kernel", ["hmc", "nuts"])
def test_chains_of_a_linear_problem_have_the_exact_moments(kernel):
    y = np.array([[1.0, 2.0], [0.3, -0.4]])
    mean, covariance = Linear().exact(y)
    found = sample(Linear(), y, dataclasses.replace(SHORT, kernel=kernel))
    assert found.chains.shape == (2, 4, 300, 3) and found.samples.shape == (2, 1200, 3)
    assert (
        found.rhat.max() < 1.02 and found.effective.min() > 400 and (0.6 < found.acceptance).all()
    )
    np.testing.assert_allclose(found.samples.mean(1), mean, atol=0.13)
    for draws in found.samples:
        np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.13)


def test_a_gravity_posterior_agrees_with_importance_sampling(gravity):
    """Self-normalised, from a wide Student proposal about the mode: no Markov chain, no
    gradient."""
    simulator, y, found = gravity
    assert found.rhat.max() < 1.01 and (found.other_mass == 0).all()
    rng = np.random.default_rng(0)
    for row in range(2):
        n, size, freedom = 100_000, simulator.size, 5
        u = rng.normal(size=(n, size)) / np.sqrt(rng.chisquare(freedom, size=(n, 1)) / freedom)
        theta = found.laplace.mean[row] + u @ np.linalg.inv(found.laplace.factor[row])
        log_proposal = -0.5 * (freedom + size) * np.log1p((u**2).sum(1) / freedom)
        log_weight = (
            simulator.log_posterior(tf.constant(theta), tf.constant(y[row : row + 1])).numpy()
            - log_proposal
        )
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        assert 1 / (weight**2).sum() > 10_000
        mean = weight @ theta
        sd = np.sqrt(weight @ (theta - mean) ** 2)
        draws = found.samples[row]
        np.testing.assert_allclose((draws.mean(0) - mean) / sd, 0, atol=0.12)
        np.testing.assert_allclose(draws.std(0) / sd, 1, atol=0.1)


def test_halves_are_of_different_chains(gravity):
    first, second = gravity[2].halves()
    np.testing.assert_array_equal(first[:, :2], gravity[2].chains[:, :2, 0])
    np.testing.assert_array_equal(second[:, :2], gravity[2].chains[:, 2:, 0])
    assert first.shape == second.shape


def test_another_mode_of_mass_starts_a_chain_and_shows_in_rhat():
    found = sample(Folded(), np.array([[6.0]]), dataclasses.replace(SHORT, draws=200, starts=12))
    assert found.other_mass[0] > 0.1 and found.rhat[0] > 1.1


def test_a_cache_that_cannot_be_written_costs_a_warning_not_the_draws(tmp_path):
    (tmp_path / "file").write_text("where a folder is wanted")
    with pytest.warns(FlowModelsWarning, match="^the reference posteriors are not kept"):
        found = reference(Linear(), np.array([[1.0, 2.0]]), SHORT, tmp_path / "file" / "inner")
    assert np.isfinite(found.chains).all()


def test_cache_returns_the_same_and_a_damaged_file_is_made_anew(tmp_path):
    y = np.array([[1.0, 2.0]])
    settings = dataclasses.replace(SHORT, draws=40)
    first = reference(Linear(), y, settings, tmp_path)
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    again = reference(Linear(), y, settings, tmp_path)
    assert file.stat().st_mtime_ns == stamp and again.seconds == first.seconds
    np.testing.assert_array_equal(again.chains, first.chains)
    np.testing.assert_array_equal(again.laplace.factor, first.laplace.factor)
    whole = file.read_bytes()
    for damaged in (b"", whole[:500], whole[:900] + bytes(60) + whole[960:]):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(
            reference(Linear(), y, settings, tmp_path).chains, first.chains
        )
    assert [f.name for f in tmp_path.iterdir()] == [file.name] and reference_cache.load(
        str(file)
    ) is not None
    reference(Linear(sigma=0.31), y, settings, tmp_path)
    reference(Linear(), y + 1e-12, settings, tmp_path)
    reference(Linear(), y, dataclasses.replace(settings, seed=1), tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_default_folder_follows_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert reference_cache.path(None, Linear(), SHORT, np.zeros((1, 2))).startswith(
        str(tmp_path / "flow_models" / "references")
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(kernel="gibbs"), "kernel is 'gibbs', must be nuts or hmc"),
        (dict(chains=1), "chains is 1, must be at least 2"),
        (dict(draws=3), "draws is 3, must be at least 4 thin"),
        (dict(warmup=0), "warmup is 0"),
        (dict(acceptance=1.0), "acceptance is 1.0"),
    ],
)
def test_wrong_settings(arguments, message):
    with pytest.raises(UserError, match=message):
        Sampling(**arguments)


def test_wrong_data(tmp_path):
    with pytest.raises(
        UserError, match=r"data of shape \[1, 3\], expected finite numbers \[B, 2\]"
    ):
        reference(Linear(), np.zeros((1, 3)), SHORT, tmp_path)
    with pytest.raises(UserError, match="expected finite numbers"):
        reference(Linear(), np.full((1, 2), np.nan), SHORT, tmp_path)


def test_tensorflow_says_nothing_of_complex_numbers(caplog):
    tf.get_logger().addHandler(caplog.handler)
    level = tf.get_logger().level
    try:
        rhat, effective = convergence(np.random.default_rng(0).normal(size=(200, 2, 4, 3)))
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert not caplog.records and tf.get_logger().level == level
    assert (rhat < 1.05).all() and (effective > 400).all()
