"""Recipes for further families of flows of images; see doc/families.md."""

from collections.abc import Sequence

from flow_models.architectures.images import (
    ARCHITECTURES,
    at_resolutions,
    in_levels_of_pixels,
    repeated,
)
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.chain import Chain
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import ConvCoupling
from flow_models.bijectors.elementwise import Additive
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.hyperbolic import Hyperbolic
from flow_models.bijectors.rotated import Rotated
from flow_models.bijectors.squeeze import Squeeze


def hyperbolic_image(
    shape: Sequence[int],
    levels: int = 3,
    depth: int = 8,
    hidden: Sequence[int] = (128,),
    *,
    squeeze: str = "haar",
    multiscale: bool = True,
    activation: str = "relu",
    condition_size: int = 0,
    conditioned: int = 0,
    reversible: str = "yes",
    layers_per_loop_body: int = 1,
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Wavelets and leapfrog steps behind 1x1 convolutions, which scale (fully hyperbolic networks,
    Lensink, Peters and Haber 2022).

    Args:
      hidden: its first number is the width of a step.

    Others as in `glow_image`.
    """

    def level(channels, seen):
        step = Hyperbolic(4 * channels, hidden[0], activation, seen, images=True)
        step = Chain([LULinear(4 * channels), step])
        return [Squeeze(squeeze), repeated(step, depth, layers_per_loop_body, reversible)]

    layers = at_resolutions(shape, levels, level, multiscale, condition_size, conditioned)
    return in_levels_of_pixels(layers, shape, seed, **pixels)


def irim_image(
    shape: Sequence[int],
    levels: int = 3,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    *,
    squeeze: str = "space",
    multiscale: bool = True,
    activation: str = "relu",
    condition_size: int = 0,
    conditioned: int = 0,
    reversible: str = "yes",
    layers_per_loop_body: int = 1,
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Actnorms and additive couplings in learned orthogonal coordinates, the invertible layers of
    i-RIM (Putzky and Welling 2019). Arguments as in `glow_image`."""

    def level(channels, seen):
        inside = 4 * channels
        coupling = ConvCoupling(inside, Additive(), hidden, activation, seen)
        step = Chain([ActNorm(inside), Rotated(inside, coupling)])
        return [Squeeze(squeeze), repeated(step, depth, layers_per_loop_body, reversible)]

    layers = at_resolutions(shape, levels, level, multiscale, condition_size, conditioned)
    return in_levels_of_pixels(layers, shape, seed, **pixels)


ARCHITECTURES.update(hyperbolic_image=hyperbolic_image, irim_image=irim_image)
