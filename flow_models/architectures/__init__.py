"""Recipes that read like their papers, for vectors and for images."""

from flow_models.architectures.families import planar, radial, sylvester
from flow_models.architectures.free_form import residual
from flow_models.architectures.images import build as build_image
from flow_models.architectures.images import pixels_of
from flow_models.architectures.vectors import (
    ARCHITECTURES,
    build,
    class_mixture,
    framed,
    glow,
    iaf,
    in_units_of_the_data,
    known_options,
    maf,
    mixed,
    realnvp,
    spline_coupling,
    with_missing,
)

__all__ = [
    "ARCHITECTURES",
    "build",
    "build_image",
    "class_mixture",
    "framed",
    "glow",
    "iaf",
    "in_units_of_the_data",
    "known_options",
    "maf",
    "mixed",
    "pixels_of",
    "planar",
    "radial",
    "realnvp",
    "residual",
    "spline_coupling",
    "sylvester",
    "with_missing",
]
