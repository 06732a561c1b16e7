"""Recipes for further families of flows of vectors; see doc/families.md."""

from collections.abc import Sequence

from flow_models.architectures.vectors import ARCHITECTURES, in_units_of_the_data
from flow_models.bijectors.chain import Repeat
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.planar import Planar, Radial
from flow_models.bijectors.sylvester import Sylvester


def planar(
    size: int,
    depth: int = 32,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    *,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Planar flows (Rezende and Mohamed 2015). A layer is one ridge, so take many: 32 or more.

    Args:
      hidden, activation: of the network that reads a condition; no other network is needed.
      (the others as in `realnvp`)
    """
    step = Planar(size, condition_size, hidden, activation)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


def radial(
    size: int,
    depth: int = 32,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    *,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Radial flows (Rezende and Mohamed 2015), one bump a layer. Arguments as in `planar`."""
    step = Radial(size, condition_size, hidden, activation)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


def sylvester(
    size: int,
    depth: int = 16,
    hidden: Sequence[int] = (64,),
    activation: str = "relu",
    *,
    units: int = 0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Sylvester flows with Householder reflections (van den Berg et al. 2018).

    Args:
      units: ridges a layer, at most `size`; 0 for `size`.
      (the others as in `planar`)
    """
    step = Sylvester(size, condition_size, hidden, activation, units)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


ARCHITECTURES.update(planar=planar, radial=radial, sylvester=sylvester)
