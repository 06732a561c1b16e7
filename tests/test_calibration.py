"""On a linear problem the exact posterior passes at the stated rate, and each wrong one is
flagged."""

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from flow_models.core.errors import UserError
from flow_models.diagnostics import calibration, projections, uniformity
from flow_models.diagnostics.posterior_report import posterior_metrics, warnings

SIZE, SAMPLES, NOISE = 400, 199, 0.5
MATRIX = np.random.default_rng(7).normal(size=(3, 4))
COVARIANCE = np.linalg.inv(np.eye(4) + MATRIX.T @ MATRIX / NOISE**2)
SD = np.sqrt(np.diag(COVARIANCE))


@lru_cache(maxsize=2)
def problem(seed: int = 0, size: int = SIZE, n_samples: int = SAMPLES):
    """x ~ N(0, I_4), y = A x + N(0, 0.5^2): the posterior is N(C A'y / 0.25, C), correlations up to
    0.7."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, 4))
    y = x @ MATRIX.T + NOISE * rng.standard_normal((size, 3))
    mean = y @ MATRIX @ COVARIANCE / NOISE**2
    z = rng.standard_normal((size, n_samples, 4))
    samples = mean[:, None] + z @ np.linalg.cholesky(COVARIANCE).T
    return SimpleNamespace(
        x=x, y=y, mean=mean, samples=samples, rng=np.random.default_rng((seed, 1))
    )


def wrong(kind: str, p):
    """Samples [B, S, P] and the log-density q(x) of their posterior, x [..., B or B S, P]."""
    mean, scale, covariance = (
        p.mean[:, None],
        {"narrow": 0.8, "wide": 1.25}.get(kind, 1.0),
        COVARIANCE,
    )
    samples = mean + scale * (p.samples - mean)
    if kind == "biased":
        samples, mean = samples + 0.3 * SD, mean + 0.3 * SD
    if kind == "uncorrelated":
        samples, covariance = p.rng.permuted(samples, axis=1), np.diag(SD**2)
    if kind == "prior":
        samples, mean, covariance = p.rng.standard_normal(samples.shape), 0.0 * mean, np.eye(4)
    precision = np.linalg.inv(scale**2 * covariance)
    return samples, lambda x: -0.5 * np.einsum("bsi,ij,bsj->bs", x - mean, precision, x - mean)


def judged(kind: str, seed: int = 0):
    p = problem(seed)
    samples, log_q = wrong(kind, p)
    found = posterior_metrics(
        p.x, samples, log_q(p.x[:, None])[:, 0], log_q(samples), p.y, prior_sd=1.0, seed=seed
    )
    return found, warnings(found)


def test_the_exact_posterior_passes_every_check():
    found, lines = judged("exact")
    assert lines == []
    for name in ("coverage_50", "coverage_90", "hdr_coverage_50", "hdr_coverage_90"):
        assert abs(found[name] - float(name[-2:]) / 100) < 4 * found[f"{name}_se"], name
    assert found["contraction"] == pytest.approx(1 - np.mean(SD**2), abs=0.02)
    assert all(type(value) is float and np.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    "kind, tests, word",
    [
        (
            "narrow",
            ("z_score_sd", "sbc", "sbc_ecdf", "tarp", "density", "projection"),
            "too narrow",
        ),
        ("wide", ("z_score_sd", "sbc", "sbc_ecdf", "tarp", "density", "projection"), "too wide"),
        ("biased", ("z_score_mean", "sbc", "sbc_ecdf", "projection"), "too high"),
        (
            "uncorrelated",
            ("projection",),
            "dependence between parameters is wrong though each alone passes",
        ),
        ("prior", ("data",), "does not use all that the data say"),
    ],
)
def test_a_wrong_posterior_is_flagged(kind, tests, word):
    found, lines = judged(kind)
    for name in tests:
        assert found[f"{name}_p_value"] < 1e-3, f"{kind}: {name}"
    assert any(word in line for line in lines), lines


def test_what_the_words_say_is_the_size_of_the_error():
    narrow, wide, biased = (judged(kind)[0] for kind in ("narrow", "wide", "biased"))
    assert narrow["z_score_sd"] == pytest.approx(1.25, abs=0.15) and narrow["coverage_90"] < 0.85
    assert wide["z_score_sd"] == pytest.approx(0.8, abs=0.1) and wide["coverage_90"] > 0.93
    assert biased["z_score_mean"] == pytest.approx(-0.3, abs=0.15)
    line = next(line for line in warnings(narrow, names=["a", "b", "c", "d"]) if "narrow" in line)
    assert f"({'abcd'[int(narrow['z_score_sd_parameter'])]}, p" in line


def test_single_parameters_cannot_see_removed_correlations():
    found, _ = judged("uncorrelated")
    same, _ = judged("exact")
    assert found["sbc_ecdf_p_value"] == same["sbc_ecdf_p_value"] > 0.01
    assert found["coverage_90"] == same["coverage_90"]


def test_tarp_and_density_see_strong_dependence():
    """Four nearly equal parameters, and a posterior that treats them as independent."""
    rng = np.random.default_rng(0)
    shared, own = (
        rng.standard_normal((SIZE, SAMPLES + 1, 1)),
        rng.standard_normal((SIZE, SAMPLES + 1, 4)),
    )
    draws = np.sqrt(0.9) * shared + np.sqrt(0.1) * own
    assert calibration.tarp(draws[:, 0], draws[:, 1:]).p_value > 0.01
    samples = rng.permuted(draws[:, 1:], axis=1)
    flat = calibration.tarp(draws[:, 0], samples)
    assert flat.p_value < 1e-6 and flat.deviation > 0.1
    log_q = [stats.norm.logpdf(x).sum(-1) for x in (draws[:, 0], samples)]
    found = posterior_metrics(draws[:, 0], samples, *log_q)
    assert found["density_p_value"] < 1e-6 and found["sbc_ecdf_p_value"] > 0.01
    assert all(
        word in warnings(found)[0]
        for word in ("each alone passes", "TARP p", "log-density p < 1e-12")
    )


def test_the_exact_posterior_is_doubted_at_the_stated_rate():
    """60 problems at rate 0.2, of which Bonferroni leaves somewhat less; single tests at theirs."""
    runs = []
    for seed in range(60):
        p = problem(1000 + seed, 150, 99)
        log_q = wrong("exact", p)[1]
        runs.append(
            posterior_metrics(
                p.x, p.samples, log_q(p.x[:, None])[:, 0], log_q(p.samples), p.y, seed=seed
            )
        )
    alarms = np.mean([bool(warnings(found, rate=0.2)) for found in runs])
    assert 0.0 < alarms < 0.2 + 3 * np.sqrt(0.2 * 0.8 / 60)
    assert not any(warnings(found, rate=0.001) for found in runs)
    for name in (name for name in runs[0] if name.endswith("p_value")):
        share = np.mean([found[name] < 0.2 for found in runs])
        assert share < 0.2 + 3.5 * np.sqrt(0.2 * 0.8 / 60), f"{name}: {share}"


def test_ranks_are_numbers_of_samples_below_and_ties_are_spread():
    ranks = calibration.sbc_ranks([[0.5, 5.0]], [[[0.0, 1.0], [1.0, 2.0], [0.2, 3.0]]])
    assert ranks.tolist() == [[2, 3]]
    tied = calibration.sbc_ranks(np.zeros((4000, 1)), np.zeros((4000, 9, 1)))
    assert stats.chisquare(np.bincount(tied[:, 0], minlength=10)).pvalue > 0.001
    again = calibration.sbc_ranks(np.zeros((4000, 1)), np.zeros((4000, 9, 1)))
    assert np.array_equal(tied, again)


def test_coverage_is_that_of_numpy_quantiles():
    p = problem()
    found = calibration.coverage(p.x, p.samples, (0.5, 0.9))
    for level, share in zip(found.levels, found.parameters):
        low, high = np.quantile(p.samples, [0.5 - level / 2, 0.5 + level / 2], axis=1)
        assert np.allclose(share, ((p.x >= low) & (p.x <= high)).mean(0), atol=0.02)
    assert np.allclose(found.mean, found.parameters.mean(1))


def test_coverage_of_few_samples_is_not_too_low():
    """Quantiles of 4 samples would hold fewer truths than they claim."""
    draws = np.random.default_rng(0).standard_normal((40_000, 5, 1))
    found = calibration.coverage(draws[:, 0], draws[:, 1:], (0.5, 0.9))
    assert np.all(np.abs(found.mean - found.levels) < 4 * found.error)


def test_density_regions_hold_what_they_claim_of_two_modes():
    """A mixture of N(-3, 1) and N(3, 0.5): its regions of highest density are not central
    intervals."""
    rng = np.random.default_rng(0)
    right = rng.random((2000, 200)) < 0.5
    draws = np.where(right, 3.0, -3.0) + np.where(right, 0.5, 1.0) * rng.standard_normal(
        right.shape
    )
    log_q = np.log(0.5 * stats.norm.pdf(draws, -3, 1) + 0.5 * stats.norm.pdf(draws, 3, 0.5))
    found = calibration.hdr_coverage(log_q[:, 0], log_q[:, 1:])
    assert np.all(np.abs(found.mean - found.levels) < 4 * found.error)
    assert calibration.hdr_coverage(log_q[:, 0] - 1.0, log_q[:, 1:]).mean[0] < 0.45


def test_tarp_curve_has_ends_band_and_takes_reference_points():
    p = problem()
    found = calibration.tarp(p.x, p.samples, references=np.full(p.x.shape, 20.0))
    assert (
        found.coverage[0] == 0.0
        and found.coverage[-1] == 1.0
        and np.all(np.diff(found.coverage) >= 0)
    )
    assert np.all(found.low <= found.coverage + 1e-9) and np.all(
        found.coverage <= found.high + 1e-9
    )
    middle = found.high[50] - found.low[50]
    assert middle == pytest.approx(2 * 1.96 * np.sqrt(0.25 / SIZE), rel=0.2)
    assert found.p_value > 0.01
    with pytest.raises(UserError, match="reference points"):
        calibration.tarp(p.x, p.samples, references=np.zeros((SIZE, 3)))


def test_bands_hold_the_whole_curve_at_their_level():
    rng = np.random.default_rng(0)
    for size, n_samples in ((100, 20), (500, 999)):
        z, low, high = uniformity.simultaneous_bands(size, n_samples, 0.9)
        ranks = rng.integers(0, n_samples + 1, (1500, size))
        curves = np.stack([uniformity.ecdf(row, n_samples)[1] for row in ranks])
        assert np.all((z > 0) & (z < 1)) and np.all(low <= z) and np.all(z <= high)
        held = ((curves >= low - 1e-12) & (curves <= high + 1e-12)).all(1).mean()
        assert abs(held - 0.9) < 4 * np.sqrt(0.09 / 1500) + 0.005
        p = np.array([uniformity.ecdf_p_value(row, n_samples) for row in ranks[:600]])
        assert abs(np.mean(p < 0.2) - 0.2) < 4 * np.sqrt(0.16 / 600)


def test_two_draws_and_one_place_by_hand():
    """N = 2, S = 1: z = 1/2, counts 0, 1, 2 with 1/4, 1/2, 1/4; g = 1/2 for 0 and 2, so p = 1/2;
    for 1 it is 1."""
    assert uniformity.ecdf_p_value(np.array([0, 0]), 1) == pytest.approx(0.5)
    assert uniformity.ecdf_p_value(np.array([1, 1]), 1) == pytest.approx(0.5)
    assert uniformity.ecdf_p_value(np.array([0, 1]), 1) == 1.0


def test_chi_square_is_scipys_and_knows_unequal_bins():
    ranks = np.random.default_rng(0).integers(0, 100, 1000)
    expected = stats.chisquare(np.bincount(ranks // 10)).pvalue
    assert uniformity.chi_square(ranks, 99, 10) == pytest.approx(expected)
    many = np.random.default_rng(1).integers(0, 8, 80_000)  # 8 ranks in 3 bins: 3, 2 and 3 of them
    assert uniformity.chi_square(many, 7, 3) > 0.001


def test_projections_of_one_parameter_are_none_and_it_is_judged_all_the_same():
    p = problem()
    assert projections.projection_ranks(p.x[:, :1], p.samples[:, :, :1]).shape == (SIZE, 0)
    assert (
        warnings(
            posterior_metrics(p.x[:, :1], p.samples[:, :, :1], observations=np.ones((SIZE, 2)))
        )
        == []
    )


@pytest.mark.parametrize(
    "truths, samples",
    [((30,), (30, 9)), ((30, 2), (30, 9, 3)), ((30, 2), (29, 9, 2)), ((30, 2), (30, 0, 2))],
)
def test_shapes_that_do_not_pair_are_refused(truths, samples):
    with pytest.raises(UserError, match=r"truths \[B, P\] and samples \[B, S, P\]"):
        calibration.sbc_ranks(np.zeros(truths), np.zeros(samples))


def test_what_is_not_finite_and_too_few_are_refused():
    samples = np.zeros((30, 9, 2))
    samples[3, 1] = np.nan
    with pytest.raises(UserError, match="1 of 30 observations"):
        calibration.sbc_ranks(np.zeros((30, 2)), samples)
    with pytest.raises(UserError, match="at least 20"):
        calibration.sbc_test(np.zeros((5, 2), int), 9)
    with pytest.raises(UserError, match="2 bins"):
        uniformity.chi_square(np.zeros(50, int), 9, 1)
