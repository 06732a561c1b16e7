"""Can posteriors be trusted? Figures of ranks, coverage and contraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.diagnostics import uniformity
from flow_models.diagnostics.calibration import Coverage, Tarp, p_text, sbc_test
from flow_models.plots.style import (
    DATA,
    FAINT,
    INK,
    MARK,
    MODEL,
    TRUTH,
    column_names,
    new_figure,
    styled,
)

PANELS = 40  # at most; of more parameters the worst are drawn


@styled
def rank_histograms(
    ranks: np.ndarray, n_samples: int, names: Sequence[str] | None = None
) -> Figure:
    """Histogram of ranks [B, P] among n_samples for each parameter; all bars of a panel are in the
    band with 95%.

    A hollow means too narrow, a hill too wide, a slope biased. With more than 40 parameters the
    worst are drawn.
    """
    from scipy import stats

    edges = uniformity.bin_edges(len(ranks), n_samples)
    shares = np.diff(edges) / (n_samples + 1)
    tail = 0.025 / len(shares)
    band = stats.binom.ppf([[tail], [0.5], [1.0 - tail]], len(ranks), shares) / (
        len(ranks) * shares
    )
    steps = edges / (n_samples + 1)

    def panel(axes: Axes, column: np.ndarray) -> None:
        heights = np.histogram(column, edges - 0.5)[0] / (len(ranks) * shares)
        axes.stairs(band[2], steps, baseline=band[0], fill=True, color=FAINT, alpha=0.35, lw=0)
        axes.axhline(1.0, color=TRUTH, lw=1.0)
        axes.stairs(heights, steps, baseline=None, color=DATA, lw=1.3)
        outside = (heights < band[0]) | (heights > band[2])
        axes.plot(0.5 * (steps[1:] + steps[:-1])[outside], heights[outside], "o", color=MODEL, ms=3)
        axes.set(xlim=(0, 1), ylim=(0, max(2.0, 1.05 * heights.max(), 1.05 * band[2].max())))

    return _grid(
        ranks,
        n_samples,
        names,
        panel,
        "rank / samples",
        "density of ranks",
        "Ranks of the truth among posterior samples; band: a right posterior, 95%, all bars",
    )


@styled
def rank_differences(
    ranks: np.ndarray, n_samples: int, names: Sequence[str] | None = None
) -> Figure:
    """Distribution function of ranks [B, P] minus the uniform one; all of it is in the band with
    95%.

    A hill means that truths rank too low: the posterior sits too high. Hill then hollow: too
    narrow; hollow then hill: too wide. See `uniformity.ecdf_p_value`.
    """
    z, low, high = uniformity.simultaneous_bands(len(ranks), n_samples)
    z, low, high = (np.concatenate([[0.0], v, [1.0]]) for v in (z, low, high))

    def panel(axes: Axes, column: np.ndarray) -> None:
        found = np.concatenate([[0.0], uniformity.ecdf(column, n_samples)[1], [1.0]])
        outside = (found < low) | (found > high)
        axes.fill_between(z, low - z, high - z, color=FAINT, alpha=0.35, lw=0)
        axes.axhline(0.0, color=TRUTH, lw=1.0)
        axes.plot(z, found - z, color=DATA, lw=1.2)
        axes.plot(z[outside], (found - z)[outside], ".", color=MODEL, ms=3)
        reach = 1.15 * max(np.abs(found - z).max(), 1.4 * (high - z).max())
        axes.set(xlim=(0, 1), ylim=(-reach, reach))

    return _grid(
        ranks,
        n_samples,
        names,
        panel,
        "rank / samples",
        "ECDF difference",
        "Distribution function of ranks minus uniform; band: a right posterior, 95%, whole curve",
    )


def _grid(ranks, n_samples, names, panel, across, up, title) -> Figure:
    """A panel for each column of ranks [B, P], with its p-value above."""
    tested = sbc_test(ranks, n_samples)
    ranks, names = np.asarray(ranks), column_names(names, np.shape(ranks)[1])
    shown = np.sort(np.argsort(tested.ecdf_p_values, kind="stable")[:PANELS])
    columns = int(min(len(shown), 5 if len(shown) <= 20 else 8))
    rows = -(-len(shown) // columns)
    figure = new_figure(max(2.0 * columns, 5.0), 1.75 * rows + 0.9)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", wrap=True)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in grid.ravel()[len(shown) :]:
        axes.remove()
    for axes, number in zip(grid.ravel(), shown):
        panel(axes, ranks[:, number])
        p = tested.ecdf_p_values[number]
        axes.set_title(
            f"{names[number]}, {p_text(p)}", fontsize=8.5, pad=3, color=MODEL if p < 0.01 else INK
        )
        axes.tick_params(labelsize=7.5, labelbottom=number in shown[max(0, len(shown) - columns) :])
    figure.supxlabel(across, fontsize=9.5)
    figure.supylabel(up, fontsize=9.5)
    return figure


@styled
def coverage_curve(
    central: Coverage,
    tarp: Tarp | None = None,
    density: Coverage | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """Fraction of truths in a region over the fraction that it claims: below the diagonal too
    narrow, above too wide.

    Left: central intervals, single parameters thin, their mean thick with two standard errors.
    Right: TARP with its bootstrap band, and regions of highest density. A smooth curve needs many
    levels: `coverage(..., levels=np.linspace(0.02, 0.98, 49))`.
    """
    right = tarp is not None or density is not None
    figure = new_figure(9.6 if right else 5.0, 4.9)
    panels = figure.subplots(1, 2 if right else 1, squeeze=False)[0]
    many = central.parameters.shape[1] > 6
    labels = column_names(names, central.parameters.shape[1])
    for column, label in zip(central.parameters.T, labels):
        style = {"color": FAINT} if many else {"label": label}
        panels[0].plot(central.levels, column, lw=0.8, alpha=0.7, **style)
    _covered(panels[0], central, DATA, "mean of parameters")
    panels[0].set_title("Central intervals")
    if right:
        if tarp is not None:
            panels[1].fill_between(tarp.levels, tarp.low, tarp.high, color=MODEL, alpha=0.2, lw=0)
            panels[1].plot(
                tarp.levels, tarp.coverage, color=MODEL, label=f"TARP, {p_text(tarp.p_value)}"
            )
        if density is not None:
            _covered(panels[1], density, MARK, "highest density")
        panels[1].set_title("All parameters together")
    for axes in panels:
        axes.plot([0, 1], [0, 1], "--", color=TRUTH, lw=1.2, label="right posterior")
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1),
            box_aspect=1,
            xlabel="claimed share",
            ylabel="share of truths inside",
        )
        axes.legend(loc="upper left")
        axes.grid(True)
    return figure


def _covered(axes, found, colour, label):
    low, high = found.mean - 2 * found.error, found.mean + 2 * found.error
    axes.fill_between(found.levels, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(found.levels, found.mean, color=colour, lw=2.0, label=label)


@styled
def contraction(
    contractions: np.ndarray, z: np.ndarray, names: Sequence[str] | None = None
) -> Figure:
    """z-scores over contraction [B, P], from `diagnostics.posterior.contraction_and_z`.

    On the right the data taught much. Points far up or down are off; most should lie within +-2.
    Colours distinguish parameters if there are few.

    Raises:
      UserError: the two are not [B, P].
    """
    contractions, z = np.asarray(contractions, np.float64), np.asarray(z, np.float64)
    if contractions.ndim != 2 or contractions.shape != z.shape:
        raise UserError(
            f"contraction and z-scores [B, P] are needed, got {contractions.shape} and {z.shape}"
        )
    labels, few = column_names(names, z.shape[1]), z.shape[1] <= 6
    figure = new_figure(6.6, 4.6)
    axes = figure.subplots()
    axes.axhspan(-2, 2, color=FAINT, alpha=0.2, lw=0)
    alpha = float(np.clip(30.0 / np.sqrt(z.size), 0.15, 0.8))
    for x, y, label in zip(contractions.T, z.T, labels):
        colour = None if few else DATA  # None: the next one of the cycle
        axes.plot(x, np.clip(y, -6, 6), ".", ms=4, alpha=alpha, mew=0, color=colour, label=label)
    axes.axhline(0.0, color=TRUTH, lw=1.0)
    left = float(np.clip(np.quantile(contractions, 0.005), -1.0, 0.0))
    axes.set(
        xlim=(left, 1.02),
        ylim=(-6.3, 6.3),
        xlabel="contraction, 1 - posterior / prior variance",
        ylabel="z, (posterior mean - truth) / posterior sd",
    )
    beyond = np.mean(np.abs(z) > 2)
    axes.set_title(
        f"z: mean {np.nanmean(z):+.2f}, sd {np.nanstd(z):.2f}, {beyond:.1%} beyond 2 (4.6% if"
        " Gaussian)"
    )
    if few:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=2)
        for handle in filter(None, legend.legend_handles):
            handle.set_alpha(1.0)
    return figure
