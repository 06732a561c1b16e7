"""Which pixels of an image speak for its class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.images import CELL, shown
from flow_models.plots.style import FAINT, new_figure, plain, styled

COLUMNS = 6
MAP = "RdBu_r"


@styled
def evidence(images: np.ndarray, weights: np.ndarray, captions: Sequence[str]) -> Figure:
    """Images uint8 [n, H, W, C], each beside its weights [n, H, W], red for and blue against, with
    a caption.

    Raises:
      UserError: the arrays do not match.
    """
    pictures, weights = shown(images), np.asarray(weights, float)
    if weights.shape != pictures.shape[:3] or len(captions) != len(pictures):
        raise UserError(
            "evidence needs pictures [n, H, W, C], weights [n, H, W] and n captions; got"
            f" {pictures.shape}, {weights.shape} and {len(captions)}"
        )
    columns = min(COLUMNS, len(pictures))
    rows, aspect = -(-len(pictures) // columns), pictures.shape[1] / pictures.shape[2]
    lines = max(caption.count("\n") for caption in captions) + 1
    height = 1.6 * CELL * aspect + 0.15 + 0.2 * max(lines, 2)
    figure = new_figure(3.4 * CELL * columns + 0.4, rows * height + 0.4)
    panels = np.atleast_2d(figure.subplots(rows, 2 * columns, squeeze=False))
    for panel in panels.ravel():
        panel.axis("off")
    for number, (picture, weight, caption) in enumerate(zip(pictures, weights, captions)):
        row, column = divmod(number, columns)
        left, right = panels[row, 2 * column : 2 * column + 2]
        left.imshow(picture, interpolation="nearest")
        left.set_title(plain(caption), fontsize=8)
        top = np.abs(weight).max() or 1.0
        right.imshow(weight, cmap=MAP, vmin=-top, vmax=top, interpolation="nearest")
        if min(picture.shape[:2]) > 1:
            right.contour(picture.mean(-1), [127.5], colors="#333333", linewidths=0.7)
        for panel in (left, right):
            panel.add_patch(_edge(picture.shape[:2]))
    figure.suptitle(
        "Pictures, and what in them speaks for the class found (red) or against it (blue)",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    return figure


def _edge(size):
    from matplotlib.patches import Rectangle

    return Rectangle((-0.5, -0.5), size[1], size[0], fill=False, edgecolor=FAINT, lw=0.6)
