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


@styled
def anomalies(
    x: np.ndarray, score: np.ndarray, columns: Sequence[str] | None = None, top: int = 10
) -> Figure:
    """Histogram of scores [N], higher is stranger, and the first two columns of x [N, D] with the
    strangest rows numbered.

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
    figure = new_figure(11.0, 4.8)
    left, right = figure.subplots(1, 2)
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
