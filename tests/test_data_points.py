"""Point sets: densities that integrate to one, entropies, draws that follow their density; real
embedded tables."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from scipy import special, stats

from flow_models.core.errors import UserError
from flow_models.data import points
from flow_models.data.points import curves, noisy_curves
from flow_models.data.tables import embedded

# lower corner, upper corner and step of a grid that holds the density and resolves it
BOXES = {
    "moons": ((-1.5, -1.0), (2.5, 1.5), 0.04),
    "moons_noisy": ((-1.9, -1.4), (2.9, 1.9), 0.08),
    "banana": ((-7, -26), (175, 26), 0.5),
    "rosenbrock": ((-6.4, -4), (6.4, 180), (0.04, 0.5)),
    "eight_gaussians": ((-6, -6), (6, 6), 0.15),
    "checkerboard": ((-2.475, -2.475), (2.475, 2.475), 0.05),
    "pinwheel": ((-7, -7), (7, 7), 0.08),
    "two_spirals": ((-4.1, -4.1), (4.1, 4.1), 0.08),
    "rings": ((-3.7, -3.7), (3.7, 3.7), 0.06),
    "s_curve": ((-1.6, -0.6, -2.6), (1.6, 2.6, 2.6), 0.1),
    "swiss_roll": ((-3.2, -0.6, -2.9), (3.5, 4.8, 3.5), 0.13),
    "knot": ((-3.8, -4.1, -2.1), (3.8, 3.2, 2.1), 0.2),
}
PLANAR = [name for name in BOXES if points.get(name).event_size == 2]
PUBLISHED = {
    "moons": (0.290, 0.003),
    "moons_noisy": (1.001, 0.01),
    "banana": (4.22417, 1e-5),
    "rosenbrock": (2.83788, 1e-5),
    "eight_gaussians": (2.8313, 0.001),
    "checkerboard": (2.07944, 1e-5),
}


def _grid(name):
    """Nodes [N, D] of the grid of a set, and the volume of a cell."""
    lower, upper, step = BOXES[name]
    steps = np.broadcast_to(step, len(lower))
    axes = [np.arange(a, b + h / 2, h) for a, b, h in zip(lower, upper, steps)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes)), np.prod(steps)


@pytest.fixture(scope="module")
def draws():
    """50,000 draws of each set."""
    return {
        name: points.get(name).draw(50_000, (7, 11)).numpy().astype(np.float64)
        for name in points.names()
    }


def test_names_and_descriptions_need_nothing_heavy():
    code = (
        "import sys; from flow_models.data import points\n"
        "from flow_models.data.tables import embedded\n"
        "print([points.describe(n) for n in points.names()])\n"
        "print([embedded.describe(n) for n in embedded.names()])\n"
        "heavy = {'tensorflow', 'sklearn', 'scipy', 'pandas', 'boto3', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "half circles" in run.stdout and "photograph" in run.stdout


def test_the_folders_of_data_load_nothing_heavy():
    code = (
        "import sys; import flow_models as fm\n"
        "assert fm.data.points.get('moons').event_size == 2 and '.csv' in fm.data.tables.SUFFIXES\n"
        "assert fm.data.tables.embedded.names() and fm.data.points.modes.SD\n"
        "assert fm.data.images.embedded.names() and callable(fm.data.images.open_images)\n"
        "assert not {'tensorflow', 'sklearn', 'pandas', 'boto3', 'PIL'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_every_set_has_a_grid_here():
    assert sorted(BOXES) == sorted(points.names())


@pytest.mark.parametrize("module", [points, embedded])
def test_unknown_name(module):
    choose = points.get if module is points else embedded.load
    close = module.names()[0]
    with pytest.raises(
        UserError, match=f"did you mean '{close}'.*there are .*{module.names()[-1]}"
    ):
        choose(close + "x")


@pytest.mark.parametrize("name", BOXES)
def test_density_integrates_to_one_and_has_the_moments_of_the_draws(name, draws):
    nodes, cell = _grid(name)
    mass = np.exp(points.get(name).log_prob(nodes)) * cell
    assert abs(mass.sum() - 1) < 2e-4
    for moment in (lambda x: x, lambda x: x**2, lambda x: x[:, :1] * x[:, 1:]):
        at_draws = moment(draws[name])
        error = at_draws.std(0) / np.sqrt(len(at_draws))
        assert (np.abs(at_draws.mean(0) - mass @ moment(nodes)) < 5 * error + 1e-3).all()


@pytest.mark.parametrize("name", BOXES)
def test_entropy_is_that_of_the_draws(name, draws):
    chosen = points.get(name)
    surprise = -chosen.log_prob(draws[name])
    error = surprise.std() / np.sqrt(len(surprise))
    assert abs(surprise.mean() - chosen.entropy) <= 4 * error + chosen.entropy_error + 1e-6
    assert 0 <= chosen.entropy_error < 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_entropy_is_the_published_one(name):
    value, tolerance = PUBLISHED[name]
    assert points.get(name).entropy == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("name", BOXES)
def test_entropy_is_the_documented_one(name):
    readme = pathlib.Path(__file__).parents[1] / "data" / "README.md"
    row = next(
        line for line in readme.read_text().splitlines() if line.startswith(f"| `{name}` |")
    ).split("|")
    assert points.get(name).entropy == pytest.approx(float(row[5]), abs=1e-5)
    assert points.get(name).noise == pytest.approx(float(row[4].strip() or 0), abs=1e-4)


@pytest.mark.parametrize("name", PLANAR)
def test_draws_fill_bins_as_the_density_says(name, draws):
    """Chi-square over 20 x 20 bins of the middle 98% of each axis, each integrated from 12 x 12
    midpoints."""
    x = draws[name]
    lower, upper = np.quantile(x, [0.01, 0.99], axis=0)
    if name == "checkerboard":
        lower, upper = np.array([-2.0, -2.0]), np.array([2.0, 2.0])
    edges = [np.linspace(a, b, 21) for a, b in zip(lower, upper)]
    fine = [a + (b - a) * (np.arange(240) + 0.5) / 240 for a, b in zip(lower, upper)]
    nodes = np.stack(np.meshgrid(*fine, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod((upper - lower) / 240)
    expected = (
        np.exp(points.get(name).log_prob(nodes)).reshape(20, 12, 20, 12).sum((1, 3)) * cell * len(x)
    )
    counts = np.histogram2d(*x.T, bins=edges)[0]
    enough = expected > 10
    observed = np.append(counts[enough], len(x) - counts[enough].sum())
    wanted = np.append(expected[enough], len(x) - expected[enough].sum())
    if wanted[-1] < 10:
        observed, wanted = observed[:-1], wanted[:-1]
    statistic = ((observed - wanted) ** 2 / wanted).sum()
    assert stats.chi2.sf(statistic, len(wanted) - 1) > 1e-4


@pytest.mark.parametrize("name", BOXES)
def test_draws_repeat_and_compile(name):
    import tensorflow as tf

    chosen = points.get(name)
    first = chosen.draw(257, (1, 2))
    assert first.shape == (257, chosen.event_size) and first.dtype == tf.float32
    np.testing.assert_array_equal(first, chosen.draw(257, tf.constant([1, 2])))
    assert not np.isclose(first, chosen.draw(257, (1, 3))).all(1).any()
    compiled = tf.function(lambda seed: chosen.draw(257, seed), jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant([1, 2])), first, atol=2e-4, rtol=1e-5)


def test_wrong_arguments():
    chosen = points.get("moons")
    with pytest.raises(ValueError, match="pair of integers"):
        chosen.draw(4, 3)
    with pytest.raises(ValueError, match=r"points \[N, 2\] are expected, not shape \(4, 3\)"):
        chosen.log_prob(np.zeros((4, 3)))


@pytest.mark.parametrize("name", BOXES)
def test_density_at_the_ends_of_the_numbers(name):
    size = points.get(name).event_size
    x = np.zeros((4, size))
    x[1:, 0] = np.inf, np.nan, 1e6
    out = points.get(name).log_prob(x)
    assert out[1] == -np.inf and np.isnan(out[2]) and out[3] < -1e8
    assert np.isfinite(out[3]) or name == "checkerboard"
    assert points.get(name).log_prob(np.zeros((0, size))).shape == (0,)


def test_quadrature_on_a_circle_is_the_bessel_function():
    """One circle has a closed form; near, in the centre and 10^5 standard deviations away."""
    circle = curves.Curve(lambda xp, t: xp.stack([xp.cos(t), xp.sin(t)], -1), 0.0, 2 * np.pi, 1.0)
    r, noise = np.array([0, 1e-3, 0.3, 0.95, 1, 1.2, 3, 20, 1e3, 5e3]), 0.05
    angle = np.arange(len(r))
    got = curves.log_density(
        r[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1), [circle], noise
    )
    exact = (
        np.log(special.i0e(r / noise**2))
        - (r - 1) ** 2 / (2 * noise**2)
        - np.log(2 * np.pi * noise**2)
    )
    np.testing.assert_allclose(got, exact, rtol=1e-11, atol=1e-8)


@pytest.mark.parametrize(
    "parts, noise",
    [
        (noisy_curves.HALF_CIRCLES, 0.05),
        (noisy_curves.SPIRALS, 0.1),
        ((noisy_curves.S_SHAPE,), 0.1),
        ((noisy_curves.TREFOIL,), 0.2),
    ],
)
@pytest.mark.parametrize("spread", [0.5, 3.0, 30.0])
def test_quadrature_of_open_curves_is_a_much_finer_sum(parts, noise, spread):
    size = parts[0].position(np, np.zeros(1)).shape[1]
    x = spread * np.random.default_rng(0).normal(size=(4, size))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    logs = []
    for curve in parts:
        half = (curve.stop - curve.start) / 20_000
        t = (curve.start + half * (2 * np.arange(10_000)[:, None] + 1 + nodes)).ravel()
        away = ((x[:, None] - curve.position(np, t)) ** 2).sum(-1)
        weight = half * np.tile(weights, 10_000) * curve.weight(t)
        logs.append(special.logsumexp(-away / (2 * noise**2), axis=1, b=weight))
    exact = (
        special.logsumexp(logs, axis=0)
        - np.log(len(parts))
        - size / 2 * np.log(2 * np.pi * noise**2)
    )
    np.testing.assert_allclose(curves.log_density(x, parts, noise), exact, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_blurred_uniform_far_out(noise):
    """Against a sum over the interval relative to its peak."""
    y, width = np.array([-60.0, -1.0, 0.0, 0.7, 2.0, 2.3, 70.0]), 2.0
    nodes, weights = np.polynomial.legendre.leggauss(20)
    half = width / 10_000
    t = (half * (2 * np.arange(5_000)[:, None] + 1 + nodes)).ravel()
    exact = special.logsumexp(
        -((y[:, None] - t) ** 2) / (2 * noise**2), axis=1, b=half * np.tile(weights, 5_000)
    )
    exact -= np.log(width) + 0.5 * np.log(2 * np.pi * noise**2)
    np.testing.assert_allclose(
        noisy_curves.log_blurred_uniform(y, width, noise), exact, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", embedded.names())
def test_embedded_tables(name):
    table = embedded.load(name)
    text = embedded.describe(name)
    size = len(table.columns)
    assert table.values.dtype == np.float32 and table.values.shape[1] == size
    assert (
        text.startswith(f"{size}-D, {len(table.values)} rows")
        and "CC BY" in text
        and table.source in text
    )
    np.testing.assert_array_equal(table.values, embedded.load(name).values)
    if "photo" in name:
        assert table.values.min() >= 0 and table.values.max() <= 1
        assert len(np.unique(table.values[:, 0])) > 10_000
