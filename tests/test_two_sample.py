"""Two-sample scores are null for equal distributions and right for others; checks of one posterior
at a time."""

import time

import numpy as np
import pytest
from scipy import stats

from flow_models.core.errors import UserError
from flow_models.diagnostics import posterior, two_sample


def correlated(size: int, parameters: int, correlation: float, seed: int) -> np.ndarray:
    z = np.random.default_rng(seed).standard_normal((size, parameters))
    z[:, 1] = correlation * z[:, 0] + np.sqrt(1 - correlation**2) * z[:, 1]
    return z


def test_equal_laws_are_not_told_apart():
    draws = correlated(2000, 4, 0.8, 0)
    halves = draws[:1000], draws[1000:]
    found = two_sample.c2st(*halves)
    assert abs(found - 0.5) < 0.035 and found == two_sample.c2st(*halves)


def test_a_classifier_reaches_nearly_what_is_possible():
    """The best accuracy for two Gaussians a distance d apart is Phi(d / 2)."""
    a, b = correlated(1200, 4, 0.5, 0), correlated(1500, 4, 0.5, 1)
    for distance in (0.5, 3.0):
        possible = stats.norm.cdf(distance / 2)
        found = two_sample.c2st(a, b + distance * np.array([0.0, 0.0, 1.0, 0.0]))
        assert possible - 0.04 < found < possible + 0.02


def test_removed_correlations_are_seen_among_many_parameters_of_any_scale():
    scales = 10.0 ** np.linspace(-5, 5, 20)
    mixing = np.random.default_rng(9).normal(size=(20, 20))
    a, b = (
        correlated(800, 20, 0.0, 0) @ mixing * scales,
        correlated(800, 20, 0.8, 1) @ mixing * scales,
    )
    assert two_sample.c2st(a, b) > 0.6


def test_boosting_and_wrong_names():
    square = np.random.default_rng(0).random((400, 2))
    assert two_sample.c2st(square, 1.5 * square[::-1], classifiers=["boosting"]) > 0.65
    with pytest.raises(UserError, match="no classifier 'forest'"):
        two_sample.c2st(square, square, classifiers=["forest"])
    with pytest.raises(UserError, match="at least 50"):
        two_sample.c2st(square[:20], square)


def direct_mmd(a, b, widths):
    def kernel(p, q):
        return sum(h * h / (h * h + np.square(p[:, None] - q[None]).sum(-1)) for h in widths)

    def within(p):
        return (kernel(p, p).sum() - np.trace(kernel(p, p))) / (len(p) * (len(p) - 1))

    return within(a) + within(b) - 2 * kernel(a, b).mean()


@pytest.mark.parametrize("n, m", [(2, 3), (64, 65), (150, 129)])
def test_mmd_is_its_formula_at_every_size_of_blocks(n, m):
    rng = np.random.default_rng(0)
    a, b, far = (
        rng.standard_normal((n, 3)),
        0.5 + rng.standard_normal((m, 3)),
        np.array([1e4, -1e4, 0.0]),
    )
    expected = direct_mmd(a, b, (0.05, 0.2, 0.9))
    assert two_sample.mmd_squared(a, b) == pytest.approx(expected, abs=1e-12)
    assert two_sample.mmd_squared(a + far, b + far) == pytest.approx(expected, abs=1e-9)


def test_mmd_of_equal_laws_is_nothing_on_average_and_batched():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 20, 100, 2))
    found = two_sample.mmd_squared(a, b)
    assert found.shape == (3, 20) and found[1, 7] == pytest.approx(
        float(two_sample.mmd_squared(a[1, 7], b[1, 7]))
    )
    mean, low, high = two_sample.bootstrap_mean(found)
    assert low < 0 < high or abs(mean) < 1e-3
    assert two_sample.bootstrap_mean(two_sample.mmd_squared(a, b + 0.5))[1] > 0.01


def test_mmd_of_a_thousand_observations_is_a_matter_of_seconds():
    a, b = np.random.default_rng(0).standard_normal((2, 5, 1000, 4))
    start = time.process_time()
    two_sample.mmd_squared(a, b)
    assert (time.process_time() - start) * 200 < 120


def test_bootstrap_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).standard_normal(400)
    mean, low, high = two_sample.bootstrap_mean(values)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    with pytest.raises(UserError, match="finite"):
        two_sample.bootstrap_mean([1.0, np.nan])


