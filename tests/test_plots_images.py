"""Figures of images and of detection: complete, true to their input, clear about wrong input."""

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from flow_models import plots
from flow_models.core.errors import UserError
from flow_models.plots.detection import principal
from flow_models.plots.images import shown
from flow_models.plots.style import Shown

RNG = np.random.default_rng(0)


def images(n, shape=(8, 8, 1)):
    return RNG.integers(0, 256, (n, *shape)).astype(np.uint8)


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def words(figure: Figure) -> str:
    found = [
        figure.get_suptitle(),
        *(axes.get_title(loc=side) for axes in figure.axes for side in ("left", "center")),
    ]
    found += [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [
        text.get_text()
        for axes in figure.axes
        if axes.get_legend()
        for text in axes.get_legend().get_texts()
    ]
    return " | ".join(found)


def test_names_of_files_are_drawn_as_they_are():
    odd = ["$5 and $6^", "caf\udce9", "a_b"]
    figure = plots.image_grid(images(3), "Names $x", 3, odd)
    assert pixels(figure).std() > 0 and "caf?" in words(figure)


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(each.get_array()) for axes in figure.axes for each in axes.images]


def scores(sets=("known", "near", "far"), names=("nll", "ratio", "size")):
    return {
        name: {each: RNG.normal(i * k, 1, 60) for i, each in enumerate(sets)}
        for k, name in enumerate(names)
    }


def all_figures() -> dict[str, Figure]:
    z = {name: RNG.normal(size=(30, 12)) for name in ("known", "near", "far")}
    return {
        "rows": plots.image_rows({"data": images(5), "samples": images(5)}, "Rows", ["0%"] * 5),
        "grid": plots.image_grid(images(13), "Grid", 5, [f"{i}\ncat" for i in range(13)]),
        "neighbours": plots.neighbours(
            images(4), images(12).reshape(4, 3, 8, 8, 1), RNG.random(50), 1 + RNG.random(20)
        ),
        "histograms": plots.score_histograms(scores(), "known"),
        "roc": plots.roc_curves(scores(), "known", ["size"]),
        "map": plots.latent_map(z, {name: images(30) for name in z}, "known", numbered=4),
    }


def test_every_figure_draws_without_a_warning_and_nothing_is_cut_off(recwarn):
    for name, figure in all_figures().items():
        assert type(figure) is Shown, name
        picture = pixels(figure)
        assert picture.std() > 5, f"{name} is blank"
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == 255).mean() > 0.97, f"{name}: something is cut off"
    assert not [
        str(w.message)
        for w in recwarn
        if "matplotlib" in str(w.filename) or "layout" in str(w.message)
    ]


@pytest.mark.parametrize("shape", [(8, 8, 1), (6, 10, 3), (10, 6, 2), (70, 40, 3)])
def test_the_pictures_shown_are_the_pictures_given(shape):
    given = images(3, shape)
    figure = plots.image_rows({"one": given[:2], "two": given[2:]}, "Of any shape")
    assert pixels(figure).std() > 5
    for picture, original in zip(drawn(figure), given, strict=True):
        assert picture.shape == (*shape[:2], 3)
        expected = original if shape[2] == 3 else original.mean(-1, keepdims=True).round()
        assert np.array_equal(picture, np.broadcast_to(expected, picture.shape))


def test_the_grid_is_in_reading_order_with_its_captions():
    given = images(7)
    figure = plots.image_grid(given, "Seven", 3, [f"n{i}" for i in range(7)])
    assert np.array_equal(np.stack(drawn(figure)), shown(given))
    assert all(f"n{i}" in words(figure) for i in range(7))
    one = plots.image_grid(given[:1], "One")
    assert pixels(one).std() > 1


def test_neighbours_say_how_many_samples_are_nearer_than_any_held_out_picture():
    figure = plots.neighbours(
        images(2),
        images(2).reshape(2, 1, 8, 8, 1),
        np.array([1.0, 1.0, 9.0, 9.0]),
        np.array([5.0, 6.0]),
    )
    assert "50% of samples nearer than any held-out picture" in words(figure)


def test_histograms_and_roc_state_the_area_under_the_curve_best_first():
    given = {
        "good": {"known": np.zeros(9), "far": np.ones(9)},
        "blind": {"known": np.arange(9.0), "far": np.arange(9.0)},
        "bad": {"known": np.ones(9), "far": np.zeros(9)},
    }
    text = words(plots.roc_curves(given, "known", ["blind"]))
    assert text.index("1.000  good") < text.index("0.500  blind") < text.index("0.000  bad")
    text = words(plots.score_histograms(given, "known"))
    assert "far, AUROC 1.000" in text and "far, AUROC 0.500" in text


