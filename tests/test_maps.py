"""Maps of where pictures are strange, and the planted defects that they are measured by."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from flow_models import plots
from flow_models.commands import maps as map_folder
from flow_models.core.errors import UserError
from flow_models.diagnostics import defects, maps


def bars(n, seed=0):
    """One upright bar each, 12x12, its brightness 200 to 250."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 12, 12, 1), np.uint8)
    for image, at in zip(images, rng.integers(1, 10, n)):
        image[:, at : at + 2] = rng.integers(200, 251)
    return images


@pytest.mark.parametrize("kind", defects.KINDS)
def test_a_planted_defect_is_one_patch_and_the_mask_says_where(kind):
    images = bars(20)
    spoiled, masks = defects.planted(images, kind, seed=3)
    assert spoiled.dtype == np.uint8 and masks.shape == (20, 12, 12)
    assert masks.any((1, 2)).all(), "every defect is visible"
    assert not (spoiled == images).all(-1)[masks].any()
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) < round(12 * defects.SIDES[1])
    assert np.array_equal(spoiled, defects.planted(images, kind, seed=3)[0])
    assert not np.array_equal(spoiled, defects.planted(images, kind, seed=4)[0])


def test_missing_is_filled_as_the_border_is():
    image = np.full((2, 12, 12, 3), (10, 20, 30), np.uint8)
    image[:, 3:9, 3:9] = 200
    spoiled, masks = defects.planted(image, "missing")
    assert (spoiled[masks] == (10, 20, 30)).all()


def test_measures_of_maps_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    found, masks = rng.integers(0, 5, (3, 4, 4)), rng.random((3, 4, 4)) < 0.3
    bad, good = found[masks], found[~masks]
    pairs = np.sign(bad[:, None] - good[None])
    assert defects.pixel_auroc(found, masks) == pytest.approx((pairs + 1).mean() / 2)
    peak = np.zeros((2, 4, 4))
    peak[0, 1, 2] = peak[1, 3, 3] = 1.0
    there = np.zeros((2, 4, 4), bool)
    there[0, 1, 2] = there[1, 0, 0] = True
    assert defects.pointing_game(peak, there) == 0.5
    with pytest.raises(UserError, match="needs defective pixels"):
        defects.pixel_auroc(peak, np.zeros((2, 4, 4), bool))
    with pytest.raises(UserError, match="must be one of swapped, blurred, noise, missing"):
        defects.planted(bars(3), "scratched")


def test_patches_cover_every_pixel_of_any_size():
    for height, width in ((28, 28), (7, 9), (5, 64), (1, 1), (33, 92)):
        times = np.zeros((height, width))
        for place in maps.patches(height, width):
            times[place] += 1
        assert times.min() >= 1, (height, width)


def test_a_map_is_the_change_to_what_known_pictures_have(monkeypatch):
    image = bars(1)[0]
    known = image[None].copy()
    assert maps.anomaly_map(None, image, known).max() < 1e-12
    known[0, 4, 4] = 255 - image[4, 4]
    monkeypatch.setattr(maps, "SMOOTHING", 0.0)
    found = maps.anomaly_map(None, image, known)
    expected = np.zeros((12, 12))
    expected[4, 4] = abs(int(known[0, 4, 4, 0]) - int(image[4, 4, 0])) / 255
    assert np.allclose(found, expected)
    two = maps.anomaly_map(None, image, np.concatenate([known, image[None]]))
    share, floor = expected[4, 4], maps.FLOOR
    assert two[4, 4] == pytest.approx(np.sqrt((share + floor) * floor) - floor)


