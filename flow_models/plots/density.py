"""The density figure: data, samples and learned density in one, two, three and more dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

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
    density or else the log-density of the model. D > 2: pairs and margins of the first three
    columns, and both clouds in space, coloured by the log-density of the model. `log_prob` and
    `truth_log_prob` take float32 [B, D] and return [B] in nats.

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
    return _density_space(data, samples, log_prob, names)


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


def _density_space(data, samples, log_prob, names) -> Figure:
    limits, figure = robust_limits(data), new_figure(14.0, 7.0)
    grid = figure.add_gridspec(2, 4, width_ratios=[1, 1, 1, 1.35])
    for column, (i, j) in enumerate(combinations(range(3), 2)):
        axes = figure.add_subplot(grid[0, column])
        scatter(axes, data[:, [i, j]], DATA)
        scatter(axes, samples[:, [i, j]], MODEL, size=2.0)
        axes.set(xlim=limits[i], ylim=limits[j], xlabel=names[i], ylabel=names[j])
        margin = figure.add_subplot(grid[1, column])
        _histograms(margin, data[:, column], samples[:, column], limits[column], names[column])
        if column == 0:
            axes.set_title(f"{len(samples):,} model samples over {len(data):,} data")
            margin.set(title="Margins", ylim=(0.0, 1.3 * margin.get_ylim()[1]))
            margin.legend()
    clouds = [thin(data), thin(samples)]
    heights = [evaluate(log_prob, cloud) for cloud in clouds]
    finite = heights[0][np.isfinite(heights[0])]
    low, high = np.quantile(finite, [0.02, 0.98]) if len(finite) else (0.0, 1.0)
    for row, (title, cloud, height) in enumerate(
        zip(("Data", "Model samples"), clouds, heights, strict=True)
    ):
        axes = figure.add_subplot(grid[row, 3], projection="3d")
        inside = ((cloud[:, :3] > limits[:3, 0]) & (cloud[:, :3] < limits[:3, 1])).all(axis=1)
        dots = axes.scatter(
            *cloud[inside, :3].T, s=2, c=height[inside], cmap=SCORE_MAP, vmin=low, vmax=high
        )
        axes.set(
            xlabel=names[0],
            ylabel=names[1],
            zlabel=names[2],
            xlim=limits[0],
            ylim=limits[1],
            zlim=limits[2],
        )
        axes.set_title(
            title + " in space" + ("" if len(names) == 3 else f", 3 of {len(names)} columns")
        )
        figure.colorbar(
            dots, ax=axes, label="model log-density, nats", shrink=0.75, pad=0.15, extend="both"
        )
    return figure
