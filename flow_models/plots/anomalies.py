"""Anomaly scores and the rows that they single out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import (
    DATA,
    MODEL,
    SCORE_MAP,
    colour_bar,
    column_names,
    new_figure,
    styled,
)

COLUMNS = 30  # most strips of columns
STRIP = 2000  # rows of a strip
LIMIT = 30.0  # robust standard deviations at which a strip is cut


@styled
def anomalies(
    x: np.ndarray, score: np.ndarray, columns: Sequence[str] | None = None, top: int = 10
) -> Figure:
    """Histogram of scores [N], higher is stranger, and x [N, D] with the strangest rows numbered:
    the plane of two columns, or a strip for each of more.

    Raises:
      UserError: the number of scores is not the number of rows of x.
    """
    x, score = np.asarray(x, np.float64), np.asarray(score, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or score.shape != x.shape[:1] or not np.isfinite(score).any():
        raise UserError(
            f"anomalies needs data [N, D] and a score [N]; got {x.shape} and {score.shape}."
        )
    names = column_names(columns, x.shape[1])
    worst = np.argsort(-np.nan_to_num(score, nan=np.inf), kind="stable")[:top]
    wide = min(x.shape[1], COLUMNS) > 8
    figure = new_figure(14.0 if wide else 11.0, 4.8)
    left, right = figure.subplots(1, 2, width_ratios=[1, 2.2 if wide else 1])
    low, high = np.quantile(score[np.isfinite(score)], [0.01, 0.99])
    edge = min(score[np.isfinite(score)].max(), high + 2.0 * (high - low))
    left.hist(score[score <= edge], 60, color=DATA, alpha=0.4)
    near, far = score[worst][score[worst] <= edge], int(np.sum(~(score <= edge)))
    left.plot(near, np.full(len(near), 0.75), "|", color=MODEL, ms=10, mew=1.4)
    if far:
        left.text(
            1.0, 0.95, f"{far} beyond this scale", transform=left.transAxes, ha="right", color=MODEL
        )
    left.set(yscale="log", ylim=(0.5, None), xlabel="anomaly score", ylabel="points per bin")
    left.set_title(f"Scores of {len(x):,} points, the {len(worst)} highest marked")
    if x.shape[1] > 2:
        _strips(right, x, worst, names)
        return figure
    if x.shape[1] == 1:
        plane, names = np.column_stack([x[:, 0], score]), [names[0], "anomaly score"]
    else:
        plane = x[:, :2]
    dots = right.scatter(
        *plane.T, s=6, c=score, cmap=SCORE_MAP, vmin=low, vmax=high, linewidths=0, rasterized=True
    )
    right.plot(*plane[worst].T, "o", mfc="none", mec=MODEL, ms=8, mew=1.3)
    for rank, (across, up) in enumerate(plane[worst], start=1):
        right.annotate(
            str(rank),
            (across, up),
            (5, 5),
            textcoords="offset points",
            color=MODEL,
            fontsize=8.5,
            weight="bold",
        )
    right.set(xlabel=names[0], ylabel=names[1], title="Data by score, strangest numbered from 1")
    right.margins(0.08)
    colour_bar(right, dots, "anomaly score", extend="both")
    return figure


def _strips(axes, x: np.ndarray, worst: np.ndarray, names) -> None:
    """A strip a column, in robust standard deviations from its median, the rows `worst`
    numbered; of many columns those where these rows lie farthest out."""
    middle = np.nanmedian(x, 0)
    low, high = np.nanquantile(x, [0.159, 0.841], axis=0)
    width = np.where(high > low, (high - low) / 2, np.maximum(np.nanstd(x, 0), 1e-30))
    scaled = np.clip((x - middle) / width, -LIMIT, LIMIT)
    chosen = np.sort(np.argsort(-np.abs(scaled[worst]).mean(0), kind="stable")[:COLUMNS])
    some = scaled[:: max(1, -(-len(x) // STRIP))]
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(some))
    for place, j in enumerate(chosen):
        axes.scatter(
            place + jitter, some[:, j], s=2, color=DATA, alpha=0.25, linewidths=0, rasterized=True
        )
        for rank, value in enumerate(scaled[worst, j], start=1):
            across = place - 0.35 + 0.7 * (rank - 0.5) / len(worst)
            axes.text(
                across,
                value,
                str(rank),
                color=MODEL,
                fontsize=7,
                weight="bold",
                ha="center",
                va="center",
            )
    axes.axhline(0.0, color="#BBBBBB", lw=0.7, zorder=0)
    labels = [names[j] if len(names[j]) <= 22 else f"{names[j][:21]}…" for j in chosen]
    axes.set_xticks(
        range(len(chosen)),
        labels,
        rotation=40 if len(chosen) > 4 else 0,
        ha="right" if len(chosen) > 4 else "center",
    )
    edge = 1.15 * float(np.abs(scaled[worst][:, chosen]).max())
    axes.set_ylim(-max(edge, 3.5), max(edge, 3.5))
    cut = f", {len(chosen)} of {len(names)} columns" if len(chosen) < len(names) else ""
    axes.set(
        ylabel="standard deviations from the median", title=f"Strangest rows numbered from 1{cut}"
    )
