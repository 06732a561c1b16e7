"""Modes counted from draws: connected parts of where a density is."""

import numpy as np
import pytest

from flow_models.data import targets
from flow_models.diagnostics.modes import find_modes
from flow_models.training.annealed import explore


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def ring_and_peak(x):
    """A thin ring of radius 3, and a small Gaussian inside it."""
    far = np.hypot(x[:, 0], x[:, 1])
    return np.logaddexp(-0.5 * ((far - 3) / 0.1) ** 2, -0.5 * (far / 0.2) ** 2)


def drawn(rng, count, radius, noise):
    angle = rng.uniform(0, 2 * np.pi, count)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    return radius * circle + noise * rng.normal(size=(count, 2))


def test_a_ring_is_one_mode_and_a_peak_inside_it_another(rng):
    x = np.concatenate([drawn(rng, 1500, 3.0, 0.1), drawn(rng, 500, 0.0, 0.2)])
    np.testing.assert_array_equal(find_modes(x, ring_and_peak), np.repeat([0, 1], [1500, 500]))


def test_units_of_the_columns_do_not_matter(rng):
    units = np.array([1e3, 1e-3])
    x = np.concatenate([drawn(rng, 1500, 3.0, 0.1), drawn(rng, 500, 0.0, 0.2)])
    found = find_modes(x * units, lambda x: ring_and_peak(x / units))
    np.testing.assert_array_equal(found, np.repeat([0, 1], [1500, 500]))


def test_stray_draws_are_no_mode(rng):
    x = np.concatenate([rng.normal(size=(500, 2)), [[30.0, 0.0], [0.0, -40.0]]])
    peaks = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, -40.0]])
    log_density = lambda x: -0.5 * ((x[:, None] - peaks) ** 2).sum(-1).min(1)
    assert (find_modes(x, log_density) == 0).all()


@pytest.mark.parametrize("apart, modes", [(2.0, 1), (6.0, 2)])
def test_a_few_draws_between_two_modes_do_not_join_them(apart, modes, rng):
    """Two Gaussians of sd 1; halfway between them the density falls by 3.8 nats at 6."""
    x = rng.normal(size=(2000, 2)) + apart / 2 * np.repeat([[-1, 0], [1, 0]], 1000, 0)
    squares = lambda x, side: -0.5 * ((x - [side * apart / 2, 0]) ** 2).sum(1)
    found = find_modes(x, lambda x: np.logaddexp(squares(x, -1), squares(x, 1)))
    assert found.max() + 1 == modes
    if modes == 2:
        assert (found == found[0])[:1000].mean() > 0.99 and (found == found[0])[1000:].mean() < 0.01


def test_one_mode_of_many_dimensions_is_one(rng):
    found = find_modes(rng.normal(size=(600, 30)), lambda x: -0.5 * (x**2).sum(1))
    assert (found == 0).mean() > 0.99 and found.max() == 0


@pytest.mark.parametrize(
    "name, modes", [("mixture_3x3", 9), ("two_moons_ring", 2), ("funnel", 1), ("many_well", 0)]
)
def test_annealed_draws_show_the_modes_of_known_targets(name, modes):
    """Those of many_well are 65,536, more than draws can show."""
    target = targets.get(name)
    draws = explore(target.log_density, target.size, 0.0, target.scale, jit=False)
    found = find_modes(draws.x.numpy(), target.log_density)
    assert found.max() + 1 == modes
