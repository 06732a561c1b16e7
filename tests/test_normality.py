"""Wrong latents are flagged, right ones pass at the stated rate, the divergence equals its closed
form."""

import numpy as np
import pytest
from scipy import stats

from flow_models.core.errors import UserError
from flow_models.diagnostics.normality import kl_to_truth, latent_normality

SIZE, DIMENSIONS = 4000, 3


def normal(seed: int = 0, size: int = SIZE, dimensions: int = DIMENSIONS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((size, dimensions))


def test_right_latents_pass():
    found = latent_normality(normal().astype(np.float32))
    assert found["latent_mean_worst"] < 4.0 / np.sqrt(SIZE)
    assert found["latent_sd_worst"] < 4.0 / np.sqrt(2 * SIZE)
    assert found["latent_correlation_worst"] < 4.0 / np.sqrt(SIZE)
    assert found["latent_ks_p"] > 0.01 and found["latent_radius_p"] > 0.01
    assert all(type(value) is float for value in found.values())


def test_right_latents_are_rejected_at_the_stated_rate():
    """600 sets of 200: p < 0.1 in at most about 10% (margins, a bound) and in about 10% (radius,
    exact)."""
    sets = [latent_normality(normal(seed, size=200)) for seed in range(600)]
    margins = np.mean([found["latent_ks_p"] < 0.1 for found in sets])
    radius = np.mean([found["latent_radius_p"] < 0.1 for found in sets])
    error = np.sqrt(0.1 * 0.9 / 600)
    assert 0.05 < margins < 0.1 + 4 * error
    assert abs(radius - 0.1) < 4 * error
    p = [found["latent_radius_p"] for found in sets]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def wide(z):
    return z * [1.0, 1.15, 1.0]


def shifted(z):
    return z + np.array([0.0, 0.0, 0.15])


def correlated(z):
    """Unit margins, correlation 0.3 of the first two: no margin shows it."""
    return np.stack([z[:, 0], 0.3 * z[:, 0] + np.sqrt(1 - 0.09) * z[:, 1], z[:, 2]], axis=1)


def heavy_tailed(z):
    """Student's t with 5 degrees of freedom, scaled to unit variance: right in its first two
    moments."""
    scale = np.sqrt(np.random.default_rng(9).chisquare(5, z.shape) / 5)
    return z / scale * np.sqrt(3 / 5)


def one_radius(z):
    """All margins shrunk onto a shell: the radius shows it most."""
    return z / np.linalg.norm(z, axis=1, keepdims=True) * np.sqrt(DIMENSIONS)


def dependent_signs(z):
    """Uncorrelated, normal margins, but |z1| = |z2|: only the radius sees it."""
    return np.stack([z[:, 0], np.abs(z[:, 0]) * np.sign(z[:, 1]), z[:, 2]], axis=1)


@pytest.mark.parametrize(
    "wrong, name, is_wrong",
    [
        (wide, "latent_sd_worst", lambda value: abs(value - 0.15) < 0.05),
        (wide, "latent_ks_p", lambda value: value < 1e-4),
        (wide, "latent_radius_p", lambda value: value < 1e-4),
        (shifted, "latent_mean_worst", lambda value: abs(value - 0.15) < 0.05),
        (shifted, "latent_ks_p", lambda value: value < 1e-4),
        (correlated, "latent_correlation_worst", lambda value: abs(value - 0.3) < 0.05),
        (correlated, "latent_ks_p", lambda value: value > 0.01),
        (heavy_tailed, "latent_ks_p", lambda value: value < 1e-2),
        (heavy_tailed, "latent_radius_p", lambda value: value < 1e-4),
        (one_radius, "latent_radius_p", lambda value: value < 1e-12),
        (dependent_signs, "latent_radius_p", lambda value: value < 1e-12),
        (dependent_signs, "latent_correlation_worst", lambda value: value < 0.06),
    ],
)
def test_wrong_latents_are_flagged(wrong, name, is_wrong):
    found = latent_normality(wrong(normal(3)))
    assert is_wrong(found[name]), f"{wrong.__name__}: {name} = {found[name]}"


def test_the_margins_are_scipys_test():
    z = normal(5, size=300)
    smallest = min(stats.kstest(column, "norm").pvalue for column in z.T)
    assert latent_normality(z)["latent_ks_p"] == pytest.approx(
        min(1.0, DIMENSIONS * smallest), rel=1e-6
    )


def test_one_dimension_and_a_constant_column():
    assert latent_normality(normal(dimensions=1))["latent_correlation_worst"] == 0.0
    found = latent_normality(np.column_stack([normal()[:, 0], np.zeros(SIZE)]))
    assert found["latent_sd_worst"] == 1.0 and found["latent_correlation_worst"] == 0.0


def test_many_dimensions():
    found = latent_normality(normal(size=1000, dimensions=768))
    assert found["latent_ks_p"] > 0.01 and found["latent_radius_p"] > 0.01
    assert found["latent_correlation_worst"] < 0.2


def test_divergence_of_two_normals():
    """KL(N(0,1) || N(m, s^2)) = log s + (1 + m^2) / (2 s^2) - 1/2."""
    x = np.random.default_rng(0).standard_normal(200_000)
    shift, scale = 0.2, 1.3
    value, error = kl_to_truth(stats.norm.logpdf(x, shift, scale), stats.norm.logpdf(x))
    exact = np.log(scale) + (1 + shift**2) / (2 * scale**2) - 0.5
    assert 0 < error < 0.002 and abs(value - exact) < 4 * error
    assert kl_to_truth(stats.norm.logpdf(x), stats.norm.logpdf(x)) == (0.0, 0.0)


def test_standard_error_is_the_spread_of_repeats():
    rng = np.random.default_rng(1)
    draws = [rng.standard_normal(500) for _ in range(400)]
    values, errors = zip(
        *(kl_to_truth(stats.norm.logpdf(x, 0.3), stats.norm.logpdf(x)) for x in draws), strict=True
    )
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.15)


def test_a_point_the_model_rules_out_is_infinitely_far():
    assert kl_to_truth(np.array([-np.inf, -1.0]), np.array([-1.0, -1.0])) == (np.inf, np.inf)
    assert np.isnan(kl_to_truth(np.array([np.nan, -1.0]), np.array([-1.0, -1.0]))).all()


@pytest.mark.parametrize(
    "z", [np.zeros(10), np.zeros((4, 2)), np.zeros((10, 0)), np.zeros((2, 3, 4))]
)
def test_latents_of_another_shape_are_refused(z):
    with pytest.raises(UserError, match=r"must be an array \[N, D\]"):
        latent_normality(z)


def test_latents_that_diverged_are_counted():
    z = normal(size=100)
    z[3, 0], z[7, 1] = np.nan, np.inf
    with pytest.raises(UserError, match="2 of 100 latent vectors"):
        latent_normality(z)


@pytest.mark.parametrize(
    "log_q, log_p", [((5,), (4,)), ((5, 1), (5,)), ((1,), (1,)), ((5, 2), (5, 2))]
)
def test_divergence_refuses_shapes_that_do_not_pair(log_q, log_p):
    with pytest.raises(UserError, match="two arrays"):
        kl_to_truth(np.zeros(log_q), np.zeros(log_p))


def test_divergence_refuses_points_outside_the_truth():
    with pytest.raises(UserError, match="draws from the truth"):
        kl_to_truth(np.zeros(3), np.array([0.0, -np.inf, 0.0]))