def test_no_set_is_left_out_where_there_are_more_than_colours():
    sets = ["known", *(f"set{i}" for i in range(8))]
    assert all(name in words(plots.score_histograms(scores(sets), "known")) for name in sets)
    z, pictures = (
        {name: make(5) for name in sets} for make in (lambda n: RNG.normal(size=(n, 4)), images)
    )
    assert all(name in words(plots.latent_map(z, pictures, "known")) for name in sets)


def test_infinite_scores_do_not_stop_a_figure():
    given = scores()
    given["nll"]["far"][:5] = np.inf
    assert pixels(plots.score_histograms(given, "known")).std() > 5
    assert pixels(plots.roc_curves(given, "known")).std() > 5


def test_the_map_numbers_inliers_outliers_and_others_each_once_as_the_pictures_beside():
    z = {
        "known": np.linspace(-1, 1, 9)[:, None] * np.ones((1, 4)) + 0.01 * RNG.normal(size=(9, 4)),
        "far": np.full((5, 4), 3.0),
    }
    pictures = {
        "known": np.stack([np.full((8, 8, 1), 10 * i, np.uint8) for i in range(9)]),
        "far": images(5),
    }
    figure = plots.latent_map(z, pictures, "known", numbered=3)
    text = words(figure)
    assert all(
        title in text
        for title in (
            "inliers: known nearest to the centre, 1 to 3",
            "outliers: known farthest from it, 4 to 6",
            "others: far, 7 to 9",
        )
    )
    numbers = [t.get_text() for t in figure.axes[0].texts]
    assert numbers == [str(i) for i in range(1, 10)]
    middle, ends = (
        {int(p[0, 0, 0]) for p in drawn(figure)[:3]},
        {int(p[0, 0, 0]) for p in drawn(figure)[3:6]},
    )
    assert middle == {30, 40, 50} and {0, 80} <= ends


def test_the_map_is_of_the_many_and_says_how_many_lie_beyond_it():
    z = {"known": RNG.normal(size=(50, 4)), "far": RNG.normal(size=(50, 4))}
    z["far"][:1] = 1e6
    figure = plots.latent_map(z, {name: images(50) for name in z}, "known", numbered=2)
    assert max(map(abs, (*figure.axes[0].get_xlim(), *figure.axes[0].get_ylim()))) < 20
    assert "far (50, 1 at the edge)" in words(figure) and pixels(figure).std() > 5


def test_principal_components_are_those_of_the_covariance():
    basis = RNG.normal(size=(400, 5)) @ np.diag([5, 3, 1, 1, 1.0]) + 7
    plane = principal(basis)(basis)
    values = np.linalg.eigvalsh(np.cov(basis.T))[::-1][:2]
    assert np.allclose(plane.var(0, ddof=1), values) and np.allclose(plane.mean(0), 0)


def test_training_curves_in_bits_per_dimension():
    step = np.arange(1.0, 31)
    history = {"step": step, "learning_rate": 1e-3 / step} | {
        f"{k}_{p}": 100 / step for k in ("train", "val") for p in ("objective", "latent", "log_det")
    }
    scale = 64 * math.log(2)
    figure = plots.training_curves(history, unit="bits per dimension", nats=scale)
    assert [axes.get_ylabel() for axes in figure.axes] == ["bits per dimension"] * 3 + [
        "learning rate"
    ]
    assert np.allclose(figure.axes[0].lines[0].get_ydata(), 100 / step / scale)
    assert np.allclose(figure.axes[3].lines[0].get_ydata(), 1e-3 / step)


WRONG = {
    "pictures of two sizes": (
        lambda: plots.image_rows({"a": images(2), "b": images(2, (4, 4, 1))}, ""),
        "one size",
    ),
    "numbers with decimals": (lambda: plots.image_grid(np.zeros((2, 4, 4, 1)), ""), "uint8"),
    "no picture": (lambda: plots.image_grid(images(0), ""), "at least 1"),
    "captions missing": (
        lambda: plots.image_grid(images(3), "", captions=["a"]),
        "1 captions for 3 pictures",
    ),
    "no other set": (lambda: plots.roc_curves(scores(("known",)), "known"), "at least one other"),
    "no known set": (lambda: plots.score_histograms(scores(), "cats"), "'cats'"),
    "latents without pictures": (
        lambda: plots.latent_map({"known": np.ones((5, 3))}, {}, "known"),
        "same sets",
    ),
    "too few for components": (
        lambda: plots.latent_map({"known": np.ones((2, 3))}, {"known": images(2)}, "known"),
        "at least 3 rows",
    ),
    "neighbours of others": (
        lambda: plots.neighbours(
            images(3), images(2).reshape(2, 1, 8, 8, 1), np.ones(3), np.ones(3)
        ),
        "neighbours needs",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_said(case):
    call, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        call()
