"""Recipes that read like their papers, for vectors and for images."""

from flow_models.architectures.around import class_mixture, framed, with_missing
from flow_models.architectures.columns import mixed, of_whole_numbers
from flow_models.architectures.families import (
    hint,
    hyperbolic,
    irim,
    naf,
    planar,
    radial,
    realnvp_batch_norm,
    sliced,
    sylvester,
    torus,
    umnn,
)
from flow_models.architectures.features import fastflow
from flow_models.architectures.free_form import (
    ffjord,
    flow_matching,
    ot_flow,
    residual,
    residual_attention,
)
from flow_models.architectures.image_families import hyperbolic_image, irim_image
from flow_models.architectures.images import build as build_image
from flow_models.architectures.images import pixels_of
from flow_models.architectures.of_kinds import argmax
from flow_models.architectures.registry import (
    ARCHITECTURES,
    build,
    in_units_of_the_data,
    known_options,
)
from flow_models.architectures.stochastic import stochastic
from flow_models.architectures.transformers import jet, tarflow
from flow_models.architectures.vectors import glow, iaf, maf, realnvp, spline_coupling
from flow_models.architectures.wider import (
    absolute,
    augmented,
    augmented_ode,
    flow_mixture,
    mixture,
    noise_columns,
    rad,
    resampled,
    vae,
)

__all__ = [
    "ARCHITECTURES",
    "absolute",
    "argmax",
    "augmented",
    "augmented_ode",
    "build",
    "build_image",
    "class_mixture",
    "flow_mixture",
    "fastflow",
    "ffjord",
    "flow_matching",
    "framed",
    "glow",
    "hint",
    "hyperbolic",
    "hyperbolic_image",
    "iaf",
    "in_units_of_the_data",
    "irim",
    "irim_image",
    "jet",
    "known_options",
    "maf",
    "mixed",
    "mixture",
    "naf",
    "noise_columns",
    "of_whole_numbers",
    "ot_flow",
    "pixels_of",
    "planar",
    "rad",
    "radial",
    "realnvp",
    "resampled",
    "residual",
    "residual_attention",
    "realnvp_batch_norm",
    "spline_coupling",
    "sliced",
    "stochastic",
    "sylvester",
    "tarflow",
    "torus",
    "umnn",
    "vae",
    "with_missing",
]
