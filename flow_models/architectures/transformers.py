"""Recipes for images whose conditioners are transformers of patches."""

from collections.abc import Sequence

from flow_models.architectures.images import (
    ARCHITECTURES,
    COUPLINGS,
    MIXINGS,
    in_levels_of_pixels,
    picked,
    repeated,
)
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.chain import Chain
from flow_models.bijectors.elementwise import Affine
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.patches import (
    HalfTurn,
    PatchAutoregressive,
    PatchCheckerboard,
    PatchCoupling,
    Roll,
)
from flow_models.bijectors.squeeze import Flatten, Squeeze
from flow_models.core.errors import UserError


def tarflow(
    shape: Sequence[int],
    levels: int = 2,
    depth: int = 4,
    hidden: Sequence[int] = (128, 128),
    *,
    heads: int = 4,
    squeeze: str = "space",
    activation: str = "gelu",
    condition_size: int = 0,
    reversible: str = "auto",
    layers_per_loop_body: int = 1,
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Autoregressive layers of patches, each in the opposite order of the one before, with causal
    transformers (TarFlow: Normalizing flows are capable generative models, Zhai et al. 2024).

    Densities take one pass a layer, samples as many short ones as there are patches.

    Args:
      levels: patches are squares of 2^levels pixels.
      depth: layers.
      hidden: a block of each transformer for each number, which is its width.
      heads: of attention.
      condition_size: width of a condition [B, C] that every layer sees; 0 for none.
      reversible: yes trains by inversion, which is slow here; otherwise a layer stores its input
        alone.

    Others as in `glow_image`.

    Raises:
      UserError: sides that are no multiples of a patch, or widths and heads that do not fit.
    """
    grid, size = _grid(shape, levels)
    layer = PatchAutoregressive(
        size, Affine(), hidden, activation, condition_size, grid=grid, heads=heads
    )
    step = Chain([ActNorm(size), layer, HalfTurn()])
    by_inversion = "no" if reversible == "auto" else reversible
    layers = repeated(step, depth, layers_per_loop_body, by_inversion, "inputs")
    return _of_patches(layers, shape, levels, squeeze, seed, **pixels)


def jet(
    shape: Sequence[int],
    levels: int = 2,
    depth: int = 4,
    hidden: Sequence[int] = (128,),
    *,
    heads: int = 4,
    coupling: str = "affine",
    mixing: str = "shuffle",
    squeeze: str = "space",
    activation: str = "gelu",
    condition_size: int = 0,
    reversible: str = "auto",
    layers_per_loop_body: int = 1,
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Couplings of patches with vision transformers (Jet: a modern transformer-based normalizing
    flow, Kolesnikov, Pinto and Tschannen 2024).

    Args:
      depth: rounds of three couplings: two of channels and one of a checkerboard of patches, whose
        colours change from round to round.
      mixing: of the channels of a patch, as in `glow_image`; the paper's is shuffle.

    Others as in `tarflow` and `glow_image`.
    """
    grid, size = _grid(shape, levels)
    transform = picked(COUPLINGS, coupling, "coupling")
    mix = picked(MIXINGS, mixing, "mixing")
    shared = {"transform": transform, "hidden": hidden, "activation": activation}
    shared |= {"condition_size": condition_size, "grid": grid, "heads": heads}
    channels = [mix(size), PatchCoupling(size, **shared)]
    step = Chain([ActNorm(size), *channels, *channels, PatchCheckerboard(size, **shared), Roll()])
    layers = repeated(step, depth, layers_per_loop_body, reversible)
    return _of_patches(layers, shape, levels, squeeze, seed, **pixels)


def _grid(shape, levels):
    """Rows and columns of patches, and the channels of one.

    Raises:
      UserError: the sides are no multiples of a patch.
    """
    side = 2**levels
    if levels < 0 or shape[0] % side or shape[1] % side:
        raise UserError(
            f"images of {shape[0]}x{shape[1]} have no whole patches of 2^levels = {side} pixels;"
            " take fewer levels, or let the model pad them"
        )
    return (shape[0] // side, shape[1] // side), shape[2] * side**2


def _of_patches(layers, shape, levels, squeeze, seed, **pixels):
    """Squeezes in front, and the latents of all patches in one row."""
    (height, width), size = _grid(shape, levels)
    last = [ActNorm(size), Flatten((height, width, size))]
    return in_levels_of_pixels([*[Squeeze(squeeze)] * levels, layers, *last], shape, seed, **pixels)


ARCHITECTURES.update(tarflow=tarflow, jet=jet)
