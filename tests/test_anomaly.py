"""Anomaly scores and detection measures against their definitions and scikit-learn."""

import csv
import io
import math
import zlib

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as sk

from flow_models.core.errors import UserError
from flow_models.diagnostics import anomaly, codes, detection, generation, scored
from flow_models.diagnostics.baselines import PictureBaselines
from flow_models.diagnostics.nearness import distance_to_nearest

RNG = np.random.default_rng(0)


def flat(n, value=0, shape=(12, 12, 1)):
    return np.full((n, *shape), value, np.uint8)


def noise(n, shape=(12, 12, 1), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def test_scores_combined_are_fishers_sum_of_tails():
    rng = np.random.default_rng(0)
    known = {"a": rng.normal(3.0, 2.0, 10_000), "b": np.append(rng.normal(size=9_999), np.inf)}
    mean, sd = known["a"].mean(), known["a"].std()
    found = anomaly.combined({"a": np.array([mean, mean + 3 * sd, np.inf])}, known)
    assert np.allclose(found, [np.log(2), -np.log(scipy.stats.norm.sf(3)), np.inf])
    both = anomaly.combined({"a": known["a"], "b": known["b"][::-1]}, known)[1:]
    # -2 log of a product of independent tails is chi^2 with 4 degrees of freedom
    assert scipy.stats.kstest(2 * both, scipy.stats.chi2(4).cdf).statistic < 0.02


def test_the_distance_to_known_pictures_forgives_a_pixel_and_a_mirror():
    known = np.zeros((3, 16, 16, 3), np.uint8)
    known[0, 2:9, 3:6], known[1, 5:7, 2:14], known[2, 9:14, 9:13] = 255, 200, 255
    moved = np.roll(known, 1, axis=2)
    found = distance_to_nearest(known, known), distance_to_nearest(known[:, :, ::-1], known)
    assert np.allclose(found, 0, atol=1e-3)
    rough = generation.nearest(moved, known)[1][:, 0]
    assert (distance_to_nearest(moved, known) < 0.75 * rough).all()
    assert (distance_to_nearest(255 - known, known) > 100).all()


def test_typicality_is_the_distance_from_the_mean_of_known_pictures():
    assert np.allclose(
        anomaly.typicality([1.0, 5.0, np.inf], [2.0, 4.0, np.inf]), [2.0, 2.0, np.inf]
    )
    with pytest.raises(UserError, match="at least one is finite"):
        anomaly.typicality([1.0], [])


def test_complexity_is_in_bits_and_takes_the_code_off():
    assert np.allclose(anomaly.complexity([math.log(2.0) * 10], [4.0]), 6.0)


def test_the_ratio_to_a_background_that_also_rules_out_is_infinite_not_nan():
    assert np.allclose(anomaly.likelihood_ratio([3.0, np.inf], [1.0, np.inf]), [2.0, np.inf])


def test_latent_norm_is_small_on_the_shell_and_large_off_it_on_either_side():
    z = RNG.standard_normal((500, 300))
    norm = anomaly.latent_norm(z)
    assert norm.mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.1), "half normal: |N(0, 1)|"
    assert anomaly.latent_norm(np.zeros((1, 300))) > 10 and anomaly.latent_norm(2 * z).min() > 10


def test_mutation_changes_the_share_of_pixels_that_was_asked_for_and_repeats():
    images = flat(200, 7)
    changed = anomaly.mutated(images, 0.3, seed=1)
    assert np.mean(changed != 7) == pytest.approx(0.3 * 255 / 256, abs=0.01)
    assert np.array_equal(changed, anomaly.mutated(images, 0.3, seed=1))
    assert not np.array_equal(changed, anomaly.mutated(images, 0.3, seed=2))
    assert np.array_equal(anomaly.mutated(images, 0.0), images)
    assert set(np.unique(anomaly.mutated(images, 1.0, bits=1))) == {0, 255}
    with pytest.raises(UserError, match="between 0 and 1"):
        anomaly.mutated(images, 1.5)


def test_codes_are_real_and_the_shortest_wins():
    images = np.concatenate([flat(1), noise(1)])
    lengths = {
        name: codes.code_length(images, codecs=[name]) for name in [*codes.CODECS, "context"]
    }
    assert np.array_equal(codes.code_length(images), np.min(list(lengths.values()), 0))
    header = len(zlib.compress(b"\0", 9))
    assert lengths["zlib"][1] == 8 * (len(zlib.compress(images[1].tobytes(), 9)) - header)
    assert (codes.code_length(images)[0] < 200) and 144 * 8 * 0.9 < codes.code_length(images)[
        1
    ] < 144 * 8 * 1.2


