"""Figures of latents: are they N(0, I), and where does the model map them?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import (
    ANGLE_MAP,
    DATA,
    FAINT,
    INK,
    MODEL,
    column_names,
    frame,
    new_figure,
    points,
    robust_limits,
    scatter,
    styled,
)

MASSES = (0.5, 0.9, 0.99)  # probability inside the circles drawn in latent space
QQ_SHOWN = 6  # dimensions with a QQ plot of their own


@styled
def latents(z: np.ndarray) -> Figure:
    """Latents z [N, D] against N(0, I): the first two columns, |z|^2 against chi^2_D, QQ plots of
    up to six columns.

    The strip below a QQ plot shows its departure from the line; its band holds each quantile of a
    right model with 95%.

    Raises:
      UserError: z is not [N, D].
    """
    from scipy import stats

    z = points(z, "latents")
    size, dimensions = z.shape
    shown = min(dimensions, QQ_SHOWN)
    figure = new_figure(max(2.6 * shown, 9.0), 8.6)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.1, 1])[:, 0]
    left, right = top.subplots(1, 2)
    if dimensions > 1:
        _latent_cloud(left, z[:, :2])
    else:
        _against_law(left, z[:, 0], stats.norm, "$z_1$", "normal density")
        left.set_title("Latents and the standard normal")
    radius = np.square(z).sum(axis=1)
    _against_law(
        right,
        radius,
        stats.chi2(dimensions),
        "$|z|^2$",
        rf"$\chi^2$ density for {dimensions} dimension" + "s" * (dimensions > 1),
    )
    right.set_title(f"$|z|^2$: mean {radius.mean():.3f}, expected {dimensions}")
    ranks = np.unique(np.linspace(1, size, min(size, 600)).round().astype(int))
    band = stats.norm.ppf(stats.beta.ppf([[0.025], [0.5], [0.975]], ranks, size - ranks + 1))
    panels = bottom.subplots(2, shown, squeeze=False, sharex=True, height_ratios=[2.4, 1])
    for d in range(shown):
        _quantiles(panels[:, d], np.sort(z[:, d])[ranks - 1], band, rf"$z_{{{d + 1}}}$", z[:, d])
    return figure


def _latent_cloud(axes: Axes, z: np.ndarray) -> None:
    """z [N, 2] with circles that hold MASSES of a standard normal: radius sqrt(-2 log(1 -
    mass))."""
    scatter(axes, z, DATA)
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    for mass, dash in zip(MASSES, ("-", "--", ":"), strict=True):
        radius = np.sqrt(-2.0 * np.log1p(-mass))
        found = np.mean(np.square(z).sum(axis=1) < radius**2)
        axes.plot(
            radius * np.cos(angle),
            radius * np.sin(angle),
            dash,
            color=INK,
            lw=1.2,
            label=f"{mass:.0%}: {found:.1%} inside",
        )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="circle for", alignment="left")
    end = max(4.0, float(np.quantile(np.abs(z), 0.999)) * 1.1)
    frame(axes, np.array([[-end, end]] * 2), ("$z_1$", "$z_2$"))
    axes.set_title(f"{len(z):,} latents, first two dimensions")


def _against_law(axes: Axes, values: np.ndarray, law, name: str, law_name: str) -> None:
    """Histogram of values [N] and the density of a scipy distribution, over its quantiles 1e-4 to
    0.9999 or more."""
    low, high = (
        float(f(law.ppf(p), np.quantile(values, q)))
        for f, p, q in ((min, 1e-4, 0.002), (max, 0.9999, 0.998))
    )
    grid = np.linspace(low, high, 400)
    height = np.histogram(values, 60, (low, high))[0].max() / len(values) / (high - low) * 60
    axes.hist(values, 60, range=(low, high), density=True, color=DATA, alpha=0.35, label="latents")
    axes.plot(grid, law.pdf(grid), color=MODEL, label=law_name)
    axes.set(
        xlabel=name,
        ylabel="density",
        xlim=(low, high),
        ylim=(0.0, 1.25 * max(height, float(law.pdf(grid[20:]).max()))),
    )
    axes.legend()


def _quantiles(
    panels: Sequence[Axes], found: np.ndarray, band: np.ndarray, name: str, column: np.ndarray
) -> None:
    """Ordered latents over their expected quantiles, and below the difference with its 95% band."""
    low, middle, high = band
    upper, lower = panels
    upper.plot(middle, middle, color=MODEL, lw=1.0)
    upper.plot(middle, found, ".", color=DATA, ms=3)
    lower.fill_between(middle, low - middle, high - middle, color=FAINT, alpha=0.3, lw=0)
    lower.axhline(0.0, color=MODEL, lw=1.0)
    lower.plot(middle, found - middle, color=DATA, lw=1.2)
    reach = 1.15 * float(
        max(
            np.abs(found - middle)[3:-3].max(initial=0.0),
            np.abs(band - middle)[:, 3:-3].max(initial=0.01),
        )
    )
    outside = np.mean((found < low) | (found > high))
    upper.set(
        title=f"{name}: mean {column.mean():+.3f}, sd {column.std():.3f}", ylabel="latent quantile"
    )
    lower.set(ylim=(-reach, reach), xlabel="standard normal quantile", ylabel="difference")
    lower.set_title(f"{outside:.0%} outside the 95% band", fontsize=8.5, pad=3)


@styled
def mapping(decode: Callable, event_size: int, columns: Sequence[str] | None = None) -> Figure:
    """How x = decode(z) maps a square grid and the circles of 50, 90 and 99% mass; event_size 2
    only.

    Colours follow the angle in latent space. The grid lines of a diffeomorphism never cross.

    Raises:
      UserError: the model is not two-dimensional, or `columns` are not two names.
    """
    if event_size != 2:
        raise UserError(f"mapping draws models of 2 dimensions only; this one has {event_size}.")
    ticks, fine = np.linspace(-3.0, 3.0, 25), np.linspace(-3.0, 3.0, 400)
    grid = [
        np.column_stack(pair)
        for t in ticks
        for pair in ((np.full(400, t), fine), (fine, np.full(400, t)))
    ]
    angle = np.linspace(0.0, 2.0 * np.pi, 400)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    lines = np.stack(grid + [np.sqrt(-2.0 * np.log1p(-mass)) * circle for mass in MASSES])
    carried = np.asarray(decode(lines.reshape(-1, 2).astype(np.float32)), np.float64).reshape(
        lines.shape
    )
    figure = new_figure(10.8, 5.6)
    sides = zip(
        figure.subplots(1, 2),
        (lines, carried),
        (("$z_1$", "$z_2$"), column_names(columns, 2)),
        strict=True,
    )
    for axes, curves, names in sides:
        colour = np.arctan2(lines[..., 1], lines[..., 0])
        for index, curve in enumerate(curves):
            width, alpha = (0.7, 0.5) if index < len(grid) else (2.2, 1.0)
            pieces = LineCollection(
                [*np.stack([curve[:-1], curve[1:]], axis=1)],
                array=colour[index, :-1],
                cmap=ANGLE_MAP,
                lw=width,
                alpha=alpha,
            )
            pieces.set_clim(-np.pi, np.pi)
            axes.add_collection(pieces)
        outer = curves[-1][np.isfinite(curves[-1]).all(axis=1)]
        frame(axes, robust_limits(outer if len(outer) else lines[-1], 0.08, 0.0), names)
        axes.set_title(
            "Latent space: circles that hold 50, 90, 99%"
            if names[0] == "$z_1$"
            else "Data space: the same lines, decoded"
        )
    return figure
