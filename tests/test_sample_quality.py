"""Measures of samples have the values of their definitions, see what is wrong, and stand beside
their null."""

import math

import numpy as np
import pytest

from flow_models.core.errors import UserError
from flow_models.data.images import embedded
from flow_models.diagnostics import generation, sample_quality
from flow_models.diagnostics.anomaly import mutated
from flow_models.models.backbones import Backbone, pooled
from flow_models.training.picture_features import PictureFeatures

RNG = np.random.default_rng(0)


def test_kernel_distance_is_its_sum_over_pairs_and_zero_on_average_for_equal_laws():
    a, b = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 3)) + 1

    def mean(x, y):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(y)) if x is not y or i != j]
        return np.mean([(x[i] @ y[j] / 3 + 1) ** 3 for i, j in pairs])

    expected = mean(a, a) + mean(b, b) - 2 * mean(a, b)
    assert sample_quality.kernel_distance(a, b) == pytest.approx(expected)
    many = [sample_quality.kernel_distance(*RNG.normal(size=(2, 30, 2))) for _ in range(300)]
    assert abs(np.mean(many)) < 4 * np.std(many) / 300**0.5


def test_precision_and_recall_by_hand():
    real = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])
    samples = np.array([[0.5], [1.5], [4.2], [-3.0], [40.0]])
    # balls of the first neighbours: 1, 1, 1, 1, 7 and of the samples 1, 1, 2.7, 3.5, 35.8
    assert sample_quality.precision_recall(samples, real, 1) == (0.6, 1.0)
    # 4.2 lies in the ball of the outlier alone, and no sample in that of 3
    density, coverage = sample_quality.density_coverage(samples, real, 1)
    assert density == pytest.approx(5 / 5) and coverage == 0.8


def test_density_and_coverage_of_equal_laws_have_the_values_of_the_paper():
    """1, and 1 - (n - 1) ... (n - k) / ((2 n - 1) ... (2 n - k)) (Naeem et al. 2020, Lemma 2)."""
    n, k = 60, 5
    found = np.array(
        [sample_quality.density_coverage(*RNG.normal(size=(2, n, 6)), k) for _ in range(60)]
    )
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert np.allclose(found.mean(0), [1, expected], atol=4 * found.std(0) / 60**0.5)


def test_what_is_wrong_with_samples_shows_where_it_should():
    real = np.concatenate([RNG.normal(size=(49, 4)), RNG.normal(size=(49, 4)) + 8])
    good = np.concatenate([RNG.normal(size=(60, 4)), RNG.normal(size=(60, 4)) + 8])
    near = RNG.random(120)

    def of(samples, distances=near):
        return sample_quality.sample_quality(samples, real, (distances, near[:98]))

    fine = of(good)
    for name, measure in fine.items():
        assert abs(measure.samples - measure.null) < 0.2, name
    assert "c2st" not in fine  # of halves of 49
    one_mode = of(RNG.normal(size=(120, 4)))
    assert one_mode["recall"].samples < 0.7 * one_mode["recall"].null
    assert one_mode["precision"].samples > 0.8
    assert one_mode["kid"].samples > one_mode["kid"].null + 5 * one_mode["kid"].null_sd
    wide = of(4 + 6 * RNG.normal(size=(120, 4)))
    assert wide["precision"].samples < 0.5 and wide["density"].samples < 0.5
    assert of(good, 0.1 * near)["memorised"].samples > 0.85
    assert abs(fine["memorised"].null - 0.5) < 0.1


def test_a_classifier_tells_one_mode_from_two():
    real = np.concatenate([RNG.normal(size=(50, 4)), RNG.normal(size=(50, 4)) + 8])
    near = np.ones(50), np.ones(100)
    found = sample_quality.sample_quality(RNG.normal(size=(50, 4)), real, near)["c2st"]
    assert found.samples > 0.65 > found.null and np.isnan(found.samples_sd)


@pytest.mark.parametrize(
    "samples, real, message",
    [
        (np.zeros((30, 2)), np.zeros((50, 3)), "two sets of finite features"),
        (np.full((30, 2), np.nan), np.zeros((50, 2)), "finite"),
        (np.zeros((30, 2)), np.zeros((39, 2)), "at least 40 are needed"),
        (np.zeros((9, 2)), np.zeros((90, 2)), "at least 20 rows"),
    ],
)
def test_features_that_do_not_do_are_refused(samples, real, message):
    near = np.zeros(len(samples)), np.zeros(len(real))
    with pytest.raises(UserError, match=message):
        sample_quality.sample_quality(samples, real, near)


@pytest.fixture(scope="module")
def digits():
    return embedded.load("digits")


@pytest.fixture(scope="module")
def features(digits):
    return PictureFeatures(digits.examples, digits.example_labels, seed=1)


def test_the_network_of_the_run_learns_and_its_features_see_grain_and_copies(digits, features):
    assert features.loss < 0.7 * np.log(10 + 3 + 2)
    real, train = digits.validation[:98], digits.examples
    near = generation.nearest(real, train)[1][:, 0]
    found = {}
    for name, pictures in {
        "grain": mutated(real, 0.3),
        "copies": train[RNG.integers(0, 9, 150)],
        "others": train[RNG.permutation(len(train))[:150]],
    }.items():
        distances = generation.nearest(pictures, train)[1][:, 0]
        found[name] = sample_quality.sample_quality(
            features(pictures), features(real), (distances, near)
        )
    kid = {name: (each["kid"].samples, each["kid"].null_sd) for name, each in found.items()}
    assert kid["others"][0] < 4 * kid["others"][1] < kid["grain"][0]
    assert found["copies"]["recall"].samples < 0.3 and found["copies"]["memorised"].samples == 1.0


def test_equal_seeds_give_equal_features_of_pictures_of_any_shape(monkeypatch):
    monkeypatch.setattr("flow_models.training.picture_features.STEPS", 2)
    images = RNG.integers(0, 256, (12, 70, 10, 3)).astype(np.uint8)
    one, other = (PictureFeatures(images, seed=3)(images) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert len(one) == 12 and one.std(0).max() > 0


def means(images):
    return images.mean((1, 2))


def broken(images):
    return images[:-1]


def test_a_network_of_the_user_is_found_by_its_name(tmp_path):
    images = RNG.integers(0, 256, (300, 4, 4, 2)).astype(np.uint8)
    expected = images.astype(np.float32).mean((1, 2))
    np.testing.assert_allclose(Backbone(f"{__name__}:means")(images), expected)
    file = tmp_path / "mine.py"
    file.write_text("def maps(images):\n    return images[:, ::2, ::2]\n")
    maps = Backbone(f"{file}:maps")(images)
    assert maps.shape == (300, 2, 2, 2) and pooled(maps).shape == (300, 2)


@pytest.mark.parametrize(
    "name, message",
    [
        ("means", "give module:function"),
        ("no_such_module:f", "No module named"),
        ("nowhere.py:f", "no file"),
        (f"{__name__}:nothing", "has no function nothing"),
        ("keras:NoNet", "has no 'NoNet'"),
        ("keras:none.keras", "no file none.keras"),
        (f"{__name__}:broken", r"gives \[4, 4, 4, 2\] for pictures \[5, 4, 4, 2\]"),
        ("math:sqrt", "math:sqrt fails for pictures"),
    ],
)
def test_a_network_that_does_not_do_is_refused_in_one_line(name, message):
    with pytest.raises(UserError, match=message):
        Backbone(name)(np.zeros((5, 4, 4, 2), np.uint8))
