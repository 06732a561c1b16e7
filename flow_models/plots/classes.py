"""Figures of generative classifiers: where classes are, whether their probabilities can be trusted,
and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flow_models.core.errors import UserError
from flow_models.diagnostics.classification import calibration, rejection_curve
from flow_models.plots.style import (
    DATA,
    DENSITY_MAP,
    FAINT,
    INK,
    MODEL,
    TRUTH,
    colour_bar,
    column_names,
    edges,
    frame,
    new_figure,
    plain,
    robust_limits,
    shape,
    styled,
)

GRID = 160  # cells along a side of a panel
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C6D31",
    "#7A7A7A",
    "#B2182B",
    "#5E3C99",
)
SHOWN = 2000  # points of a scatter panel
LEGEND = 12  # classes named at most


def class_colours(count: int) -> list:
    """`count` colours: a palette for colour-blind readers, or a colour wheel if there are too
    many."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [matplotlib.colormaps["hsv"](k / count) for k in range(count)]


def class_plane(x: np.ndarray, y: np.ndarray, columns: Sequence[str] | None = None):
    """project(rows [N, D]) -> [N, 2] and the names of the two axes.

    For D = 2 it is the plane itself. Otherwise it is the plane of the linear discriminant analysis
    of x, y, in which the classes are farthest apart: largest scatter of the class means relative to
    the scatter within classes, completed by principal axes for two classes.
    """
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    if x.shape[1] <= 2:
        pad = 2 - x.shape[1]
        names = column_names(columns, x.shape[1]) + [""] * pad
        return (lambda rows: np.pad(np.asarray(rows, np.float64), [(0, 0), (0, pad)])), names
    labels, places, counts = np.unique(y, return_inverse=True, return_counts=True)
    means = np.stack([x[places == k].mean(0) for k in range(len(labels))])
    centred = x - means[places]
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    whiten = vectors / np.sqrt(np.maximum(values, 1e-3 * values.max()))
    apart = ((means - x.mean(0)) * np.sqrt(counts / len(x))[:, None]) @ whiten
    axes = np.linalg.svd(apart, full_matrices=False)[2][: min(2, len(labels) - 1)]
    if len(axes) < 2:
        rest = centred @ whiten
        rest = rest - rest @ axes.T @ axes
        axes = np.vstack([axes, np.linalg.svd(rest, full_matrices=False)[2][: 2 - len(axes)]])
    return (
        lambda rows: (
            (np.asarray(rows, np.float64).reshape(len(rows), -1) - x.mean(0)) @ whiten @ axes.T
        )
    ), ["discriminant 1", "discriminant 2"]


def _scatter(
    panel: Axes, points: np.ndarray, y: np.ndarray, colours, classes=None, size: float = 6.0
) -> None:
    # in random order, so that no class covers the others
    order = np.random.default_rng(0).permutation(len(points))[:SHOWN]
    panel.scatter(
        points[order, 0],
        points[order, 1],
        s=size,
        c=[colours[k] for k in y[order]],
        alpha=0.7,
        linewidths=0,
        rasterized=True,
    )
    if classes is not None and len(classes) <= LEGEND:
        for name, colour in zip(classes, colours):
            panel.plot([], [], "o", color=colour, ms=5, label=plain(name))
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


