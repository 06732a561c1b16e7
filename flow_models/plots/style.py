"""What all figures share: colours, type, robust limits and scatter panels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from flow_models.core.errors import UserError

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Okabe and Ito's palette, distinct in grey and for all common forms of colour blindness.
DATA, MODEL, TRUTH, MARK, INK, FAINT = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#333333",
    "#999999",
)
SCORE_MAP = "viridis"
DENSITY_MAP = LinearSegmentedColormap.from_list(
    "density", ["#FFFFFF", "#C6E5DC", "#5AB4C4", "#2A7FB8", "#253494", "#081040"]
)
# periodic: ends where it starts
ANGLE_MAP = LinearSegmentedColormap.from_list("angle", [DATA, TRUTH, "#E69F00", MARK, DATA])
STYLE: dict[RcKeyType, object] = {
    "figure.dpi": 110,
    "savefig.dpi": 140,
    "figure.facecolor": "white",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "text.color": INK,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.grid": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "axes.formatter.useoffset": False,
}
SHOWN = 5000  # points of a scatter panel
# matplotlib gives this hint on slow machines; it is of no use to somebody who trains
warnings.filterwarnings("ignore", message='Creating legend with loc="best"')


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under STYLE; matplotlib's global settings stay as they were."""

    @wraps(draw)
    def inner(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inner


class Shown(Figure):
    """A figure that a notebook shows, also where pyplot was never used."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=self.dpi)
        return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of width x height inches, in no window and no global list."""
    figure = Shown(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(text) -> str:
    """A user's name as a figure can show it: "$" starts no formula, and bytes that are not UTF-8
    become "?"."""
    return str(text).encode(errors="replace").decode().replace("$", r"\$")


def points(x: np.ndarray, name: str, columns: int | None = None) -> np.ndarray:
    """The finite rows of x as float64 [N, D].

    Raises:
      UserError: x is not [N, D], or not [N, columns], or has fewer than two finite rows.
    """
    x = np.asarray(x, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] == 0 or (columns is not None and x.shape[1] != columns):
        raise UserError(
            f"{name} must be an array [N, {columns or 'D'}] with one row a point; got {x.shape}."
        )
    x = x[np.isfinite(x).all(axis=1)]
    if len(x) < 2:
        raise UserError(
            f"{name} must hold at least two rows of finite numbers to be drawn; got {len(x)}."
        )
    return x


def column_names(columns: Sequence[str] | None, dimensions: int) -> list[str]:
    """Axis labels: the names given, or x1, x2, ...

    Raises:
      UserError: the number of names is not the number of dimensions.
    """
    names = (
        [f"$x_{{{d + 1}}}$" for d in range(dimensions)]
        if columns is None
        else [str(name) for name in columns]
    )
    if len(names) != dimensions:
        raise UserError(
            f"columns must name the {dimensions} columns of the data; got {len(names)} names."
        )
    return [name if columns is None else name.replace("$", r"\$") for name in names]


def robust_limits(x: np.ndarray, margin: float = 0.12, tail: float = 0.002) -> np.ndarray:
    """Axis limits [D, 2] around x [N, D] without its extreme tails, so that no stray point sets the
    view."""
    low, high = np.quantile(x, [tail, 1.0 - tail], axis=0)
    width = np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
    return np.stack([low - margin * width, high + margin * width], axis=1)


def shape(limits: np.ndarray) -> float:
    """Height over width of a panel with limits [2, 2]: that of the plane if its sides are similar,
    else 0.8."""
    ratio = float(np.diff(limits[1])[0] / np.diff(limits[0])[0])
    return ratio if 0.4 < ratio < 2.5 else 0.8


def frame(axes: Axes, limits: np.ndarray, names: Sequence[str]) -> None:
    """Sets the limits [2, 2] and labels of a plane, in its shape."""
    axes.set(
        xlim=limits[0], ylim=limits[1], xlabel=names[0], ylabel=names[1], box_aspect=shape(limits)
    )


def colour_bar(axes: Axes, image, label: str, extend: str = "neither") -> None:
    """A slim colour bar as tall as its panel."""
    axes.figure.colorbar(
        image, cax=axes.inset_axes((1.02, 0.0, 0.03, 1.0)), label=label, extend=extend
    )


def thin(x: np.ndarray) -> np.ndarray:
    """At most SHOWN rows of x, evenly spaced."""
    return x[:: max(1, -(-len(x) // SHOWN))]


def scatter(
    axes: Axes, x: np.ndarray, colour: str, label: str | None = None, size: float = 4.0
) -> None:
    """Points x [N, 2], thinned; the more there are, the fainter."""
    x = thin(x)
    alpha = float(np.clip(30.0 / np.sqrt(len(x)), 0.25, 0.8))
    axes.scatter(
        x[:, 0],
        x[:, 1],
        s=size,
        color=colour,
        alpha=alpha,
        linewidths=0,
        label=label,
        rasterized=True,
    )


def edges(low: float, high: float, count: int) -> list[float]:
    """Evenly spaced edges of the bins of a histogram."""
    return np.linspace(low, high, count).tolist()


def evaluate(log_prob: Callable, x: np.ndarray, batch: int = 10_000) -> np.ndarray:
    """log_prob(x) as float64 [N], in batches of one size (the last padded), so that a model
    compiles once."""
    filled = np.resize(x, (-(-len(x) // batch) * batch, *x.shape[1:])) if len(x) > batch else x
    parts = (
        filled[start : start + batch].astype(np.float32) for start in range(0, len(filled), batch)
    )
    values = np.concatenate([np.asarray(log_prob(part), np.float64).reshape(-1) for part in parts])[
        : len(x)
    ]
    return np.where(np.isnan(values), -np.inf, values)
