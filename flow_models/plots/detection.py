"""Figures of anomaly detection: scores by set, ROC curves, the ranking, and where latents lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.diagnostics import detection
from flow_models.plots.images import draw_row, empty, shown
from flow_models.plots.style import (
    DATA,
    FAINT,
    INK,
    MARK,
    MODEL,
    TRUTH,
    edges,
    new_figure,
    robust_limits,
    styled,
)

# of the known set, then of the others
SET_COLOURS = (DATA, MODEL, TRUTH, MARK, "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")
# {score: {set: [n]}}, the same sets for every score
Scores = Mapping[str, Mapping[str, np.ndarray]]


@styled
def score_histograms(scores: Scores, known: str) -> Figure:
    """One panel per score: its histogram over the known set and each other set, with the AUROC.

    scores: {score: {set: [n]}}, higher is stranger; known: name of the set of known images. The
    view spans the central 99% of each set; values beyond are counted at its edge.
    """
    _check(scores, known)
    columns = min(4, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(3.5 * columns, 2.7 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, sets) in zip(panels, scores.items()):
        _histogram(axes, sets, known)
        axes.set_title(name)
    for axes in panels[len(scores) :]:
        axes.axis("off")
    for axes in panels[::columns]:
        axes.set_ylabel("density")
    return figure


def _histogram(axes: Axes, sets: Mapping[str, np.ndarray], known: str) -> None:
    finite = {
        name: np.nan_to_num(np.asarray(s, float), posinf=float(np.finfo(np.float32).max))
        for name, s in sets.items()
    }
    ends = np.array([np.quantile(s, [0.005, 0.995]) for s in finite.values()])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    bins = edges(low, high if high > low else low + 1.0, 41)
    for (name, values), colour in zip(finite.items(), cycle(SET_COLOURS)):
        label = (
            name
            if name == known
            else f"{name}, AUROC {detection.detection(finite[known], values, 0)['auroc']:.3f}"
        )
        style = {"alpha": 0.35} if name == known else {"histtype": "step", "lw": 1.4}
        axes.hist(
            np.clip(values, bins[0], bins[-1]),
            bins,
            density=True,
            color=colour,
            label=label,
            **style,
        )
    room = 0.2 + 0.1 * max(len(sets) - 1.5, 1.5)  # for one line of the legend per set
    axes.set_ylim(0, (1 + room) * axes.get_ylim()[1])
    axes.legend(fontsize=7.5, loc="upper left")
    axes.set_xlabel("score, higher is stranger")
    axes.set_yticks([])


@styled
def roc_curves(scores: Scores, known: str, baselines: Sequence[str] = ()) -> Figure:
    """One panel per set but the known one: the ROC curves of all scores, best first; baselines
    grey.

    scores as in `score_histograms`; baselines: names of the scores that need no model.
    """
    others = _check(scores, known)
    figure = new_figure(5.6 * len(others), 4.6)
    panels = figure.subplots(1, len(others), squeeze=False).ravel()
    colours = {
        name: SET_COLOURS[i % 6] for i, name in enumerate(n for n in scores if n not in baselines)
    }
    for axes, other in zip(panels, others):
        areas = {
            name: detection.detection(sets[known], sets[other], 0)["auroc"]
            for name, sets in scores.items()
        }
        for name in sorted(areas, key=lambda name: areas[name], reverse=True):
            line = (
                {"color": FAINT, "ls": LINES[1 + list(baselines).index(name) % 3], "lw": 1.1}
                if name in baselines
                else {"color": colours[name]}
            )
            axes.plot(
                *detection.curve(scores[name][known], scores[name][other]),
                label=f"{areas[name]:.3f}  {name}",
                **line,
            )
        axes.plot([0, 1], [0, 1], color="#DDDDDD", lw=0.8, zorder=0)
        axes.set(
            xlabel=f"share of {known} flagged",
            ylabel=f"share of {other} found",
            xlim=(0, 1),
            ylim=(0, 1.01),
            box_aspect=1,
        )
        axes.set_title(f"{known} or {other}: {len(next(iter(scores.values()))[other]):,} {other}")
        axes.legend(
            title="AUROC", loc="upper left", bbox_to_anchor=(1.0, 1.0), alignment="left", fontsize=8
        )
    return figure


@styled
def latent_map(
    z: Mapping[str, np.ndarray],
    images: Mapping[str, np.ndarray],
    known: str,
    basis: np.ndarray | None = None,
    numbered: int = 8,
) -> Figure:
    """Latents on two principal components, with inliers, outliers and others numbered and their
    images beside.

    z: {set: [n, N]}, images: {set: uint8 [n, H, W, C]}. Numbers mark the known images nearest to
    the known centre in this plane (inliers) and farthest from it (outliers), and the first of every
    other set. Distant points are drawn at the edge. basis [m, N]: latents whose components are
    used, by default the known ones.

    Raises:
      UserError: sets without images, or fewer than three latents in the basis.
    """
    z = {name: np.asarray(each, np.float64) for name, each in z.items()}
    if known not in z or any(name not in images or len(images[name]) != len(z[name]) for name in z):
        raise UserError(
            f"latent_map needs latents and pictures of the same sets, one of them {known!r}"
        )
    axes_of = principal(z[known] if basis is None else np.asarray(basis, np.float64))
    flat = {name: axes_of(each) for name, each in z.items()}
    groups = _numbered(flat, known, numbered)
    limits = _view(flat)
    figure = new_figure(11.5, max(5.6, 1.05 * len(groups) + 0.6))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    for (name, plane), colour in zip(flat.items(), cycle(SET_COLOURS)):
        beyond = int(((plane < limits[:, 0]) | (plane > limits[:, 1])).any(1).sum())
        label = f"{name} ({len(plane):,}" + (f", {beyond} at the edge)" if beyond else ")")
        flat[name] = np.clip(plane, limits[:, 0], limits[:, 1])
        left.scatter(
            *flat[name].T, s=9, color=colour, alpha=0.55, linewidths=0, label=label, clip_on=False
        )
    first = 1
    for row, (title, name, picked) in enumerate(groups):
        colour = SET_COLOURS[list(z).index(name) % 6]
        _number(left, flat[name][picked], first, colour)
        draw_row(right, shown(np.asarray(images[name])[picked]), 1.35 * row + 0.35, colour=colour)
        right.text(
            0,
            1.35 * row + 0.3,
            f"{title}, {first} to {first + len(picked) - 1}",
            va="bottom",
            color=colour,
            fontsize=9,
        )
        first += len(picked)
    aspect = shown(images[known][:1]).shape
    empty(right, numbered, 1.35 * len(groups), aspect[1] / aspect[2])
    left.set(
        xlim=limits[0],
        ylim=limits[1],
        xlabel="first principal component",
        ylabel="second principal component",
    )
    left.set_title("Latents, numbered as the pictures beside")
    left.legend(loc="best")
    return figure


def _view(flat: Mapping[str, np.ndarray]) -> np.ndarray:
    """Limits [2, 2] around the central 90% of every set; foreign images may lie arbitrarily far
    off."""
    ends = np.stack([robust_limits(plane, 0.4, 0.05) for plane in flat.values()])
    return np.stack([ends[..., 0].min(0), ends[..., 1].max(0)], 1)


def principal(basis: np.ndarray):
    """A function [n, N] -> [n, 2]: projection, from the mean of basis [m, N], onto its two main
    directions."""
    if basis.ndim != 2 or len(basis) < 3 or basis.shape[1] < 2:
        raise UserError(
            f"two principal components need at least 3 rows of 2 columns; got {basis.shape}"
        )
    mean = basis.mean(0, dtype=np.float64)
    directions = np.linalg.svd(basis - mean, full_matrices=False)[2][:2].T
    return lambda rows: (rows - mean) @ directions


def _numbered(
    flat: Mapping[str, np.ndarray], known: str, count: int
) -> list[tuple[str, str, np.ndarray]]:
    """(title, set, row numbers) of the images that get a number."""
    order = np.argsort(np.square(flat[known] - np.median(flat[known], 0)).sum(1))
    half = min(count, max(len(order) // 2, 1))
    groups = [
        (f"inliers: {known} nearest to the centre", known, order[:half]),
        (f"outliers: {known} farthest from it", known, order[::-1][:half]),
    ]
    others = [name for name in flat if name != known]
    return groups + [
        (f"others: {name}", name, np.arange(min(count, len(flat[name])))) for name in others
    ]


def _number(axes: Axes, plane: np.ndarray, first: int, colour: str) -> None:
    axes.plot(*plane.T, "o", mfc="none", mec=colour, ms=7, mew=1.1)
    for number, (x, y) in enumerate(plane, first):
        axes.annotate(
            str(number),
            (x, y),
            (4, 3),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            weight="bold",
        )


def _check(scores: Scores, known: str) -> list[str]:
    """The names of the sets other than the known one. Raises UserError if there is none."""
    sets = [list(each) for each in scores.values()]
    if (
        not sets
        or any(each != sets[0] for each in sets)
        or known not in sets[0]
        or len(sets[0]) < 2
    ):
        raise UserError(
            f"scores of the same sets, {known!r} and at least one other, are needed; got {sets[:1]}"
        )
    return [name for name in sets[0] if name != known]
