"""The detector of images and the pictures of its background model."""

import numpy as np
import pytest

import flow_models as fm
from flow_models.applications.pictures import figures
from flow_models.core.errors import UserError
from flow_models.data.images.background import background_pictures, distorted
from flow_models.diagnostics import anomaly, codes, defects, generation
from flow_models.diagnostics.nearness import distance_to_nearest
from flow_models.models.detector import mean_nll
from flow_models.models.pixels import Pixels

RNG = np.random.default_rng(0)


def bars(n):
    """One upright white bar each, 8x8."""
    images = np.zeros((n, 8, 8, 1), np.uint8)
    for image, at in zip(images, RNG.integers(1, 6, n)):
        image[:, at : at + 2] = 255
    return images


def small(seed=0):
    return fm.Model(
        fm.glow_image((8, 8, 1), levels=1, depth=1, hidden=(8,), bits=3, seed=seed),
        codecs={"x": Pixels(8, 8, 1, bits=3)},
        jit=False,
    )


@pytest.fixture(scope="module")
def detector():
    model = small()
    fm.fit(
        model,
        bars(200),
        settings=fm.FitSettings(steps=150, batch_size=32, jit=False),
        progress=False,
    )
    return fm.Detector(model, small(1)).knowing(bars(40))


def test_scores_are_those_of_the_functions(detector):
    images = np.concatenate([bars(5), RNG.integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)])
    scores = detector.scores(images, seed=3)
    assert list(scores) == [name for name in anomaly.SCORES if name != "combined"]
    nll = mean_nll(detector.model, images, seed=3)
    assert np.allclose(scores["nll"], nll)
    assert np.allclose(
        scores["complexity"], nll / np.log(2) - codes.code_length(images, 3), rtol=1e-4, atol=1e-2
    )
    assert np.allclose(
        scores["likelihood_ratio"],
        nll - mean_nll(detector.background, images, seed=3),
        rtol=1e-4,
        atol=1e-2,
    )
    assert np.allclose(
        scores["typicality"], np.abs(nll - detector.reference["nll"].mean()), rtol=1e-4, atol=1e-2
    )
    assert scores["nll"][5:].min() > scores["nll"][:5].max(), "noise is stranger than bars"


def test_what_is_remembered_is_part_of_the_combined_score(detector, tmp_path):
    whole = detector.remembering(bars(100)).knowing(bars(40))
    images = np.concatenate([bars(5), np.rot90(bars(5), axes=(1, 2))])
    scores = whole.scores(images, seed=3)
    assert list(scores) == list(anomaly.SCORES) and list(whole.tails(scores)) == list(scores)
    parts = {
        "likelihood_ratio": scores["likelihood_ratio"],
        "nearest": distance_to_nearest(images, whole.known),
    }
    assert np.allclose(scores["combined"], anomaly.combined(parts, whole.reference))
    assert scores["combined"][5:].min() > scores["combined"][:5].max(), "lying bars are stranger"
    assert np.all(whole.tails(scores)["combined"][5:] == 1 / 41)
    whole.model.save(str(tmp_path / "model"))
    whole.save(str(tmp_path))
    again = fm.load_detector(str(tmp_path), jit=False).scores(images, seed=3)
    assert np.allclose(again["combined"], scores["combined"], rtol=1e-4, atol=1e-2)


def test_tails_of_known_pictures_are_uniform_and_of_noise_small(detector):
    tails = detector.tails(detector.scores(bars(300), seed=5))["nll"]
    assert 0.35 < tails.mean() < 0.65 and np.mean(tails <= 0.1) < 0.25
    noise = RNG.integers(0, 256, (10, 8, 8, 1)).astype(np.uint8)
    assert np.allclose(detector.tails(detector.scores(noise))["nll"], 1 / 41)


def test_a_detector_is_saved_and_loaded_whole(detector, tmp_path):
    detector.model.save(str(tmp_path / "model"))
    detector.save(str(tmp_path))
    again, images = fm.load_detector(str(tmp_path), jit=False), bars(6)
    expected = detector.scores(images)
    assert all(
        np.allclose(value, expected[name], rtol=1e-5, atol=1e-3)
        for name, value in again.scores(images).items()
    )
    alone = fm.load_detector(str(tmp_path / "model"), jit=False)
    assert (
        list(alone.scores(images)) == ["nll", "complexity", "latent_norm"]
        and alone.tails(alone.scores(images)) == {}
    )