def test_what_the_model_gains_raises_the_map(monkeypatch):
    """A patch counts by sqrt(log(1 + exp(gain / GAIN))), wherever it covers the pixel."""
    monkeypatch.setattr(maps, "SMOOTHING", 0.0)
    image = np.full((7, 7, 1), 100, np.uint8)
    image[3, 3] = 200
    known = np.full((1, 7, 7, 1), 100, np.uint8)
    alone = maps.anomaly_map(None, image, known)
    for gain in (-60.0, 0.0, 300.0):
        of_gain = maps.anomaly_map(lambda x: -gain * (x.max((1, 2, 3)) > 150), image, known)  # noqa: B023
        expected = np.sqrt(np.log1p(np.exp(gain / maps.GAIN))) * alone[3, 3]
        assert of_gain[3, 3] == pytest.approx(expected) and of_gain[0, 0] < 1e-12
    broken = maps.anomaly_map(lambda x: np.where(x.max((1, 2, 3)) > 150, np.nan, 0), image, known)
    assert np.isfinite(broken).all() and broken[3, 3] > of_gain[3, 3]


@pytest.mark.parametrize("kind", ["swapped", "noise", "missing"])
def test_defects_of_bars_are_found_without_any_model(kind):
    spoiled, masks = defects.planted(bars(12, seed=1), kind)
    found = maps.anomaly_maps(None, spoiled, bars(200, seed=2))
    assert defects.pixel_auroc(found, masks) > 0.95


def test_the_figure_shows_each_picture_above_its_map():
    images = bars(5)
    values = np.zeros((5, 12, 12))
    values[:2, 3, 3] = 1.0
    figure = plots.anomaly_maps(images, values, "Title", list("abcde"), usual=3)
    (axes,) = figure.axes
    assert len(axes.images) == 10 and [each.get_text() for each in axes.texts] == list("abcde")
    heated = np.asarray(axes.images[1].get_array())
    assert heated[3, 3].max() > 240 and heated[0, 0].max() < 200
    with pytest.raises(UserError, match="are expected"):
        plots.anomaly_maps(images, values[:4], "Title")


def test_the_benchmark_judges_maps_by_the_masks(monkeypatch):
    bench = importlib.import_module("benchmarks.defects")
    test = bench.spoiled(bars(6), seed=0)
    masks = {pictures.tobytes(): mask for pictures, mask in test.values()}
    row = bench.row_of("bars", "perfect", lambda x: masks[x.tobytes()].astype(float), test)
    assert row.startswith(
        "| bars | perfect | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 (1.000 to 1.000)"
    )
    monkeypatch.setattr(bench, "SHARES", (0.5, 0.99))
    known = SimpleNamespace(examples=bars(60, seed=1))
    found = bench.best_residual(known, test)(test["noise"][0])
    assert defects.pixel_auroc(found, test["noise"][1]) > 0.7


def test_a_folder_of_maps_has_one_scale_and_the_strangest_of_all_batches(tmp_path, monkeypatch):
    shown = []
    real = plots.anomaly_maps
    monkeypatch.setattr(plots, "anomaly_maps", lambda *each: shown.append(each) or real(*each))
    place = map_folder.MapFolder(str(tmp_path / "maps"), "photos")
    images, found = bars(12), np.zeros((12, 12, 12))
    found[:, 5, 5] = np.linspace(1.0, 0.0, 12)
    names = [f"photos/{number:02d}.png" for number in range(12)]
    scores = np.arange(12.0)[::-1]
    for part in (slice(0, 6), slice(6, 12)):
        place.add(names[part], images[part], found[part], {"nll": scores[part]})
    place.close()
    captions, usual = shown[0][3:]
    assert [each.split("\n")[0] for each in captions] == [
        *(f"{number:02d}.png" for number in range(8)),
        *(f"{number:02d}.png" for number in (11, 10, 9)),
    ]
    assert usual == 3 and (tmp_path / "maps" / "strangest.png").exists()
    first, last = (
        np.asarray(Image.open(tmp_path / "maps" / f"{name}.png.png")).astype(int)[:, 128:]
        for name in ("00", "11")
    )
    assert (first[60, 60] - last[60, 60]).max() > 100, "a calm map is dark beside a strange one"
    with pytest.raises(UserError, match="a second picture of this name"):
        place.add(names[:1], images[:1], found[:1], {"nll": scores[:1]})
