"""Figures of the page, small enough to be drawn anew at each change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flow_models.plots.style import (
    DATA,
    FAINT,
    INK,
    MODEL,
    new_figure,
    plain,
    robust_limits,
    styled,
)

BEHIND = "#C9D7E3"  # held-out points, behind what is looked at
BARS = 12  # columns of which bars are drawn
PER_ROW = 4


def numbers(frame) -> np.ndarray:
    """Columns of any kind as numbers [N, D]; texts by their place in the alphabet."""
    from flow_models.plots.margins import as_numbers

    return np.stack([as_numbers(frame[name]) for name in frame.columns], 1)


@styled
def among(
    known, shown, axes: Sequence[str], label: str, at: int | None = None, behind: str = "known"
) -> Figure:
    """Points of a DataFrame among known ones, in the plane of two columns, or along one column.

    at: which of the points shown is marked; they are a way then, and joined.
    behind: what the known ones are called.
    """
    names = list(dict.fromkeys(axes))
    import pandas as pd

    both = numbers(pd.concat([known[names], shown[names]], ignore_index=True))
    rows, front = both[: len(known)], both[len(known) :]
    figure = new_figure(6.0, 4.2)
    panel = figure.subplots()
    if len(names) == 1:
        panel.hist(rows[:, 0], 60, color=BEHIND, label=behind)
        for number, value in enumerate(front[:50, 0]):
            panel.axvline(value, color=MODEL, lw=2.5 if at == number else 1.0)
    else:
        panel.plot(*rows.T, ".", color=BEHIND, ms=4, label=behind, rasterized=True)
        style: dict[str, Any] = dict(
            color=MODEL, ms=9 if len(front) < 20 else 4, ls="none" if at is None else "-"
        )
        panel.plot(*front.T, marker="o", alpha=0.8, label=label, **style)
        if at is not None:
            panel.plot(*front[at], "o", color=INK, ms=12)
        panel.set_ylabel(plain(names[1]))
    limits = robust_limits(rows[np.isfinite(rows).all(1)])
    low, high = np.minimum(limits[:, 0], front.min(0)), np.maximum(limits[:, 1], front.max(0))
    margin = 0.03 * np.maximum(high - low, 1e-9)
    panel.set_xlim(low[0] - margin[0], high[0] + margin[0])
    if len(names) > 1:
        panel.set_ylim(low[1] - margin[1], high[1] + margin[1])
    panel.set_xlabel(plain(names[0]))
    panel.legend(loc="best")
    return figure


@styled
def place(held: np.ndarray, score: float, name: str) -> Figure:
    """One score among those of held-out events."""
    figure = new_figure(6.0, 2.8)
    panel = figure.subplots()
    low, high = np.quantile(held, [0.0, 0.995])
    panel.hist(np.clip(held, low, high), 50, color=BEHIND)
    inside = float(np.clip(score, low - 0.05 * (high - low), high + 0.1 * (high - low)))
    beyond = "" if inside == score else " (beyond this scale)"
    panel.axvline(inside, color=MODEL, lw=2.0, label=f"here: {score:.4g}{beyond}")
    panel.set(xlabel=plain(name), ylabel="held-out events")
    panel.legend(loc="best")
    return figure


@styled
def bars(names: Sequence[str], values: np.ndarray, label: str) -> Figure:
    """The largest of some values, as horizontal bars."""
    order = np.argsort(-values, kind="stable")[:BARS][::-1]
    figure = new_figure(6.0, 0.8 + 0.32 * len(order))
    panel = figure.subplots()
    panel.barh([plain(names[i]) for i in order], values[order], color=MODEL)
    panel.set(xlabel=label)
    return figure


@styled
def over(image: np.ndarray, gains: np.ndarray) -> Figure:
    """A picture beside its patches by their gains."""
    figure = new_figure(6.4, 3.2)
    left, right = figure.subplots(1, 2)
    left.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    right.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
    shown = right.imshow(gains, cmap="inferno", alpha=0.75, extent=extent, vmin=0)
    figure.colorbar(shown, ax=right, label="nats")
    for axes, title in ((left, "picture"), (right, "what makes it strange")):
        axes.set_axis_off()
        axes.set_title(title)
    return figure


@styled
def margins(samples: np.ndarray, prior: np.ndarray | None, columns: Sequence[str]) -> Figure:
    """Posterior samples [S, P] and the prior [R, P], a panel a parameter."""
    rows, across = -(-len(columns) // PER_ROW), min(len(columns), PER_ROW)
    figure = new_figure(2.6 * across + 0.4, 2.1 * rows)
    panels = figure.subplots(rows, across, squeeze=False).ravel()
    for i, (panel, name) in enumerate(zip(panels, columns)):
        seen = samples[:, i] if prior is None else np.append(samples[:, i], prior[:, i])
        low, high = robust_limits(seen[:, None])[0]
        bins = np.linspace(low, high, 40).tolist()
        if prior is not None:
            panel.hist(prior[:, i], bins, density=True, color=BEHIND, label="before")
        panel.hist(samples[:, i], bins, density=True, histtype="step", color=MODEL, label="after")
        panel.set(xlabel=plain(name), yticks=[])
    for panel in panels[len(columns) :]:
        panel.set_axis_off()
    panels[0].legend(loc="best")
    return figure


@styled
def over_data(
    y: np.ndarray, predicted: np.ndarray, simulated: np.ndarray, names: Sequence[str]
) -> Figure:
    """Data [M] over the bands of 50% and 90% of predictions [S, M], each datum in standard
    deviations of the simulated data [R, M]."""
    mean, sd = simulated.mean(0), simulated.std(0)
    scaled = [(each - mean) / np.where(sd > 0, sd, 1.0) for each in (y, predicted)]
    place = np.arange(len(y))
    figure = new_figure(6.6, 3.6)
    panel = figure.subplots()
    for (low, high), shade in (((0.05, 0.95), 0.22), ((0.25, 0.75), 0.4)):
        ends = np.quantile(scaled[1], [low, high], axis=0)
        style: dict[str, Any] = dict(color=MODEL, alpha=shade, label=f"predicted {high - low:.0%}")
        if len(y) > PER_ROW:
            panel.fill_between(place, *ends, lw=0, **style)
        else:
            panel.bar(place, ends[1] - ends[0], 0.5, ends[0], **style)
    panel.plot(place, scaled[0], "o", color=DATA, mec=INK, label="data")
    panel.axhline(0.0, color=FAINT, lw=0.7, zorder=0)
    some = place[:: max(len(y) // 12, 1)]
    turned: dict[str, Any] = {"rotation": 40, "ha": "right"} if len(y) > PER_ROW else {}
    panel.set_xticks(some, [plain(names[i]) for i in some], **turned)
    panel.set_ylabel("sd of simulated data")
    panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
