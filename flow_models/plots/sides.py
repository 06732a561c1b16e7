"""The two sides of a network as a small drawing: blocks of inputs, outputs and given values."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from flow_models.plots.style import new_figure

COLOURS = {"x": "#4c78a8", "y": "#f58518", "z": "#9d9da1"}
NOISE = "#d8d8da"  # pad, eps and other blocks of noise
LEAST = 0.14  # share of a side that its smallest block is drawn with


def sides(partition: Any) -> Figure:
    """Inputs on the left, outputs on the right, what is given above; block heights follow widths.

    Args:
      partition: has `inputs`, `outputs` and `given`, each block -> width.
    """
    figure = new_figure(5.2, 2.2)
    draw_sides(figure.add_subplot(), partition)
    return figure


def draw_sides(axes: Any, partition: Any) -> None:
    """The same on axes of a larger figure."""
    _side(axes, 0.02, partition.inputs, "inputs")
    _side(axes, 0.72, partition.outputs, "outputs")
    axes.add_patch(Rectangle((0.40, 0.2), 0.20, 0.5, facecolor="white", edgecolor="black"))
    axes.text(0.50, 0.45, "f", ha="center", va="center", style="italic", fontsize=14)
    for start, end in (((0.29, 0.45), (0.39, 0.45)), ((0.61, 0.45), (0.71, 0.45))):
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="<|-|>", mutation_scale=10))
    if partition.given:
        said = ", ".join(f"{name} ({width:,})" for name, width in partition.given.items())
        axes.text(0.50, 0.93, f"given {said}", ha="center", va="center", fontsize=9)
        axes.add_patch(
            FancyArrowPatch((0.50, 0.88), (0.50, 0.71), arrowstyle="-|>", mutation_scale=10)
        )
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")


def _side(axes, left: float, blocks: dict[str, int], title: str) -> None:
    """A column of blocks from the top down, between 0.08 and 0.82."""
    total = sum(blocks.values())
    shares = [max(width / total, LEAST) for width in blocks.values()]
    top = 0.82
    for (name, width), share in zip(blocks.items(), shares, strict=True):
        height = 0.74 * share / sum(shares)
        colour = COLOURS.get(name, NOISE)
        axes.add_patch(
            Rectangle((left, top - height), 0.26, height, facecolor=colour, edgecolor="white")
        )
        axes.text(
            left + 0.13,
            top - height / 2,
            f"{name}  ({width:,})",
            ha="center",
            va="center",
            fontsize=9,
        )
        top -= height
    axes.text(left + 0.13, 0.93, title, ha="center", va="center", fontsize=9)
