"""Recipes that read like their papers: for vectors and for images."""

from flow_models.architectures.vectors import (
    ARCHITECTURES,
    build,
    glow,
    iaf,
    in_units_of_the_data,
    known_options,
    maf,
    realnvp,
    spline_coupling,
)

__all__ = [
    "ARCHITECTURES",
    "build",
    "glow",
    "iaf",
    "in_units_of_the_data",
    "known_options",
    "maf",
    "realnvp",
    "spline_coupling",
]