def test_sets_that_do_not_pair_are_refused():
    with pytest.raises(UserError, match="same parameters"):
        two_sample.mmd_squared(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(UserError, match="n, m at least 2"):
        two_sample.mmd_squared(np.zeros((1, 2)), np.zeros((5, 2)))


def test_contraction_and_z_are_those_of_gaussians():
    rng = np.random.default_rng(0)
    samples = np.array([1.0, -2.0]) + np.array([0.5, 2.0]) * rng.standard_normal((3, 20_000, 2))
    contraction, z = posterior.contraction_and_z(
        np.full((3, 2), 1.0), samples, prior_sd=np.array([1.0, 2.0])
    )
    assert np.allclose(contraction, [0.75, 0.0], atol=0.04) and np.allclose(
        z, [0.0, -1.5], atol=0.04
    )


def test_predictions_of_the_right_model_fit_and_of_a_wrong_one_do_not():
    """Data N(theta, 1) a hundred times, posterior N(mean, 1 / 100)."""
    rng = np.random.default_rng(0)
    data = 2.0 + rng.standard_normal((200, 100))
    theta = data.mean(1)[:, None] + 0.1 * rng.standard_normal((200, 500))
    predicted = np.repeat(theta[..., None], 100, 2)
    right = posterior.predictive_check(data, predicted, 1.0)
    assert np.median(right.rms) == pytest.approx(1.0, abs=0.02) and right.residuals.shape == (
        200,
        100,
    )
    assert (
        right.p_values.mean() == pytest.approx(0.5, abs=0.06)
        and np.mean(right.p_values < 0.01) < 0.04
    )
    one = posterior.predictive_check(data[0], predicted[0], 1.0)
    assert one.p_values == right.p_values[0] and one.rms.shape == (500,)
    assert posterior.predictive_check(data[0], predicted[0] + 1.0, 1.0).p_values < 1e-3
    with pytest.raises(UserError, match="predictions"):
        posterior.predictive_check(data, predicted[0], 1.0)


def test_resampled_draws_are_of_the_target():
    """From N(0, 1.5^2) to N(0.5, 1)."""
    draws = 1.5 * np.random.default_rng(0).standard_normal((20_000, 1))
    log_weights = (stats.norm.logpdf(draws, 0.5, 1.0) - stats.norm.logpdf(draws, 0.0, 1.5))[:, 0]
    found = posterior.importance_resample(draws, log_weights + 700.0, 4000)
    assert stats.kstest(found.samples[:, 0], "norm", (0.5, 1.0)).pvalue > 0.001
    weights = np.exp(log_weights)
    assert found.effective_size == pytest.approx(
        weights.sum() ** 2 / np.square(weights).sum(), rel=0.05
    )
    assert found.pareto_k < 0.5 and len(np.unique(found.samples)) > 3900
    assert np.array_equal(
        found.samples, posterior.importance_resample(draws, log_weights, 4000).samples
    )
    plain = posterior.importance_resample(draws, log_weights, 10, smooth=False)
    assert plain.effective_size == pytest.approx(weights.sum() ** 2 / np.square(weights).sum())


def test_a_proposal_too_narrow_is_told_by_the_tail_of_its_weights():
    """Of N(0, s^2) for N(0, 1) the weights have a tail of shape k = 1 - s^2: 0.75 for s = 1/2."""
    shapes = {}
    for s in (0.5, 0.8, 1.3):
        draws = s * np.random.default_rng(1).standard_normal(20_000)
        smoothed, shapes[s] = posterior.pareto_smooth(
            stats.norm.logpdf(draws) - stats.norm.logpdf(draws, 0, s)
        )
        assert np.all(np.isfinite(smoothed))
    assert shapes[0.5] > 0.6 > shapes[0.8] > 0.1 and shapes[1.3] < 0.1


def test_pareto_shape_is_found():
    x = np.sort(stats.genpareto.rvs(0.4, scale=2.0, size=4000, random_state=0))
    k, scale = posterior._pareto_fit(x)
    assert k == pytest.approx(0.4, abs=0.06) and scale == pytest.approx(2.0, rel=0.06)


NONE = np.full(49, -np.inf)


@pytest.mark.parametrize(
    "log_weights", [np.zeros(50), np.r_[NONE, 0.0], np.r_[np.zeros(45), NONE[:5]]]
)
def test_weights_that_give_no_tail_are_left_alone(log_weights):
    smoothed, k = posterior.pareto_smooth(log_weights)
    assert np.array_equal(smoothed, log_weights) and np.isnan(k)
    chosen = posterior.importance_resample(np.arange(50.0)[:, None], log_weights, 100).samples
    assert set(chosen[:, 0]) <= set(np.flatnonzero(np.isfinite(log_weights)))


@pytest.mark.parametrize(
    "log_weights", [NONE[:5], [np.nan, 0, 0, 0, 0], [np.inf, 0, 0, 0, 0], np.zeros(4)]
)
def test_weights_without_meaning_are_refused(log_weights):
    with pytest.raises(UserError, match="log-weights"):
        posterior.importance_resample(np.zeros((5, 1)), log_weights, 3)


def test_strange_data_are_flagged_and_simulated_ones_at_the_stated_rate():
    rng = np.random.default_rng(0)
    p = posterior.misspecification(rng.standard_normal(5000), rng.standard_normal(999))
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert posterior.misspecification(10.0, np.arange(9.0)) == pytest.approx(0.1)
    assert posterior.misspecification(np.array([8.0, -1.0, np.nan]), np.arange(9.0)).tolist() == [
        0.2,
        1.0,
        0.1,
    ]
    with pytest.raises(UserError, match="simulated"):
        posterior.misspecification(1.0, [])
