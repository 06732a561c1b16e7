"""The figure of application 5: arms of posterior samples over those of the exact posterior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.plots.style import DATA, FAINT, INK, MODEL, new_figure, styled

DRAWN = 120  # arms of each kind
MARGIN = 0.12  # around everything drawn


@styled
def arms(
    joints: np.ndarray,
    exact: np.ndarray | None,
    ends: np.ndarray,
    names: Sequence[str] | None = None,
) -> Figure:
    """Arms of samples [K, S, J, 2] of K posteriors, thin, over exact ones [K, R, J, 2], broad; all
    should reach `ends` [K, 2].

    One column per observation: above both kinds together, below the end of the last segment
    magnified, which shows samples that miss.

    Raises:
      UserError: shapes do not match.
    """
    joints, ends = np.asarray(joints, np.float64), np.asarray(ends, np.float64)
    exact = joints[:, :0] if exact is None else np.asarray(exact, np.float64)
    count = len(joints)
    fits = joints.ndim == exact.ndim == 4 and (len(exact), *exact.shape[2:]) == (
        count,
        *joints.shape[2:],
    )
    if not fits or joints.shape[-1] != 2 or ends.shape != (count, 2):
        raise UserError(
            f"arms [K, S, J, 2], [K, R, J, 2] and ends [K, 2] are needed; got {joints.shape},"
            f" {exact.shape}, {ends.shape}"
        )
    figure = new_figure(3.7 * count, 7.4)
    grid = figure.subplots(2, count, squeeze=False, height_ratios=[1.5, 1])
    drawn = np.concatenate([joints[:, :DRAWN], exact[:, :DRAWN]], 1).reshape(-1, 2)
    low, high = drawn.min(0) - MARGIN, drawn.max(0) + MARGIN
    for k, (above, below) in enumerate(grid.T):
        _draw(above, exact[k], DATA, 2.6, 0.10)
        _draw(above, joints[k], MODEL, 0.5, 0.55)
        above.scatter(*ends[k], marker="x", s=46, color=INK, lw=1.4, zorder=4)
        above.axvline(0.0, color=FAINT, lw=0.8, zorder=0)
        above.set(
            xlim=(low[0], high[0]),
            ylim=(low[1], high[1]),
            aspect="equal",
            xlabel="horizontal",
            title=names[k] if names else f"end point ({ends[k, 0]:.2f}, {ends[k, 1]:.2f})",
        )
        _magnify(below, joints[k, :, -1] - ends[k])
    grid[0, 0].set_ylabel("vertical")
    grid[1, 0].set_ylabel("vertical")
    for colour, width, label in ((DATA, 2.6, "exact posterior"), (MODEL, 1.0, "network")):
        grid[0, 0].plot([], [], color=colour, lw=width, alpha=0.7, label=label)
    grid[0, 0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.1), ncols=2)
    return figure


def _draw(axes, joints, colour, width, alpha):
    """Broken lines of the first of arms [S, J, 2]."""
    lines = LineCollection(
        joints[:DRAWN], colors=colour, linewidths=width, alpha=alpha, capstyle="round"
    )
    axes.add_collection(lines)


def _magnify(axes, missed):
    """End points [S, 2] of samples, relative to the goal, in a square that holds 99% of them."""
    half = max(float(np.quantile(np.abs(missed), 0.99)), 1e-6) * 1.15
    axes.scatter(
        *missed.T,
        s=3,
        color=MODEL,
        alpha=float(np.clip(15 / np.sqrt(len(missed)), 0.2, 0.8)),
        linewidths=0,
    )
    axes.scatter(0, 0, marker="x", s=46, color=INK, lw=1.4, zorder=4)
    rms = np.sqrt(np.square(missed).sum(1).mean())
    axes.set(
        xlim=(-half, half),
        ylim=(-half, half),
        aspect="equal",
        xlabel="horizontal",
        title=f"missed by {rms:.2g} (rms)",
    )