def test_maps_show_where_and_use_what_is_remembered(detector, tmp_path):
    whole = detector.remembering(bars(100))
    images, masks = defects.planted(bars(8), "swapped", seed=1)
    found = whole.maps(images)
    assert found.shape == (8, 8, 8) and found.min() >= 0 and np.isfinite(found).all()
    assert defects.pixel_auroc(found, masks) > 0.9
    assert np.array_equal(found, whole.maps(images)), "equal seeds, equal maps"
    alone = detector.maps(images[:1])
    assert alone.shape == (1, 8, 8), "samples of the model stand for known pictures"
    whole.model.save(str(tmp_path / "model"))
    whole.save(str(tmp_path))
    again = fm.load_detector(str(tmp_path), jit=False)
    assert np.array_equal(again.known, whole.known) and np.allclose(again.maps(images), found)
    with pytest.raises(UserError, match=r"must be \[8, 8, 1\] each, got \[8, 9, 1\]"):
        whole.maps(np.zeros((1, 8, 9, 1), np.uint8))


def test_a_detector_of_vectors_is_refused(tmp_path):
    fm.Model(fm.realnvp(2, depth=1, hidden=(4,)), jit=False).save(str(tmp_path))
    with pytest.raises(UserError, match="a detector needs one of images"):
        fm.load_detector(str(tmp_path))


@pytest.mark.parametrize(
    "levels, multiscale, kept",
    [(1, True, [1]), (2, True, [1, 0.5]), (4, True, [1, 0.5, 0.25]), (2, False, [1])],
)
def test_what_is_kept_of_latents_ends_with_a_level(levels, multiscale, kept):
    codec = Pixels(16, 16, 1, bits=3)
    flow = fm.glow_image(codec.shape, levels, depth=1, hidden=(4,), multiscale=multiscale, bits=3)
    assert figures.shares(fm.Model(flow, codecs={"x": codec}, jit=False)) == kept


def test_regenerated_pictures_are_the_pictures_at_the_models_bits(detector):
    images = bars(4) // 2
    whole, none = generation.regenerated(detector.model, images, (1.0, 0.0))
    assert np.abs(whole.astype(int) - np.round((images >> 5).astype(int) * 255 / 7)).max() <= 1
    assert np.array_equal(none, np.repeat(none[:1], 4, 0)), "without latents all are alike"
    with pytest.raises(UserError, match="between 0 and 1"):
        generation.regenerated(detector.model, images, (1.5,))


def test_interpolation_begins_and_ends_with_the_pictures(detector):
    a, b = bars(2), bars(2)
    way = generation.interpolated(detector.model, a, b, 5)
    assert (
        way.shape == (2, 5, 8, 8, 1)
        and np.abs(way[:, 0].astype(int) - a).max() <= 1
        and np.abs(way[:, -1].astype(int) - b).max() <= 1
    )


def test_background_pictures_differ_from_the_known_ones_and_from_each_other():
    images = bars(30)
    for kind in ("distorted", "mutated"):
        many = background_pictures(images, kind, copies=3)
        assert many.shape == (90, 8, 8, 1) and many.dtype == np.uint8
        assert np.mean([np.array_equal(a, b) for a, b in zip(many[:30], images)]) < 0.1
        assert not np.array_equal(many[:30], many[30:60])
        assert np.array_equal(many, background_pictures(images, kind, copies=3)), (
            "equal seeds, equal pictures"
        )
        assert not np.array_equal(many, background_pictures(images, kind, copies=3, seed=1))
    with pytest.raises(UserError, match="must be one of distorted, mutated, none"):
        background_pictures(images, "noisy")


def test_distorted_pictures_have_lost_their_pose_and_kept_their_colours():
    many = distorted(np.repeat(bars(1), 400, 0), (0, 0)).astype(float)
    across, along = many.std(2).mean(), many.std(1).mean()  # an upright bar varies across only
    assert bars(1).astype(float).std(1).mean() == 0 and 0.8 < across / along < 1.25
    assert np.mean((many == 0) | (many == 255)) > 0.4
