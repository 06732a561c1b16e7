"""Draws of several samplers beside the density that they are of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import (
    DATA,
    DENSITY_MAP,
    INK,
    MARK,
    MODEL,
    TRUTH,
    column_names,
    edges,
    evaluate,
    frame,
    new_figure,
    points,
    robust_limits,
    scatter,
    styled,
)

COLOURS = (MODEL, DATA, MARK, TRUTH, INK)
GRID, ACROSS, MOST = 200, 4, 12  # cells along a side; panels in a row; columns that are drawn


@styled
def beside(
    draws: Mapping[str, np.ndarray], log_density: Callable, columns: Sequence[str] | None = None
) -> Figure:
    """In the plane, the density on a grid and a panel for the draws of each sampler; else the
    margins, one panel a column, of at most MOST columns.

    Args:
      draws: title -> draws [n, D]; the first ones set the limits.
      log_density: log p(x), up to a constant; float32 [B, D] -> [B].

    Raises:
      UserError: there are no draws, or of different widths.
    """
    if not draws:
        raise UserError("draws of at least one sampler are needed")
    size = next(iter(draws.values())).shape[1]
    clouds = {title: points(x, title, columns=size) for title, x in draws.items()}
    names = column_names(columns, size)
    return _plane(clouds, log_density, names) if size == 2 else _margins(clouds, names)


def _plane(clouds, log_density, names) -> Figure:
    limits = robust_limits(next(iter(clouds.values())))
    figure = new_figure(3.3 * (len(clouds) + 1), 3.4)
    panels = figure.subplots(1, len(clouds) + 1)
    x, y = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in limits))
    logs = evaluate(log_density, np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    density = np.exp(logs - logs.max())
    panels[0].pcolormesh(x, y, density, cmap=DENSITY_MAP, shading="nearest", rasterized=True)
    panels[0].set_title("density")
    for panel, (title, cloud), colour in zip(panels[1:], clouds.items(), COLOURS, strict=False):
        scatter(panel, cloud, colour)
        panel.set_title(title)
    for panel in panels:
        frame(panel, limits, names)
    return figure


def _margins(clouds, names) -> Figure:
    first = next(iter(clouds.values()))
    shown = range(min(len(names), MOST))
    rows = math.ceil(len(shown) / ACROSS)
    figure = new_figure(2.9 * ACROSS, 2.3 * rows)
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for panel, i in zip(panels, shown):
        low, high = robust_limits(first[:, [i]])[0]
        bins = edges(low, high, 61)
        for (title, cloud), colour in zip(clouds.items(), COLOURS, strict=False):
            panel.hist(
                cloud[:, i], bins, density=True, histtype="step", color=colour, lw=1.2, label=title
            )
        panel.set(xlim=(low, high), yticks=[])
        panel.set_title(names[i])
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    panels[0].legend(fontsize=7)
    return figure
