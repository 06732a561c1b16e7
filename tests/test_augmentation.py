"""Augmentation by its effect on known images: exact where it must be, right in direction, size and
place elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation, transform

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (5, 9, 9, 3), np.uint8)


def dot(y, x, size=41):
    """A smooth spot of width 2 at (y, x), [1, size, size, 1]."""
    grid = np.arange(size)
    return np.exp(-((grid[:, None] - y) ** 2 + (grid - x) ** 2) / 8).astype(np.float32)[
        None, ..., None
    ]


def place(image):
    """Centre of mass (y, x)."""
    weight = np.asarray(image)[0, ..., 0]
    weight = weight / weight.sum()
    grid = np.arange(len(weight))
    return np.array([weight.sum(1) @ grid, weight.sum(0) @ grid])


def test_nothing_asked_changes_nothing():
    assert not Augmentation().changes and Augmentation(zoom=0.1).changes
    np.testing.assert_array_equal(Augmentation().apply(NOISE, [1, 2]), NOISE)
    for images in (NOISE, RNG.normal(size=(2, 6, 7, 1)).astype(np.float32)):
        np.testing.assert_array_equal(transform(images), images)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns_are_exact(turns, size):
    images = NOISE[:, :size, :size]
    np.testing.assert_array_equal(
        transform(images, rotation=turns * np.pi / 2), np.rot90(images, turns, (1, 2))
    )


def test_turning_moves_a_spot_counter_clockwise():
    turned = place(transform(dot(20, 32), rotation=np.pi / 6))  # 12 to the right of the centre
    np.testing.assert_allclose(
        turned, [20 - 12 * np.sin(np.pi / 6), 20 + 12 * np.cos(np.pi / 6)], atol=0.03
    )


def test_zoom_moves_from_the_centre_and_enlarges():
    larger = np.asarray(transform(dot(20, 26), zoom=1.5))
    np.testing.assert_allclose(place(larger), [20, 29], atol=0.05)
    assert larger.sum() == pytest.approx(1.5**2 * dot(20, 26).sum(), rel=0.02)
    np.testing.assert_allclose(place(transform(dot(20, 28), zoom=0.5)), [20, 24], atol=0.05)


def test_shear_leans_to_the_right():
    angle = np.pi / 8
    for above in (10, -8):
        np.testing.assert_allclose(
            place(transform(dot(20 - above, 20), shear=angle)),
            [20 - above, 20 + above * np.tan(angle)],
            atol=0.03,
        )


def test_shifts_are_parts_of_the_sides():
    image = NOISE[:, :8, :8]
    moved = np.asarray(transform(image, down=0.25, right=-0.5))
    np.testing.assert_array_equal(moved[:, 2:, :4], image[:, :-2, 4:])


def test_the_edge_is_repeated():
    image = NOISE[:, :8, :8]
    moved = np.asarray(transform(image, down=0.25))
    np.testing.assert_array_equal(moved[:, :2], np.repeat(image[:, :1], 2, 1))
    moved = np.asarray(transform(image, right=-0.25))
    np.testing.assert_array_equal(moved[:, :, 6:], np.repeat(image[:, :, 7:], 2, 2))


def test_everything_together_is_shear_zoom_turn_shift():
    rotation, zoom, shear, down, right = 0.5, 1.2, 0.3, 0.05, -0.1
    p = np.array([6.0, -5.0])  # right and up from the centre: x, y upwards
    p = np.array([[1, np.tan(shear)], [0, 1]]) @ p * zoom
    p = np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]]) @ p
    expected = [20 - p[1] + down * 41, 20 + p[0] + right * 41]
    moved = transform(dot(25, 26), rotation, zoom, shear, down, right)
    np.testing.assert_allclose(place(moved), expected, atol=0.05)


def test_wide_pictures_turn_about_their_centre():
    image = np.zeros((1, 21, 41, 1), np.float32)
    image[0, 8:13, 24:29] = 1  # (10, 26): 6 to the right
    turned = np.asarray(transform(image, rotation=np.pi / 2))
    assert turned[0, 2:7, 18:23].sum() > 24 and turned.sum() == pytest.approx(25, rel=0.01)


def test_half_of_all_images_are_mirrored_exactly():
    images = np.repeat(NOISE[:1], 1000, 0)
    flipped = np.asarray(Augmentation(flip=True).apply(images, [3, 4]))
    mirrored = (flipped == NOISE[0][:, ::-1]).all((1, 2, 3))
    assert ((flipped == NOISE[0]).all((1, 2, 3)) | mirrored).all() and 0.44 < mirrored.mean() < 0.56


def test_rounding_has_no_bias():
    """Mean brightness stays: pixels are rounded, not cut off."""
    images = np.full((200, 16, 16, 1), 100, np.uint8) + RNG.integers(
        0, 2, (200, 16, 16, 1), np.uint8
    )
    changed = Augmentation(rotation=20, zoom=0.1, shift=0.1).apply(images, [0, 0])
    assert changed.dtype == tf.uint8 and abs(np.mean(changed) - images.mean()) < 0.05


@pytest.mark.parametrize(
    "name, limit", [("rotation", 30.0), ("zoom", 0.3), ("shear", 25.0), ("shift", 0.2)]
)
def test_draws_fill_their_range_and_no_more(name, limit):
    """What a spot did tells the draw of each image; over many images they are uniform up to the
    limit."""
    start = {"rotation": (20, 30), "zoom": (20, 28), "shear": (12, 20), "shift": (20, 20)}[name]
    images = np.repeat(dot(*start), 400, 0)
    moved = np.asarray(Augmentation(**{name: limit}).apply(images, [5, 6]))
    y, x = np.array([place(image[None]) for image in moved]).T - 20
    drawn = {
        "rotation": np.degrees(np.arctan2(-y, x)),
        "zoom": x / 8 - 1,
        "shear": np.degrees(np.arctan(x / 8)),
        "shift": x / 41,
    }[name] / limit
    assert abs(drawn).max() < 1.02 and drawn.max() > 0.95 and drawn.min() < -0.95
    assert abs(drawn.mean()) < 0.1 and drawn.std() == pytest.approx(1 / np.sqrt(3), abs=0.05)


def test_equal_seeds_equal_images():
    augmentation = Augmentation(flip=True, rotation=15, zoom=0.1, shear=5, shift=0.1)
    first, again, other = (np.asarray(augmentation.apply(NOISE, [7, seed])) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != NOISE).any((1, 2, 3)).all()
    compiled = tf.function(augmentation.apply)(tf.constant(NOISE), tf.constant([7, 1]))
    np.testing.assert_array_equal(compiled, first)


@pytest.mark.parametrize("wrong", [{"rotation": -1}, {"zoom": 1.0}, {"shear": 90}, {"shift": 1.5}])
def test_limits_are_checked(wrong):
    with pytest.raises(UserError, match=f"augmentation: {next(iter(wrong))} must be from 0 to"):
        Augmentation(**wrong)
