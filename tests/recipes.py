"""Recipes of vectors as parameters of tests: those that compile for long are slow."""

import pytest

from flow_models.architectures import ARCHITECTURES

QUICK = ("realnvp", "spline_coupling", "maf", "iaf", "glow", "planar", "sylvester", "hint", "rad")


def architectures() -> list:
    """Every architecture, by name."""
    return [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in ARCHITECTURES
    ]
