"""The density figure: data, samples and learned density in one, two and more dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.plots.style import (
    DATA,
    DENSITY_MAP,
    INK,
    MODEL,
    SCORE_MAP,
    TRUTH,
    colour_bar,
    column_names,
    edges,
    evaluate,
    frame,
    new_figure,
    points,
    robust_limits,
    scatter,
    shape,
    styled,
    thin,
)

GRID = 200  # cells along a side of a density panel
PAIRS = 8  # most columns in pairs
LOG_FLOOR = 12.0  # nats below the maximum at which a log-density panel ends


@styled
def density(
    data: np.ndarray,
    samples: np.ndarray,
    log_prob: Callable,
    truth_log_prob: Callable | None = None,
    columns: Sequence[str] | None = None,
) -> Figure:
    """Data [N, D] beside samples of the model [M, D] and its density, drawn as suits D.

    D = 1: histograms and the density. D = 2: data, samples, the density on a grid, and the true
    density or else the log-density of the model. D > 2: all pairs of columns and their margins,
    coloured by the log-density of the model; of more than PAIRS columns those that depend most on
    others. `log_prob` and `truth_log_prob` take float32 [B, D] and return [B] in nats.

    Raises:
      UserError: the arrays do not match.
    """
    data = points(data, "data")
    samples = points(samples, "samples", columns=data.shape[1])
    names = column_names(columns, data.shape[1])
    if data.shape[1] == 1:
        return _density_line(data, samples, log_prob, truth_log_prob, names[0])
    if data.shape[1] == 2:
        return _density_plane(data, samples, log_prob, truth_log_prob, names)
    return _density_pairs(data, samples, log_prob, names)


def _histograms(
    axes: Axes, data: np.ndarray, samples: np.ndarray, limits: np.ndarray, name: str
) -> None:
    """Histograms of one column of data and samples, as densities."""
    bins = edges(limits[0], limits[1], 71)
    axes.hist(data, bins, density=True, color=DATA, alpha=0.3, label="data")
    axes.hist(
        samples, bins, density=True, histtype="step", color=MODEL, lw=1.3, label="model samples"
    )
    axes.set(xlim=limits, xlabel=name, ylabel="density")


def _density_line(data, samples, log_prob, truth_log_prob, name) -> Figure:
    figure, limits = new_figure(7.2, 4.0), robust_limits(data)[0]
    axes, grid = figure.subplots(), np.linspace(limits[0], limits[1], 1000)[:, None]
    _histograms(axes, data[:, 0], samples[:, 0], limits, name)
    if truth_log_prob is not None:
        axes.plot(
            grid,
            np.exp(evaluate(truth_log_prob, grid)),
            color=TRUTH,
            lw=3,
            alpha=0.5,
            label="true density",
        )
    axes.plot(grid, np.exp(evaluate(log_prob, grid)), color=INK, lw=1.2, label="model density")
    axes.set_title("Data, model samples and model density")
    axes.legend()
    return figure


def _density_plane(data, samples, log_prob, truth_log_prob, names) -> Figure:
    limits = robust_limits(data)
    figure = new_figure(9.6, 1.4 + 2 * 3.7 * shape(limits))
    x, y = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in limits))
    grid = np.column_stack([x.ravel(), y.ravel()])
    model = evaluate(log_prob, grid).reshape(x.shape)
    truth = None if truth_log_prob is None else evaluate(truth_log_prob, grid).reshape(x.shape)
    axes = figure.subplots(2, 2)
    for panel, cloud, colour, title in zip(
        axes[0], (data, samples), (DATA, MODEL), ("data points", "model samples"), strict=True
    ):
        scatter(panel, cloud, colour)
        outside = np.mean(((cloud < limits[:, 0]) | (cloud > limits[:, 1])).any(axis=1))
        panel.set_title(
            f"{len(cloud):,} {title}"
            + (f", {outside:.1%} of them outside this view" if outside else "")
        )
    top = float(np.exp(model if truth is None else truth).max()) or 1.0

    def paint(
        panel: Axes, values: np.ndarray, low: float, high: float, label: str, title: str
    ) -> None:
        image = panel.pcolormesh(
            x, y, values, cmap=DENSITY_MAP, vmin=low, vmax=high, shading="nearest", rasterized=True
        )
        colour_bar(
            panel,
            image,
            label,
            extend="max" if values.max() > 1.02 * high > 0 else "min" if low else "neither",
        )
        panel.set_title(title)

    paint(axes[1, 0], np.exp(model), 0.0, top, "density, 1 / area", "Model density")
    if truth is None:
        floor = np.maximum(model, model.max() - LOG_FLOOR)
        paint(
            axes[1, 1],
            floor,
            model.max() - LOG_FLOOR,
            model.max(),
            "log-density, nats",
            "Model log-density",
        )
    else:
        paint(
            axes[1, 1], np.exp(truth), 0.0, top, "density, 1 / area", "True density, same colours"
        )
    for panel in axes.flat:
        frame(panel, limits, names)
    return figure


def _density_pairs(data, samples, log_prob, names) -> Figure:
    """Every pair of columns: data below the diagonal, samples above it, both by the log-density of
    the model; margins on it."""
    chosen = most_dependent(data)
    limits, size = robust_limits(data), len(chosen)
    side = max(1.75 * size + 1.2, 7.5)
    figure = new_figure(side + 0.8, side)
    clouds = [thin(data), thin(samples)]
    heights = [evaluate(log_prob, cloud) for cloud in clouds]
    finite = heights[0][np.isfinite(heights[0])]
    low, high = np.quantile(finite, [0.02, 0.98]) if len(finite) else (0.0, 1.0)
    axes = figure.subplots(size, size, squeeze=False)
    dots: Any = None
    for (row, i), (column, j) in product(enumerate(chosen), repeat=2):
        panel = axes[row, column]
        if i == j:
            _histograms(panel, data[:, i], samples[:, i], limits[i], names[i])
            panel.set(ylabel="", yticks=[])
        else:
            above = int(column > row)
            dots = panel.scatter(
                *clouds[above][:, [j, i]].T,
                s=3,
                c=heights[above],
                cmap=SCORE_MAP,
                vmin=low,
                vmax=high,
                linewidths=0,
                rasterized=True,
            )
            panel.set(xlim=limits[j], ylim=limits[i])
        panel.set_xlabel(names[j] if row == size - 1 else "")
        panel.set_ylabel(names[i] if column == 0 else "")
        panel.tick_params(labelbottom=row == size - 1, labelleft=column == 0 and row > 0)
        panel.locator_params(nbins=4)
    axes[0, 0].legend(fontsize=7.5)
    cut = f"; the {size} of {len(names)} columns that depend most on others" * (size < len(names))
    figure.suptitle(
        f"{len(data):,} data below the diagonal, {len(samples):,} model samples above{cut}",
        fontsize=10.5,
    )
    figure.colorbar(
        dots, ax=axes, label="model log-density, nats", shrink=0.5, aspect=40, extend="both"
    )
    return figure


def most_dependent(data: np.ndarray, most: int = PAIRS) -> list[int]:
    """At most `most` columns of data [N, D], in their order: those whose ranks the ranks of the
    others explain best, by multiple correlation."""
    if data.shape[1] <= most:
        return list(range(data.shape[1]))
    ranks = data.argsort(0).argsort(0)
    correlation = np.nan_to_num(np.corrcoef(ranks.T)) + 1e-6 * np.eye(data.shape[1])
    explained = 1 - 1 / np.diag(np.linalg.pinv(correlation))
    return sorted(int(i) for i in np.argsort(-explained, kind="stable")[:most])
