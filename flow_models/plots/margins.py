"""Margins of a table: every column of data beside samples, whatever its kind."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import DATA, MODEL, new_figure, robust_limits, styled

ACROSS = 4  # panels in a row
MOST_BARS = 30  # values of a column that are drawn as bars
LONGEST = 12  # characters of a value below its bar


@styled
def margins(data, samples) -> Figure:
    """Shares of the values of few, and histograms of the values of many, a panel a column.

    Args:
      data, samples: DataFrames with the same columns.

    Raises:
      UserError: they have no columns, or samples lack one.
    """
    missing = [name for name in data.columns if name not in samples.columns]
    if missing or not len(data.columns):
        raise UserError(f"margins needs the same columns in both; samples lack {missing[:1]}")
    rows = math.ceil(len(data.columns) / ACROSS)
    across = min(len(data.columns), ACROSS)
    figure = new_figure(2.9 * across, 2.5 * rows)
    panels = figure.subplots(rows, across, squeeze=False).ravel()
    for axes, name in zip(panels, data.columns):
        _panel(axes, data[name].dropna(), samples[name].dropna())
        axes.set_title(str(name))
    for axes in panels[len(data.columns) :]:
        axes.set_axis_off()
    panels[0].legend(loc="best")
    return figure


def _panel(axes, data, samples) -> None:
    shares = data.value_counts(normalize=True)
    if len(shares) <= MOST_BARS and not (data.dtype.kind == "f" and len(shares) == len(data)):
        _bars(axes, shares, samples.value_counts(normalize=True))
    else:
        _histograms(axes, *(as_numbers(each) for each in (data, samples)))


def _bars(axes, data, samples) -> None:
    """Shares of each value, the data's filled and the model's as outlines."""
    values = sorted(data.index, key=lambda value: (isinstance(value, str), value))
    where = np.arange(len(values))
    drawn = samples.reindex(values, fill_value=0.0)
    axes.bar(where, data[values], color=DATA, alpha=0.3, label="data")
    axes.bar(where, drawn, fill=False, edgecolor=MODEL, lw=1.3, label="model samples")
    few = where[:: max(len(values) // 8, 1)]
    axes.set_xticks(few, [str(values[i])[:LONGEST] for i in few], rotation=45, ha="right")
    axes.set_ylabel("share")


def _histograms(axes, data, samples) -> None:
    low, high = robust_limits(data[:, None])[0]
    bins = np.linspace(low, high, 41)
    axes.hist(data, bins, density=True, color=DATA, alpha=0.3, label="data")
    axes.hist(
        samples, bins, density=True, histtype="step", color=MODEL, lw=1.3, label="model samples"
    )
    axes.set_ylabel("density")


def as_numbers(column) -> np.ndarray:
    """Values as numbers; times as days since the first of 1970."""
    values = column.to_numpy()
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]").astype(np.float64) / 86_400e6
    if values.dtype.kind not in "fiub":
        return np.unique(values.astype(str), return_inverse=True)[1].astype(np.float64)
    return values.astype(np.float64)
