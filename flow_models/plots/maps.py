"""Where pictures are strange: each beside its map."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.images import CELL, draw_row, empty, shown
from flow_models.plots.style import new_figure, plain, styled

HEAT = "inferno"
SCALE = 0.995  # quantile of the maps that is drawn at full heat
LINE = 0.11  # of a caption, in sides of a picture
APART = 0.5  # between strange and usual pictures


@styled
def anomaly_maps(
    images: np.ndarray,
    maps: np.ndarray,
    title: str,
    captions: Sequence[str] | None = None,
    usual: int = 0,
) -> Figure:
    """Pictures uint8 [n, H, W, C] above their maps [n, H, W], on one scale; the last `usual` apart.

    Raises:
      UserError: the arrays do not match.
    """
    pictures, heats = shown(images), heat(images, maps)
    captions = captions or [""] * len(pictures)
    aspect, wide = pictures.shape[1] / pictures.shape[2], len(pictures) + APART * bool(usual)
    tall = 2.0 + LINE * (1 + max(text.count("\n") + 1 for text in captions)) / aspect
    cell = 1.7 * CELL
    figure = new_figure(max(cell * wide, 4.0) + 0.2, cell * tall * aspect + 0.45)
    axes = figure.subplots()
    for number, caption in enumerate(captions):
        left = number + APART * (number >= len(pictures) - usual)
        draw_row(axes, pictures[number : number + 1], 0, left)
        draw_row(axes, heats[number : number + 1], 1, left)
        text = plain(caption)
        axes.text(left + 0.5, 2.04, text, ha="center", va="top", fontsize=7)
    empty(axes, wide, tall, aspect)
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
    return figure


def heat(images: np.ndarray, maps: np.ndarray, top: float | None = None) -> np.ndarray:
    """Maps [n, H, W] as heat over the dimmed pictures uint8 [n, H, W, C]: uint8 [n, H, W, 3].

    Args:
      top: value at full heat; by default one that a few pixels of all maps reach.

    Raises:
      UserError: the arrays do not match.
    """
    pictures, maps = shown(images), np.asarray(maps, np.float64)
    if maps.shape != pictures.shape[:3]:
        raise UserError(f"maps of {pictures.shape[:3]} are expected; got {maps.shape}")
    top = float(np.quantile(maps, SCALE)) if top is None else top
    share = np.clip(maps / max(top, 1e-30), 0, 1)
    grey = 40 + 0.5 * pictures.mean(-1, keepdims=True)
    colours = 255 * matplotlib.colormaps[HEAT](0.25 + 0.75 * share)[..., :3]
    return np.round(grey + (colours - grey) * share[..., None] ** 0.7).astype(np.uint8)