@styled
def decision_regions(
    x: np.ndarray,
    y: np.ndarray,
    class_log_prob: Callable,
    log_priors: np.ndarray,
    classes: Sequence[str],
    columns: Sequence[str] | None = None,
) -> Figure:
    """The plane: the most probable class and its probability, the densities of the classes, and
    p(x) on a log scale.

    class_log_prob takes float32 [B, 2] and returns log p(x | class) [B, M].

    Raises:
      UserError: the data are not [N, 2].
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != 2:
        raise UserError(f"decision_regions draws data of two dimensions, [N, 2]; got {x.shape}.")
    names, limits = column_names(columns, 2), robust_limits(x, 0.2)
    a, b = np.meshgrid(*(np.linspace(low, high, GRID) for low, high in limits))
    joint = class_log_prob(np.column_stack([a.ravel(), b.ravel()]).astype(np.float32)) + log_priors
    joint = np.maximum(np.asarray(joint, np.float64), -1e30)
    total = np.logaddexp.reduce(joint, 1)
    p = np.exp(joint - total[:, None]).reshape(*a.shape, -1)
    colours = class_colours(len(classes))
    figure = new_figure(14.0, 1.0 + 4.4 * shape(limits))
    left, middle, right = figure.subplots(1, 3)
    rgb = np.array([matplotlib.colors.to_rgb(c) for c in colours])
    sure = np.clip((p.max(-1) - 1 / max(len(classes), 2)) / (1 - 1 / max(len(classes), 2)), 0, 1)[
        ..., None
    ]
    tint = 0.55 * sure
    left.imshow(
        1 - tint + tint * rgb[p.argmax(-1)],
        origin="lower",
        extent=limits.ravel(),
        aspect="auto",
        interpolation="nearest",
    )
    _scatter(left, x, y, colours, size=3.0)
    left.set_title("Most probable class, paler where less sure, and test data")
    for k, colour in enumerate(colours):
        height = np.exp(joint[:, k]).reshape(a.shape)
        if height.max() > 0:
            middle.contourf(
                a, b, height / height.max(), [0.05, 0.3, 1.01], colors=[colour], alpha=0.35
            )
            middle.contour(
                a, b, height / height.max(), [0.05, 0.3, 0.7], colors=[colour], linewidths=0.9
            )
    for name, colour in list(zip(classes, colours))[:LEGEND]:
        middle.plot([], [], "o", color=colour, label=plain(name))
    middle.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)
    middle.set_title("Density of each class: 5, 30, 70% of its top")
    height = np.maximum(total, total.max() - 25).reshape(a.shape)
    image = right.pcolormesh(a, b, height, cmap=DENSITY_MAP, shading="nearest", rasterized=True)
    colour_bar(right, image, "log p(x), nats", extend="min")
    right.set_title("log p(x) over all classes")
    for panel in (left, middle, right):
        frame(panel, limits, names)
    return figure


@styled
def class_samples(
    x: np.ndarray,
    y: np.ndarray,
    samples: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    columns: Sequence[str] | None = None,
) -> Figure:
    """Test rows x [N, D] of classes y [N] and samples [K, D] of classes `labels` [K], in the plane
    of two columns or of discriminants."""
    project, names = class_plane(x, y, columns)
    data, drawn = project(x), project(samples)
    limits, colours = robust_limits(data, 0.2), class_colours(len(classes))
    figure = new_figure(11.0, 1.0 + 4.6 * shape(limits))
    left, right = figure.subplots(1, 2)
    _scatter(left, data, y, colours)
    _scatter(right, drawn, labels, colours, classes)
    outside = np.mean(((drawn < limits[:, 0]) | (drawn > limits[:, 1])).any(1))
    left.set_title(f"{len(data):,} test data by class")
    right.set_title(
        f"{len(drawn):,} samples by class"
        + (f", {outside:.1%} outside this view" if outside else "")
    )
    for panel in (left, right):
        frame(panel, limits, names)
    return figure


@styled
def class_probabilities(
    p: np.ndarray, y: np.ndarray, score: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Can p(class | x) [N, M] be trusted? Reliability, accuracy against rejection, confusion of
    classes."""
    error, bins = calibration(p, y)
    figure = new_figure(14.0, 4.6)
    left, middle, right = figure.subplots(1, 3)
    filled = bins[:, 2] > 0
    left.plot([0, 1], [0, 1], "--", color=FAINT, label="calibrated")
    left.scatter(
        bins[filled, 0], bins[filled, 1], 20 + 400 * bins[filled, 2], color=DATA, alpha=0.6
    )
    left.plot(
        [], [], "o", color=DATA, alpha=0.6, label="rows of like confidence, area by their number"
    )
    low = min(0.95, float(bins[filled, :2].min()) - 0.05)
    left.set(
        xlabel="confidence, max p(y | x)", ylabel="accuracy", xlim=(low, 1.02), ylim=(low, 1.02)
    )
    left.set_title(f"Calibration: expected error {error:.4f}")
    left.legend(loc="upper left", bbox_to_anchor=(0.0, 0.93))
    curves = {"by -log p(x)": (score, MODEL), "by lack of confidence": (-p.max(1), TRUTH)}
    for name, (values, colour) in curves.items():
        rejected, accuracy = rejection_curve(p, y, values)
        some = rejected <= 0.9
        middle.plot(
            100 * rejected[some], 100 * accuracy[some], color=colour, label=f"rejected {name}"
        )
    low = min(100 * rejection_curve(p, y, values)[1].min() for values, _ in curves.values())
    middle.set(
        xlabel="rows rejected, %",
        ylabel="accuracy of the rest, %",
        ylim=(min(low, 98.0) - 0.5, 100.3),
    )
    middle.set_title(f"Accuracy {np.mean(p.argmax(1) == y):.2%}, and with a reject option")
    middle.legend(loc="lower right")
    _confusion(right, p.argmax(1), y, classes)
    return figure