def test_fewer_bits_make_shorter_codes_and_the_low_bits_do_not_count():
    images = noise(3)
    assert (codes.code_length(images, 2) < 0.5 * codes.code_length(images, 8)).all()
    assert np.array_equal(codes.code_length(images, 2), codes.code_length(images & 0b11000000, 2))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_codes_of_any_number_of_channels(channels):
    assert (codes.code_length(noise(2, (8, 9, channels))) > 8 * 9 * channels * 7).all()
    assert codes.code_length(noise(0, (8, 9, channels))).shape == (0,)


def test_wrong_pictures_and_codecs_are_refused():
    with pytest.raises(UserError, match="no codec webp; there are png"):
        codes.code_length(flat(1), codecs=["webp"])
    with pytest.raises(UserError, match="uint8"):
        codes.code_length(np.zeros((1, 4, 4, 1)))


@pytest.mark.parametrize("ties", [False, True])
def test_measures_are_those_of_scikit_learn(ties):
    known, strange = RNG.normal(0, 1, 150), RNG.normal(1, 1, 70)
    if ties:
        known, strange = known.round(), strange.round()
    found = detection.detection(known, strange, 0)
    truth, score = np.repeat([0, 1], [150, 70]), np.concatenate([known, strange])
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(truth, score), abs=1e-12)
    assert found["aupr"] == pytest.approx(sk.average_precision_score(truth, score), abs=1e-12)
    fpr, tpr, _ = sk.roc_curve(truth, score, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(fpr[np.argmax(tpr >= 0.95 - 1e-9)], abs=1e-12)
    assert all(
        np.allclose(ours, theirs)
        for ours, theirs in zip(detection.curve(known, strange), (fpr, tpr))
    )


def test_infinite_scores_rank_first_and_nan_is_refused():
    assert detection.detection([0.0, 1.0], [np.inf, np.inf], 0) == {
        "auroc": 1.0,
        "aupr": 1.0,
        "fpr95": 0.0,
    }
    for wrong in ([], [np.nan]):
        with pytest.raises(UserError, match="none of them NaN"):
            detection.detection([0.0], wrong)


def test_bootstrap_intervals_are_those_of_resampling_by_hand_and_shrink_with_more_events():
    known, strange = RNG.normal(0, 1, 80), RNG.normal(1, 1, 60)
    found = detection.detection(known, strange, 2000, seed=1)
    rng, areas = np.random.default_rng(2), []
    for _ in range(1000):
        a, b = rng.choice(known, 80), rng.choice(strange, 60)
        areas.append(sk.roc_auc_score(np.repeat([0, 1], [80, 60]), np.concatenate([a, b])))
    assert np.allclose(
        [found["auroc_low"], found["auroc_high"]], np.quantile(areas, [0.025, 0.975]), atol=0.012
    )
    assert found["auroc_low"] < found["auroc"] < found["auroc_high"]
    assert found == detection.detection(known, strange, 2000, seed=1)
    more = detection.detection(np.tile(known, 9), np.tile(strange, 9), 500)
    assert more["auroc_high"] - more["auroc_low"] < 0.5 * (found["auroc_high"] - found["auroc_low"])


def test_intervals_cover_the_truth_as_often_as_they_say():
    truth, covered = 0.5 * (1 + math.erf(1 / 2)), 0  # AUROC of N(1, 1) over N(0, 1)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = detection.detection(rng.normal(0, 1, 100), rng.normal(1, 1, 100), 300, seed=seed)
        covered += found["auroc_low"] <= truth <= found["auroc_high"]
    assert 0.89 <= covered / 200 <= 0.99


def test_names_of_metrics():
    scores = {"nll": {"known": np.arange(5.0), "digits": np.arange(5.0) + 3}}
    names = {
        f"{m}_nll_digits{end}" for m in ("auroc", "aupr", "fpr95") for end in ("", "_low", "_high")
    }
    metrics = detection.table(scores, "known", resamples=50)
    assert set(metrics) == names
    heading, columns, rows = scored.detection_table(scores, metrics, "known")
    assert heading == "Anomaly scores: known against digits" and len(columns) == len(rows[0]) == 5
    assert rows[0][:2] == ["nll", f"{metrics['auroc_nll_digits']:.3f}"]


def test_baselines_see_what_they_are_to_see():
    train = flat(60, 100) + noise(60) // 64
    baseline = PictureBaselines(train)
    sets = {"same": flat(5, 101), "dark": flat(5, 20), "noise": noise(5)}
    scores = {name: baseline.scores(x, codes.code_length(x)) for name, x in sets.items()}
    assert set(scores["same"]) == set(PictureBaselines.NAMES)
    assert (scores["dark"]["darkness"] > scores["same"]["darkness"]).all() and scores["dark"][
        "pixel_mean"
    ].min() > 70
    assert scores["noise"]["pca"].min() > 100 * scores["same"]["pca"].max()
    assert scores["noise"]["compressed_size"].min() > scores["dark"]["compressed_size"].max()


def test_csv_has_one_row_a_picture_in_order():
    scores = {"nll": {"known": np.array([1.0, 2.0]), "far": np.array([3.5])}}
    text = scored.scores_csv(
        scores, {"known": ["a", "b"], "far": ["c"]}, {"known": ["cat", "cat"], "far": ["7"]}
    )
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "set", "label", "nll"],
        ["a", "known", "cat", "1"],
        ["b", "known", "cat", "2"],
        ["c", "far", "7", "3.5"],
    ]
    assert scored.ranked(scores, "nll", 2) == [("far", 0), ("known", 1)]


