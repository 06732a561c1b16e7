"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import DATA, FAINT, MODEL, TRUTH, new_figure, styled

PARTS = {
    "latent": "Latent part",
    "log_det": "Log-determinant",
    "objective": "Objective = latent - log-determinant",
}
CLASS_PARTS = {
    "nll": "-log p(x)",
    "cross_entropy": "-log p(y | x)",
    "objective": "Objective = -log p(x) + beta (-log p(y | x))",
}


@styled
def training_curves(
    history: Mapping[str, Sequence[float]],
    perfect: Mapping[str, float] | None = None,
    unit: str = "nats per event",
    nats: float = 1.0,
) -> Figure:
    """The three parts of the objective, training and validation, and the learning rate, over the
    steps.

    A panel shows the range of the second half of the training, and three times that range around
    it.

    Args:
      history: columns of history.csv as a dict of lists or a DataFrame: step, learning_rate, and
        train_ and val_ of objective, latent and log_det (of a classifier: nll and cross_entropy),
        in nats per event.
      perfect: values of the true density: objective its entropy, latent D/2 (1 + log 2 pi),
        log_det = latent - objective.
      unit, nats: unit of the axes, and its size in nats: "bits per dimension" has H W C ln 2.

    Raises:
      UserError: history has no column step or no row.
    """
    if "step" not in history or len(history["step"]) == 0:
        raise UserError(
            "training_curves needs a history with a column step and at least one row (history.csv"
            " of the run)."
        )
    scaled = tuple(f"_{part}" for part in PARTS)
    table = {
        name: np.asarray(history[name], np.float64) / (nats if name.endswith(scaled) else 1.0)
        for name in history
    }
    figure = new_figure(10.4, 6.8)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    parts = CLASS_PARTS if "train_nll" in table else PARTS
    if "train_latent" not in table and parts is PARTS:
        parts = {"objective": "Objective"}  # of flow matching, say
    for axes in panels[len(parts) : 3]:
        axes.set_axis_off()
    for axes, (part, title) in zip(panels, parts.items(), strict=False):
        goal = None if perfect is None else perfect.get(part)
        _curve(axes, table, part, title, None if goal is None else goal / nats)
        axes.set_ylabel(unit)
    rate = table.get("learning_rate", np.full(len(table["step"]), np.nan))
    panels[3].plot(table["step"], rate, color=FAINT, marker="o" if len(rate) < 3 else None)
    panels[3].set(title="Learning rate", ylabel="learning rate")
    if np.any(rate > 0):
        panels[3].set(
            yscale="log",
            ylim=(max(np.nanmin(rate), np.nanmax(rate) / 1000.0) / 1.5, 1.5 * np.nanmax(rate)),
        )
    for axes in panels:
        axes.grid(True)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[2].set_xlabel("step")
    panels[3].set_xlabel("step")
    return figure


def _curve(
    axes: Axes, table: Mapping[str, np.ndarray], part: str, title: str, goal: float | None
) -> None:
    """Both curves of one part, the line of a perfect fit, and limits that the first spike does not
    stretch."""
    curves = {
        kind: table[f"{kind}_{part}"] for kind in ("train", "val") if f"{kind}_{part}" in table
    }
    for (kind, values), colour in zip(curves.items(), (DATA, MODEL), strict=False):
        axes.plot(
            table["step"],
            values,
            color=colour,
            marker="o" if len(values) < 3 else None,
            label={"val": "validation"}.get(kind, "training"),
        )
    kept = np.array(list(curves.values())).reshape(len(curves), -1)
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
    axes.set_title(title)
    axes.legend()
