"""Densities with a known normaliser: quadrature, exact draws and masses."""

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.data import targets


def of(target, x):
    return target.log_density(tf.constant(x, tf.float64)).numpy()


def on_square(target, reach, step):
    """log of the integral over [-reach, reach]^2, and -E[log p] of the normalised density."""
    axis = np.arange(-reach, reach + step / 2, step)
    logs = of(target, np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    log_z = np.log(np.exp(logs).sum() * step**2)
    shares = np.exp(logs - log_z) * step**2
    return log_z, float((shares * (log_z - logs)).sum())


@pytest.mark.parametrize(
    "name, reach, log_z", [("mixture_3x3", 10.0, 0.0), ("two_moons_ring", 4.0, 0.80421)]
)
def test_normalisers_in_the_plane_by_quadrature(name, reach, log_z):
    target = targets.get(name)
    found, entropy = on_square(target, reach, 0.02)
    assert found == pytest.approx(log_z, abs=5e-6)
    assert target.log_z == pytest.approx(log_z, abs=5e-6)
    if name == "two_moons_ring":
        assert entropy == pytest.approx(1.57106, abs=1e-5)


@pytest.mark.parametrize("pairs", [1, 16])
def test_many_well_by_quadrature_of_a_pair(pairs):
    of_pair = on_square(targets.many_well(2), 7.0, 0.01)[0]
    assert of_pair == pytest.approx(10.29348, abs=5e-6)
    assert targets.many_well(2 * pairs).log_z == pytest.approx(pairs * of_pair, abs=1e-6)
    assert targets.get("many_well").log_z == pytest.approx(164.69568, abs=1e-5)


@pytest.mark.parametrize("size", [2, 10])
def test_the_funnel_is_its_definition(size):
    x = targets.funnel(size).sample(50, seed=1)
    normal = lambda v, sd: -0.5 * (v / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    wanted = normal(x[:, 0], 3) + normal(x[:, 1:], np.exp(x[:, :1] / 2)).sum(1)
    np.testing.assert_allclose(of(targets.funnel(size), x), wanted, rtol=1e-10)


@pytest.mark.parametrize("name", targets.names())
def test_draws_follow_the_density_and_masses(name):
    """Regions have their masses, cells of a grid in the plane that of the density."""
    target = targets.get(name)
    x = target.sample(20_000, seed=3)
    assert x.shape == (20_000, target.size)
    found, share = target.regions(x).mean(0), target.masses
    assert (np.abs(found - share) < 4 * np.sqrt(share * (1 - share) / len(x))).all()
    plane = targets.get(name, 2)
    x = plane.sample(20_000, seed=4)
    edges = [np.quantile(x[:, i], [0.05, 0.3, 0.5, 0.7, 0.95]) for i in (0, 1)]
    counts = np.histogram2d(x[:, 0], x[:, 1], edges)[0] / len(x)
    np.testing.assert_allclose(counts, _cells(plane, edges), atol=0.015)


def _cells(target, edges, fine=60):
    """Mass of each cell of a grid in the plane, by the midpoint rule."""
    share = lambda a, b: a + (np.arange(fine) + 0.5) / fine * (b - a)
    axes = [np.concatenate([share(a, b) for a, b in zip(e[:-1], e[1:])]) for e in edges]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    p = np.exp(of(target, grid.reshape(-1, 2)) - target.log_z).reshape(grid.shape[:2])
    widths = [np.repeat(np.diff(e) / fine, fine) for e in edges]
    mass = p * widths[0][:, None] * widths[1]
    cells = [len(e) - 1 for e in edges]
    return mass.reshape(cells[0], fine, cells[1], fine).sum((1, 3))


@pytest.mark.parametrize(
    "name, size", [("mixture_3x3", 3), ("two_moons_ring", 4), ("many_well", 3), ("funnel", 1)]
)
def test_dimensions_that_a_target_has_not_are_refused(name, size):
    with pytest.raises(fm.UserError, match="dimensions"):
        targets.get(name, size)


def test_an_unknown_target_is_refused_with_the_names():
    with pytest.raises(fm.UserError, match="mixture_3x3"):
        targets.get("mixture")
    assert "16 pairs" in targets.describe("many_well")
