"""Layers whose bounds are counted as a codec counts its columns."""

import dataclasses

from flow_models.bijectors.layer import Layer
from flow_models.bijectors.missing import WithMissing
from flow_models.bijectors.mixed import Mixed
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.core.errors import UserError
from flow_models.models.codecs import Codec
from flow_models.models.columns import Columns
from flow_models.models.kinds import Continuous
from flow_models.models.notes import bounds_of


def rescaled(layer: Layer, columns: Codec) -> Layer:
    """The layer, made for the user's numbers, with bounds of the numbers of the network.

    Raises:
      UserError: bounds of a layer of one's own, of columns that are centred or scaled.
    """
    if not isinstance(columns, Columns):
        return layer
    sides = [getattr(kind, "row_bounds", [None, None]) for kind in columns.kinds]
    found = _with(layer, sides)
    for kind, name, old, new in zip(columns.kinds, columns.names, sides, bounds_of(found) or ()):
        if isinstance(kind, Continuous) and list(new) != list(old):
            raise UserError(
                f"column {name!r} is centred by {kind.centre:.10g} and scaled by {kind.scale:.4g}"
                " for 32-bit numbers, and its bounds are not: subtract an offset from both"
            )
    return found


def _with(layer, sides):
    """The layer with bounds (lower, upper) of each column."""
    if isinstance(layer, Mixed):
        columns = [
            dataclasses.replace(cdf, lowest=low, highest=high)
            if isinstance(cdf, NumberCDF) and (low, high) != (None, None)
            else cdf
            for cdf, (low, high) in zip(layer.columns, sides, strict=True)
        ]
        return dataclasses.replace(layer, columns=tuple(columns))
    inner = getattr(layer, "layer", None)
    if isinstance(inner, Layer):
        layer = dataclasses.replace(layer, layer=_with(inner, sides))
    if isinstance(layer, WithMissing):
        lower, upper = zip(*sides, strict=True)
        proposal = dataclasses.replace(layer.proposal, lower=lower, upper=upper)
        layer = dataclasses.replace(layer, proposal=proposal)
    return layer
