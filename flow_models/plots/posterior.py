"""Figures of one posterior: pairs of parameters, profiles with bands, predicted and observed
data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flow_models.core.errors import UserError
from flow_models.plots.style import (
    DATA,
    FAINT,
    INK,
    MODEL,
    TRUTH,
    column_names,
    new_figure,
    points,
    styled,
)

PAIRS = 8  # most parameters of a corner plot
BANDS = ((0.05, 0.95), (0.25, 0.75))  # quantiles that bound the bands of profiles
PER_ROW = 2  # traces side by side


@styled
def corner(
    samples: np.ndarray,
    truth: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    columns: Sequence[int] | None = None,
) -> Figure:
    """Posterior samples [S, P] in pairs, with the truth [P] and reference samples [R, P] over them.

    Contours hold 39% and 86%, one and two standard deviations of a Gaussian in the plane. columns:
    at most 8 parameters; by default 8 evenly spaced ones.
    """
    import corner as kept

    samples = points(samples, "posterior samples")
    names, size = column_names(names, samples.shape[1]), samples.shape[1]
    spaced = np.unique(np.linspace(0, size - 1, min(PAIRS, size)).round().astype(int))
    columns = list(spaced if columns is None else columns)
    reference = (
        None
        if reference is None
        else points(reference, "reference samples", samples.shape[1])[:, columns]
    )
    truth = None if truth is None else np.asarray(truth, np.float64)[columns]
    samples, names = samples[:, columns], [names[c] for c in columns]
    figure = new_figure(max(1.7 * len(columns) + 0.9, 4.2), max(1.7 * len(columns) + 0.9, 4.2))
    figure.set_layout_engine(None)  # corner sets its own layout
    drawn = {
        "fig": figure,
        "labels": names,
        "range": _ranges(samples, reference, truth),
        "max_n_ticks": 4,
        "levels": (0.393, 0.865),
        "plot_datapoints": False,
        "plot_density": False,
        "bins": 30,
        "smooth": 1.0,
        "quiet": True,
    }
    sets, highest = [(samples, MODEL)] + ([] if reference is None else [(reference, DATA)]), []
    for rows, colour in sets:
        weights = np.full(
            len(rows), 1.0 / len(rows)
        )  # so that the margins of both are equally high
        kept.corner(
            rows,
            color=colour,
            weights=weights,
            hist_kwargs={"lw": 1.4},
            fill_contours=rows is samples,
            no_fill_contours=rows is not samples,
            **drawn,
        )
        highest.append([axes.get_ylim()[1] for axes in figure.axes[:: len(columns) + 1]])
    for axes, height in zip(figure.axes[:: len(columns) + 1], np.max(highest, 0)):
        axes.set_ylim(0.0, height)
    if truth is not None:
        kept.overplot_lines(figure, truth, color=TRUTH, lw=1.3)
    shown = [("posterior", samples, MODEL), ("reference", reference, DATA), ("truth", truth, TRUTH)]
    lines = {
        name: Line2D([], [], color=colour) for name, values, colour in shown if values is not None
    }
    figure.legend(lines.values(), lines.keys(), loc="upper right", fontsize=10)
    return figure


def _ranges(samples, reference, truth):
    """Limits of each parameter: without one in 500 samples at each end; those of both sets, and the
    truth."""
    ends = [
        np.quantile(rows, [0.002, 0.998], axis=0)
        for rows in (samples, reference)
        if rows is not None
    ]
    ends = np.concatenate([*ends, *([] if truth is None else [truth[None]])])
    low, high = ends.min(0), ends.max(0)
    margin = np.where(high > low, 0.08 * (high - low), np.maximum(0.1 * np.abs(high), 1e-3))
    return list(zip(low - margin, high + margin))


@styled
def profile_bands(
    position: np.ndarray,
    samples: np.ndarray,
    truth: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    position_label: str = "position",
    value_label: str = "value",
    upright: bool = False,
    falling: bool = False,
    drawn: int = 0,
) -> Figure:
    """Median and bands of 50% and 90% of posterior samples [S, N] along a profile, truth [N],
    reference [R, N].

    Args:
      position: [N] centres, or the [N + 1] edges of cells in which values are constant.
      upright: position is a depth and runs down the vertical axis, as for velocity.
      falling: the values are depths and grow downwards, as for a valley.
      drawn: number of samples drawn as thin lines.

    Raises:
      UserError: shapes do not match.
    """
    samples = np.asarray(samples, np.float64)
    position = np.asarray(position, np.float64)
    if samples.ndim != 2 or position.ndim != 1 or len(position) - samples.shape[1] not in (0, 1):
        raise UserError(
            "a profile needs position [N] or edges [N + 1] and samples [S, N]; "
            f"got {position.shape} and {samples.shape}"
        )
    figure = new_figure(*((4.6, 6.4) if upright else (8.2, 4.2)))
    axes = figure.subplots()
    place = _Steps(axes, position, samples.shape[1], upright)
    place.bands(samples, "posterior")
    for row in samples[:drawn]:
        place.line(row, color=MODEL, lw=0.5, alpha=0.5)
    place.line(np.median(samples, 0), color=MODEL, lw=1.6, label="median")
    if reference is not None:
        for (low, high), dash in zip(BANDS, (":", "--")):
            ends = np.quantile(np.asarray(reference, np.float64), [low, high], axis=0)
            place.line(ends[0], color=DATA, lw=1.1, ls=dash, label=f"reference {high - low:.0%}")
            place.line(ends[1], color=DATA, lw=1.1, ls=dash)
        place.line(np.median(reference, 0), color=DATA, lw=1.4, label="reference median")
    if truth is not None:
        place.line(np.asarray(truth, np.float64), color=INK, lw=1.4, label="truth")
    axes.set(
        **dict(
            zip(
                ("ylabel", "xlabel") if upright else ("xlabel", "ylabel"),
                (position_label, value_label),
            )
        )
    )
    (axes.set_ylim if upright else axes.set_xlim)(position.min(), position.max())
    if falling and samples.min() >= 0.0:
        axes.set_ylim(bottom=0.0)  # the surface
    if upright or falling:
        axes.invert_yaxis()
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


class _Steps:
    """Lines and bands of values along a position, horizontal or vertical, joined or constant in
    cells."""

    def __init__(self, axes: Axes, position: np.ndarray, size: int, upright: bool):
        self.axes, self.upright, self.cells = axes, upright, len(position) == size + 1
        self.position = np.repeat(position, 2)[1:-1] if self.cells else position

    def line(self, values, **style):
        values = np.repeat(values, 2) if self.cells else values
        self.axes.plot(
            *((values, self.position) if self.upright else (self.position, values)), **style
        )

    def band(self, low, high, **style):
        if self.cells:
            low, high = np.repeat(low, 2), np.repeat(high, 2)
        fill = self.axes.fill_betweenx if self.upright else self.axes.fill_between
        fill(self.position, low, high, lw=0, **style)

    def bands(self, samples, name):
        """Both BANDS of samples [S, N]; the inner one is darker."""
        for (low, high), shade in zip(BANDS, (0.22, 0.4)):
            ends = np.quantile(samples, [low, high], axis=0)
            self.band(*ends, color=MODEL, alpha=shade, label=f"{name} {high - low:.0%}")


@styled
def predicted_data(
    position: np.ndarray,
    observed: np.ndarray,
    predicted: np.ndarray,
    noise_sd: np.ndarray | float,
    names: Sequence[str] | None = None,
    position_label: str = "position",
    value_label: str = "data",
    truth: np.ndarray | None = None,
) -> Figure:
    """Data [N] or traces [T, N] over the bands of 50% and 90% of noise-free predictions [S, N] or
    [S, T, N].

    Below each trace are its residuals from the median prediction, in units of noise_sd; most should
    lie within +-2. truth: the noise-free data, if known.

    Raises:
      UserError: shapes do not match.
    """
    observed, predicted = (
        np.atleast_2d(np.asarray(observed, np.float64)),
        np.asarray(predicted, np.float64),
    )
    predicted = predicted[:, None] if predicted.ndim == 2 else predicted
    if (
        predicted.ndim != 3
        or predicted.shape[1:] != observed.shape
        or len(position) != observed.shape[1]
    ):
        raise UserError(
            "data [T, N] at N positions and predictions [S, T, N] are needed; got"
            f" {observed.shape}, {len(position)} positions and {predicted.shape}"
        )
    noise = np.broadcast_to(np.asarray(noise_sd, np.float64), observed.shape)
    clean = [None] * len(observed) if truth is None else np.atleast_2d(truth)
    traces, across = len(observed), min(PER_ROW, len(observed))
    labels = (
        [""]
        if traces == 1 and names is None
        else [f"{name}: " for name in column_names(names, traces)]
    )
    rows = -(-traces // across)
    figure = new_figure(5.6 * across + 1.6 * (across == 1), 3.4 * rows + 0.4)
    grid = figure.subplots(
        2 * rows, across, squeeze=False, sharex=True, height_ratios=[2.6, 1] * rows
    )
    for trace in range(rows * across):
        panels = grid[2 * (trace // across) : 2 * (trace // across) + 2, trace % across]
        if trace >= traces:
            for axes in panels:
                axes.remove()
            continue
        _trace(
            panels[0],
            panels[1],
            position,
            observed[trace],
            predicted[:, trace],
            noise[trace],
            clean[trace],
            labels[trace],
        )
        panels[0].set_ylabel(value_label)
        if trace >= traces - across:
            panels[1].set_xlabel(position_label)
            panels[1].tick_params(labelbottom=True)
    grid[0, 0].legend(loc="best")
    return figure


def _trace(upper: Axes, lower: Axes, position, observed, predicted, noise, clean, label) -> None:
    """Data [N] over predictions [S, N], and below the residuals from their median."""
    place = _Steps(upper, np.asarray(position, np.float64), len(position), False)
    place.bands(predicted, "predicted")
    if clean is not None:
        place.line(clean, color=TRUTH, lw=1.0, label="without noise")
    upper.errorbar(position, observed, noise, fmt=".", color=DATA, ms=4, lw=0.7, label="observed")
    off = (observed - np.median(predicted, 0)) / noise
    lower.axhspan(-2, 2, color=FAINT, alpha=0.25, lw=0)
    lower.axhline(0.0, color=MODEL, lw=1.0)
    lower.plot(position, off, ".", color=DATA, ms=4)
    reach = max(3.3, 1.1 * float(np.abs(off).max()))
    lower.set(ylim=(-reach, reach), ylabel="residual / sd")
    upper.set_title(f"{label}rms residual {np.sqrt(np.square(off).mean()):.2f} sd")
