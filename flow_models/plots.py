"""One function a figure. Each returns a matplotlib `Figure` and neither shows nor saves it: `figure.savefig(path)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .errors import UserError
from .plot_density import density
from .plot_latents import latents, mapping
from .plot_style import DATA, FAINT, MODEL, SCORE_MAP, TRUTH, colour_bar, column_names, new_figure, styled

__all__ = ["anomalies", "density", "latents", "mapping", "training_curves"]

PARTS = {"latent": "Latent part", "log_det": "Log-determinant", "objective": "Objective = latent - log-determinant"}


@styled
def training_curves(history: Mapping[str, Sequence[float]], perfect: Mapping[str, float] | None = None) -> Figure:
    """The three parts of the objective, training and validation, and the learning rate, over the steps.

    history: columns of history.csv as a dict of lists or a DataFrame: step, learning_rate, and train_ and val_ of
    objective, latent and log_det, nats per event. perfect: what the true density reaches: objective its entropy,
    latent D/2 (1 + log 2 pi), log_det = latent - objective. A panel shows the range of the second half of the training
    and thrice that range around it.

    Raises:
        UserError: history has no column step or no row.
    """
    if "step" not in history or len(history["step"]) == 0:
        raise UserError(
            "training_curves needs a history with a column step and at least one row (history.csv of the run)."
        )
    table = {name: np.asarray(history[name], np.float64) for name in history}
    figure = new_figure(10.4, 6.8)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for axes, (part, title) in zip(panels, PARTS.items(), strict=False):
        _curve(axes, table, part, title, None if perfect is None else perfect.get(part))
    rate = table.get("learning_rate", np.full(len(table["step"]), np.nan))
    panels[3].plot(table["step"], rate, color=FAINT, marker="o" if len(rate) < 3 else None)
    panels[3].set(title="Learning rate", ylabel="learning rate")
    if np.any(rate > 0):
        panels[3].set(yscale="log", ylim=(max(np.nanmin(rate), np.nanmax(rate) / 1000.0) / 1.5, 1.5 * np.nanmax(rate)))
    for axes in panels:
        axes.grid(True)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[2].set_xlabel("step")
    panels[3].set_xlabel("step")
    return figure


def _curve(axes: Axes, table: Mapping[str, np.ndarray], part: str, title: str, goal: float | None) -> None:
    """Both curves of one part, the line of a perfect fit, and limits that the first spike cannot stretch."""
    curves = {kind: table[f"{kind}_{part}"] for kind in ("train", "val") if f"{kind}_{part}" in table}
    for (kind, values), colour in zip(curves.items(), (DATA, MODEL), strict=False):
        axes.plot(
            table["step"],
            values,
            color=colour,
            marker="o" if len(values) < 3 else None,
            label={"val": "validation"}.get(kind, "training"),
        )
    kept = np.array([values for values in curves.values()]).reshape(len(curves), -1)
    late = kept[:, kept.shape[1] // 2 :]
    late = late[np.isfinite(late)]
    if goal is not None:
        axes.axhline(goal, color=TRUTH, ls="--", lw=1.2, label=f"perfect fit, {goal:.4g}")
        late = np.append(late, goal)
    if late.size:
        low, high, finite = late.min(), late.max(), np.append(kept[np.isfinite(kept)], late)
        reach = 3.0 * (high - low) or 1.0
        low, high = max(finite.min(), low - reach), min(finite.max(), high + reach)
        pad = 0.06 * (high - low) or 0.5
        axes.set_ylim(low - pad, high + pad)
    best = table.get("val_objective", np.array([]))
    if part == "objective" and np.isfinite(best).any():
        at = int(np.nanargmin(np.where(np.isfinite(best), best, np.nan)))
        axes.plot(table["step"][at], best[at], "o", color=MODEL, ms=5)
        title = f"{title}, best {best[at]:.4g} at step {table['step'][at]:,.0f}"
    axes.set(title=title, ylabel="nats per event")
    axes.legend()


@styled
def anomalies(x: np.ndarray, score: np.ndarray, columns: Sequence[str] | None = None, top: int = 10) -> Figure:
    """Histogram of scores [N], higher is stranger, and the first two columns of x [N, D], the strangest numbered.

    Raises:
        UserError: there is not one score for each row of x.
    """
    x, score = np.asarray(x, np.float64), np.asarray(score, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or score.shape != x.shape[:1] or not np.isfinite(score).any():
        raise UserError(f"anomalies needs data [N, D] and a score [N]; got {x.shape} and {score.shape}.")
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
        left.text(1.0, 0.95, f"{far} beyond this scale", transform=left.transAxes, ha="right", color=MODEL)
    left.set(yscale="log", ylim=(0.5, None), xlabel="anomaly score", ylabel="points per bin")
    left.set_title(f"Scores of {len(x):,} points, the {len(worst)} highest marked")
    if x.shape[1] == 1:
        plane, names = np.column_stack([x[:, 0], score]), [names[0], "anomaly score"]
    else:
        plane = x[:, :2]
    dots = right.scatter(*plane.T, s=6, c=score, cmap=SCORE_MAP, vmin=low, vmax=high, linewidths=0, rasterized=True)
    right.plot(*plane[worst].T, "o", mfc="none", mec=MODEL, ms=8, mew=1.3)
    for rank, (across, up) in enumerate(plane[worst], start=1):
        right.annotate(
            str(rank), (across, up), (5, 5), textcoords="offset points", color=MODEL, fontsize=8.5, weight="bold"
        )
    right.set(xlabel=names[0], ylabel=names[1], title="Data by score, strangest numbered from 1")
    right.margins(0.08)
    colour_bar(right, dots, "anomaly score", extend="both")
    return figure
