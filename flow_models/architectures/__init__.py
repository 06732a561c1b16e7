"""Recipes that read like their papers, for vectors and for images."""

from flow_models.architectures.families import (
    hint,
    hyperbolic,
    irim,
    naf,
    planar,
    radial,
    realnvp_batch_norm,
    sylvester,
    torus,
    umnn,
)
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
    "hint",
    "hyperbolic",
    "iaf",
    "in_units_of_the_data",
    "irim",
    "known_options",
    "maf",
    "mixed",
    "naf",
    "pixels_of",
    "planar",
    "radial",
    "realnvp",
    "residual",
    "realnvp_batch_norm",
    "spline_coupling",
    "sylvester",
    "torus",
    "umnn",
    "with_missing",
]