def _confusion(panel: Axes, found: np.ndarray, y: np.ndarray, classes: Sequence[str]) -> None:
    """Rows by true and by most probable class; errors are coloured."""
    size = len(classes)
    table = np.bincount(y * size + found, minlength=size * size).reshape(size, size)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    panel.imshow(share, cmap=DENSITY_MAP, vmin=0, vmax=1)
    if size <= LEGEND:
        for i, j in np.argwhere(table > 0):
            panel.text(
                j,
                i,
                str(table[i, j]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[i, j] > 0.5 else INK,
            )
        names = [plain(name) for name in classes]
        panel.set_xticks(range(size), names, rotation=45 if max(map(len, names)) > 3 else 0)
        panel.set_yticks(range(size), names)
    panel.set(
        xlabel="most probable class", ylabel="true class", title="Rows by true and found class"
    )


@styled
def transfer(
    x: np.ndarray,
    y: np.ndarray,
    moved: np.ndarray,
    paths: np.ndarray,
    path_kinds: Sequence[str],
    classes: Sequence[str],
    columns: Sequence[str] | None = None,
) -> Figure:
    """The same latents in other classes, and interpolations.

    Args:
      moved: [k, M, ...] the first k rows of x, decoded in each of the M classes.
      paths: [P, steps, ...] and a kind for each, such as "within a class" or "between classes".
    """
    project, names = class_plane(x, y, columns)
    data, colours = project(x), class_colours(len(classes))
    flat = lambda rows: project(rows.reshape(-1, *x.shape[1:])).reshape(*rows.shape[:2], 2)
    moved, paths = flat(moved), flat(paths)
    limits = robust_limits(np.concatenate([data, moved.reshape(-1, 2)]), 0.15)
    figure = new_figure(11.0, 1.0 + 4.6 * shape(limits))
    left, right = figure.subplots(1, 2)
    for panel in (left, right):
        panel.scatter(*data[:SHOWN].T, s=3, color="#CCCCCC", linewidths=0, rasterized=True)
        frame(panel, limits, names)
    for index, places in enumerate(moved):
        left.plot(
            *np.stack([np.broadcast_to(data[index], places.shape), places]).transpose(2, 0, 1),
            color=FAINT,
            lw=0.5,
        )
        left.scatter(*places.T, s=22, c=colours, zorder=3, linewidths=0)
        left.plot(*data[index], "o", mfc="none", mec=INK, ms=8, zorder=4)
    for name, colour in list(zip(classes, colours))[:LEGEND]:
        left.plot([], [], "o", color=colour, ms=5, label=plain(name))
    left.legend(loc="upper left", fontsize=8)
    left.set_title("Ringed rows: the same latents in every class")
    for path, kind in zip(paths, path_kinds, strict=True):
        colour = MODEL if kind == path_kinds[0] else DATA
        right.plot(*path.T, "-o", ms=2.5, lw=1.0, color=colour, alpha=0.8)
    for kind, colour in dict.fromkeys(
        zip(path_kinds, (MODEL if k == path_kinds[0] else DATA for k in path_kinds))
    ):
        right.plot([], [], color=colour, label=kind)
    right.legend(loc="upper left")
    right.set_title("Interpolation along straight lines of latents and labels")
    return figure


@styled
def scores_of_unknown(inside: np.ndarray, outside: np.ndarray, name: str, auroc: float) -> Figure:
    """Histograms of -log p(x), nats, of test rows [N] and of rows [K] of a class that was not in
    training."""
    figure = new_figure(7.4, 4.2)
    axes = figure.subplots()
    high = (
        np.quantile(outside[np.isfinite(outside)], 0.95)
        if np.isfinite(outside).any()
        else np.max(inside)
    )
    bins = edges(min(inside.min(), outside.min()), max(np.quantile(inside, 0.999), high), 60)
    axes.hist(
        np.minimum(inside, bins[-1]),
        bins,
        density=True,
        color=DATA,
        alpha=0.5,
        label="test rows of known classes",
    )
    axes.hist(
        np.minimum(outside, bins[-1]),
        bins,
        density=True,
        color=MODEL,
        alpha=0.5,
        label=f"class {name}, not in training",
    )
    axes.set(
        xlabel="-log p(x), nats (the last bin holds all beyond)",
        ylabel="density",
        title=f"AUROC {auroc:.4f}",
    )
    axes.legend()
    return figure


@styled
def curve(
    points: Sequence[Mapping[str, float]], xlabel: str, reference: float | None = None
) -> Figure:
    """Accuracy and likelihood over "value" (log scale), one point per trained model.

    points: with value, accuracy, and bits_per_dim of images or nll_test.
    """
    key, words = (
        ("bits_per_dim", "bits per dimension")
        if "bits_per_dim" in points[0]
        else ("nll_test", "nats")
    )
    figure = new_figure(11.0, 4.2)
    left, right = figure.subplots(1, 2)
    values, accuracy, cost = (
        np.array([point[name] for point in points], float) for name in ("value", "accuracy", key)
    )
    left.plot(values, 100 * accuracy, "-o", color=DATA)
    if reference is not None:
        left.axhline(
            100 * reference, color=TRUTH, ls="--", lw=1.2, label=f"best possible, {reference:.2%}"
        )
        left.legend(loc="lower right")
    left.set(xscale="log", xlabel=xlabel, ylabel="accuracy, %", title="Accuracy")
    left.set_xticks(values, [f"{value:g}" for value in values], rotation=45)
    left.minorticks_off()
    low = min(100 * accuracy.min(), 98.0)
    for panel in (left, right):
        panel.set_ylim(low - 0.05 * (100.5 - low), 100.5)
    right.plot(cost, 100 * accuracy, "-", color=FAINT, lw=0.8)
    right.scatter(cost, 100 * accuracy, 30, c=np.log(values), cmap="viridis")
    for value, n, a in zip(values, cost, accuracy):
        right.annotate(f"{value:g}", (n, 100 * a), (4, 4), textcoords="offset points", fontsize=8)
    right.set(
        xlabel=f"-log p(x) on test rows, {words}",
        ylabel="accuracy, %",
        title=f"Accuracy against {words}, marked by {xlabel}",
    )
    return figure
