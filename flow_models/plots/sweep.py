"""The figure of a sweep: a metric over the settings of its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.plots.style import DATA, FAINT, MODEL, new_figure, plain, styled

NAMED = 8  # most values of a setting that are drawn by name; more get an axis of numbers
COLUMNS = 3


@styled
def trials(
    found: Sequence[tuple[Mapping[str, str], float]], metric: str, higher: bool = False
) -> Figure:
    """A metric over each varied setting: a panel per setting, a dot per trial, a line through the
    means.

    found: (setting, value) of each trial; the value is NaN if there is none. The seed has a panel
    only if nothing else was varied.
    """
    finite = [(setting, value) for setting, value in found if np.isfinite(value)]
    names = list(dict.fromkeys(name for setting, _ in found for name in setting))
    names = [name for name in names if name != "seed" or len(names) == 1]
    columns = max(min(len(names), COLUMNS), 1)
    rows = max(-(-len(names) // COLUMNS), 1)
    figure = new_figure(1.2 + 3.6 * columns, 0.6 + 3.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names):
        _panel(
            axes, [(setting[name], value) for setting, value in finite if name in setting], higher
        )
        axes.set_xlabel(plain(name))
    if finite:
        panels[0].legend(fontsize=8, loc="upper right")
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(f"{plain(metric)}, {'higher' if higher else 'lower'} is better")
    missing = len(found) - len(finite)
    figure.suptitle(
        f"{len(finite)} trials" + (f", and {missing} without a value" if missing else ""),
        x=0.01,
        ha="left",
        fontsize=10,
    )
    return figure


def _panel(axes: Axes, pairs: Sequence[tuple[str, float]], higher: bool) -> None:
    """Dots at (value of a setting, metric); the best is marked."""
    axes.grid(True, axis="y")
    if not pairs:
        return
    texts, values = [text for text, _ in pairs], np.array([value for _, value in pairs])
    distinct, numbers = list(dict.fromkeys(texts)), _numbers(texts)
    distinct = distinct if numbers is None else sorted(distinct, key=float)
    by_name = numbers is None or len(distinct) <= NAMED
    indices = np.array([distinct.index(text) for text in texts], float)
    places = indices if numbers is None or by_name else numbers
    axes.scatter(places, values, 22, color=DATA, alpha=0.7, linewidths=0, label="trial")
    if by_name:
        means = [values[places == place].mean() for place in range(len(distinct))]
        axes.plot(range(len(distinct)), means, color=FAINT, lw=1.0, label="mean")
        axes.set_xticks(range(len(distinct)), [plain(text) for text in distinct])
        axes.set_xlim(-0.5, len(distinct) - 0.5)
    elif places.min() > 0 and places.max() > 20 * places.min():
        axes.set_xscale("log")
    best = int(values.argmax() if higher else values.argmin())
    axes.plot(places[best], values[best], "o", mfc="none", mec=MODEL, ms=9, label="best")


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return None