def test_interpolation_on_the_line_and_on_the_circle():
    a, b = RNG.standard_normal((2, 3, 50))
    for kind in generation.KINDS:
        z = generation.between(a, b, np.linspace(0, 1, 5), kind)
        assert z.shape == (3, 5, 50) and np.allclose(z[:, 0], a) and np.allclose(z[:, -1], b)
    b *= np.linalg.norm(a, axis=1, keepdims=True) / np.linalg.norm(b, axis=1, keepdims=True)
    lengths = np.linalg.norm(generation.between(a, b, np.linspace(0, 1, 7)), axis=-1)
    assert np.allclose(lengths, np.linalg.norm(a, axis=1, keepdims=True)), (
        "on the circle between vectors of one length"
    )
    assert np.allclose(generation.between(a, a, np.array([0.5])), a[:, None]), (
        "no circle between equal ends"
    )
    with pytest.raises(UserError, match="no interpolation 'cubic'"):
        generation.between(a, b, np.array([0.5]), "cubic")


def test_nearest_finds_a_known_picture_even_mirrored():
    training = noise(50)
    numbers, distances = generation.nearest(
        np.concatenate([training[[7]], training[[9]][:, :, ::-1]]), training, 2
    )
    assert (
        list(numbers[:, 0]) == [7, 9]
        and (distances[:, 0] == 0).all()
        and (distances[:, 1] > 50).all()
    )
    other = noise(1, seed=5)
    by_hand = [
        min(np.sqrt(np.mean(np.square(x - t.astype(float)))) for x in (other[0], other[0, :, ::-1]))
        for t in training
    ]
    assert generation.nearest(other, training)[1][0, 0] == pytest.approx(min(by_hand), rel=1e-5)


def test_the_context_code_is_the_code_of_a_coin_that_is_learned():
    """With a single context, -log2 of the sequence is that of a Dirichlet mixture, known in closed
    form."""
    from scipy.special import gammaln

    k = (RNG.random((3, 9, 11, 1)) < 0.2).astype(np.uint8)
    ones = k.sum((1, 2, 3)).astype(float)
    exact = -(
        gammaln(1.0)
        - gammaln(100.0)
        + sum(gammaln(n + 0.5) - gammaln(0.5) for n in (ones, 99 - ones))
    ) / math.log(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "CONTEXTS", ((),))
        assert np.allclose(codes.context_code(k, 1), exact)


def test_the_context_code_sums_to_one_over_all_pictures():
    """It is the length of a code: 2^-bits sums to 1 over all images of 2x2 pixels and 2 channels of
    one bit."""
    every = np.array(list(np.ndindex(*[2] * 8)), np.uint8).reshape(-1, 2, 2, 2)
    assert (2.0 ** -codes.context_code(every, 1)).sum() == pytest.approx(1.0, abs=1e-5)


def test_the_context_code_does_not_depend_on_the_company(monkeypatch):
    k = RNG.integers(0, 8, (5, 6, 7, 2)).astype(np.uint8)
    whole = codes.context_code(k, 3)
    monkeypatch.setattr(codes, "CONTEXT_NUMBERS", 1)
    assert np.allclose(codes.context_code(k, 3), whole) and codes.context_code(k[:0], 3).shape == (
        0,
    )


def test_large_pictures_are_left_to_the_codecs(monkeypatch):
    images = noise(1, (10, 10, 1))
    monkeypatch.setattr(codes, "CONTEXT_PIXELS", 99)
    assert np.array_equal(
        codes.code_length(images), codes.code_length(images, codecs=list(codes.CODECS))
    )
