"""Figures of images: rows of them, and samples beside the training images nearest to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import DATA, FAINT, INK, MODEL, edges, new_figure, plain, styled

CELL = 0.62  # inches per image
GAP = 0.08  # between images, in sides of an image


@styled
def image_rows(
    rows: Mapping[str, np.ndarray], title: str, notes: Sequence[str] | None = None
) -> Figure:
    """One row of images per name: data and samples, samples by temperature, reconstructions.

    rows: {name: uint8 [n, H, W, C]}; C is 1, 3, or another number, whose mean is shown. Rows may
    differ in length. notes: a line above each column.

    Raises:
      UserError: no row, or images of different sizes.
    """
    pictures = {name: shown(images) for name, images in rows.items()}
    if not pictures or len({each.shape[1:] for each in pictures.values()}) > 1:
        raise UserError(
            "image_rows needs pictures of one size; got"
            f" { {n: p.shape[1:] for n, p in pictures.items()} }"
        )
    wide = max(len(each) for each in pictures.values())
    height, width = next(iter(pictures.values())).shape[1:3]
    label = 0.09 * max(map(len, pictures)) + 0.35
    figure = new_figure(
        max(label + CELL * wide, 4.0) + 0.15,
        CELL * len(pictures) * height / width + 0.45 + 0.2 * bool(notes),
    )
    axes = figure.subplots()
    for number, (name, images) in enumerate(pictures.items()):
        draw_row(axes, images, number)
        axes.text(-0.15, number + 0.5, name, ha="right", va="center", fontsize=9)
    for column, note in enumerate(notes or ()):
        axes.text(column + 0.5, -0.1, note, ha="center", va="bottom", fontsize=8, color=INK)
    empty(axes, wide, len(pictures), height / width)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


@styled
def image_grid(
    images: np.ndarray, title: str, columns: int = 10, captions: Sequence[str] | None = None
) -> Figure:
    """Images uint8 [n, H, W, C] in reading order, with captions below if given.

    Raises:
      UserError: not images, or not one caption for each.
    """
    pictures = shown(images)
    if captions is not None and len(captions) != len(pictures):
        raise UserError(f"{len(captions)} captions for {len(pictures)} pictures")
    columns, lines = (
        min(columns, len(pictures)),
        max([caption.count("\n") + 1 for caption in captions or ()], default=0),
    )
    rows, below = -(-len(pictures) // columns), 0.24 * lines
    aspect = pictures.shape[1] / pictures.shape[2]
    cell = CELL if lines == 0 else 1.5 * CELL
    figure = new_figure(max(cell * columns, 4.0) + 0.2, cell * rows * (aspect + below) + 0.45)
    axes = figure.subplots()
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        draw_row(axes, picture[None], row * (1 + below / aspect), column)
        if captions:
            axes.text(
                column + 0.5,
                row * (1 + below / aspect) + 1.02,
                plain(captions[number]),
                ha="center",
                va="top",
                fontsize=7,
            )
    empty(axes, columns, rows * (1 + below / aspect), aspect)
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return figure


@styled
def neighbours(
    samples: np.ndarray,
    nearest: np.ndarray,
    distances: np.ndarray,
    held_out: np.ndarray,
    what: str = "rms distance",
) -> Figure:
    """Samples of the model, above the training images nearest to each, and whether they are too
    near.

    samples [n, H, W, C]; nearest [n, k, H, W, C], nearest first; distances [m] of many samples to
    their nearest training image, named by `what`; held_out [l], the same of images not trained on.
    Samples of a model that has memorised its images are nearer to them than held-out images are.

    Raises:
      UserError: the arrays do not match.
    """
    samples, nearest = shown(samples), np.asarray(nearest)
    if (
        nearest.ndim != 5
        or nearest.shape[0] != len(samples)
        or nearest.shape[2:4] != samples.shape[1:3]
    ):
        raise UserError(
            "neighbours needs samples [n, H, W, C] and nearest [n, k, H, W, C]; got"
            f" {samples.shape} and {nearest.shape}"
        )
    count, near = nearest.shape[:2]
    aspect = samples.shape[1] / samples.shape[2]
    tall = CELL * aspect * (near + 1) + 0.5
    figure = new_figure(CELL * count + 5.2, max(tall, 3.0))
    left, right = figure.subplots(1, 2, width_ratios=[CELL * count + 1.0, 4.0])
    draw_row(left, samples, 0)
    for k in range(near):
        draw_row(left, shown(nearest[:, k]), k + 1.15)
    for height, text, colour in (
        (0.5, "sample", MODEL),
        (1.65, "nearest", DATA),
        *((k + 1.65, f"{k + 1}.", DATA) for k in range(1, near)),
    ):
        left.text(-0.15, height, text, ha="right", va="center", color=colour, fontsize=9)
    empty(left, count, near + 1.15, aspect)
    left.set_title("Samples and the training pictures nearest to them")
    _distances(right, np.asarray(distances, float), np.asarray(held_out, float), what)
    return figure


def _distances(axes: Axes, samples: np.ndarray, held_out: np.ndarray, what: str) -> None:
    bins = edges(0.0, 1.02 * max(samples.max(), held_out.max()) or 1.0, 41)
    there = f"held-out pictures, median {np.median(held_out):.3g}"
    axes.hist(held_out, bins, density=True, label=there, color=DATA, alpha=0.35)
    ours = f"samples, median {np.median(samples):.3g}"
    axes.hist(samples, bins, density=True, label=ours, color=MODEL, histtype="step", lw=1.5)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.set(xlabel=f"{what} to the nearest training picture", ylabel="density")
    axes.set_title(
        f"{np.mean(samples < held_out.min()):.0%} of samples nearer than any held-out picture"
    )
    axes.legend()


def shown(images: np.ndarray) -> np.ndarray:
    """Images as matplotlib draws them, uint8 [n, H, W, 3].

    Raises:
      UserError: not uint8 [n, H, W, C] with at least one image.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise UserError(
            f"pictures must be uint8 [n, H, W, C] with n at least 1; got {images.dtype}"
            f" {list(images.shape)}"
        )
    if images.shape[-1] != 3:
        images = images.mean(-1, keepdims=True).round().astype(np.uint8).repeat(3, -1)
    return images


def draw_row(
    axes: Axes, pictures: np.ndarray, top: float, left: float = 0.0, colour: str = FAINT
) -> None:
    """Images [n, H, W, 3] side by side, each in a unit square minus the gap; the first at (left,
    top)."""
    for column, picture in enumerate(pictures):
        x, y = left + column, top
        edges = (x + GAP / 2, x + 1 - GAP / 2, y + 1 - GAP / 2, y + GAP / 2)
        axes.imshow(
            picture,
            extent=edges,
            aspect="auto",
            interpolation="nearest" if picture.shape[0] < 65 else "antialiased",
        )
        axes.plot(
            np.array(edges)[[0, 1, 1, 0, 0]], np.array(edges)[[2, 2, 3, 3, 2]], color=colour, lw=0.6
        )


def empty(axes: Axes, columns: float, rows: float, aspect: float) -> None:
    """No frame, y downwards, and images in their aspect ratio."""
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect=aspect)
    axes.axis("off")
