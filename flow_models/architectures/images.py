"""Recipes for images [H, W, C]: dequantised levels to latent vectors, coarsest scale first."""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from flow_models.architectures.registry import known_options, refuse_unknown
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.batchnorm import BatchNorm
from flow_models.bijectors.chain import Chain, Repeat, Reversible
from flow_models.bijectors.conv1x1 import Householder, LULinear
from flow_models.bijectors.coupling import CheckerboardCoupling, ConvCoupling, Coupling
from flow_models.bijectors.elementwise import Additive, Affine
from flow_models.bijectors.emerging import EmergingConv
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.levels import Dequantisation, Levels
from flow_models.bijectors.multiscale import MultiScale
from flow_models.bijectors.periodic import PeriodicConv
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.squeeze import Flatten, Squeeze
from flow_models.core.errors import UserError
from flow_models.models.pixels import Pixels

MIXINGS = {
    "lu": LULinear,
    "householder": Householder,
    "periodic": PeriodicConv,
    "emerging": lambda size: Chain([LULinear(size), EmergingConv(size)]),
    "shuffle": lambda size: Permutation(size, "random"),
}
NORMS = {"actnorm": ActNorm, "batch_norm": BatchNorm}
# scales above e per step make training unsteady
COUPLINGS = {"affine": Affine(bound=1.0), "additive": Additive()}


def glow_image(
    shape: Sequence[int],
    levels: int = 3,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    *,
    coupling: str = "affine",
    mixing: str = "lu",
    squeeze: str = "space",
    multiscale: bool = True,
    activation: str = "relu",
    condition_size: int = 0,
    conditioned: int = 0,
    reversible: str = "auto",
    layers_per_loop_body: int = 1,
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Levels of a squeeze and `depth` steps of actnorm, 1x1 convolution and coupling (Glow, Kingma
    and Dhariwal 2018).

    Args:
      shape: (H, W, C) of the images; both sides must be multiples of 2^levels (`Pixels.multiple`
        pads).
      levels, depth: L and K of the paper.
      hidden, activation: of the coupling networks of 3x3, 1x1, ..., 3x3 convolutions.
      coupling: affine, or additive, which preserves volume.
      mixing: of the channels: lu, householder (a rotation), shuffle (a fixed permutation), or
        with 3x3 convolutions (Hoogeboom et al. 2019): periodic, over the edges, or emerging, lu
        and two triangular ones, whose inverse goes row by row.
      squeeze: space, or haar (wavelets).
      multiscale: half of the channels leave after each level, standard normal given the rest;
        otherwise all channels pass all levels.
      condition_size: width of a condition [B, C] that every coupling sees; 0 for none.
      conditioned: number of levels that see the condition, the coarsest ones; 0 for all. Needs
        multiscale.
      reversible: yes trains by inversion, so memory does not grow with depth; no stores what the
        backward pass needs; auto is yes from `REVERSIBLE_FROM` steps per level on.
      layers_per_loop_body: steps in the body of the compiled loop; 0 for no loop.
      seed: of the initial weights.
      **pixels: `bits`, `dequantisation`, `logit`, as in `in_levels_of_pixels`.

    Raises:
      UserError: an unknown name, or levels and conditioned levels that do not fit.
    """
    transform, mix = picked(COUPLINGS, coupling, "coupling"), picked(MIXINGS, mixing, "mixing")

    def level(channels, seen):
        coupled = ConvCoupling(4 * channels, transform, hidden, activation, seen)
        return [
            Squeeze(squeeze),
            repeated(
                Chain([ActNorm(4 * channels), mix(4 * channels), coupled]),
                depth,
                layers_per_loop_body,
                reversible,
            ),
        ]

    layers = at_resolutions(shape, levels, level, multiscale, condition_size, conditioned)
    return in_levels_of_pixels(layers, shape, seed, **pixels)


def realnvp_image(
    shape: Sequence[int],
    levels: int = 2,
    depth: int = 4,
    hidden: Sequence[int] = (64, 64),
    *,
    activation: str = "relu",
    norm: str = "actnorm",
    multiscale: bool = True,
    condition_size: int = 0,
    reversible: str = "auto",
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Levels of checkerboard couplings, a squeeze and channel couplings (Real NVP, Dinh et al.
    2017, section 3.6).

    A level has `depth` couplings of each kind.

    Args:
      norm: actnorm, or batch_norm as in the paper.

    Others as in `glow_image`.
    """

    norm_of = picked(NORMS, norm, "norm")

    def level(channels, seen):
        masks = {
            "transform": COUPLINGS["affine"],
            "hidden": hidden,
            "activation": activation,
            "condition_size": seen,
        }
        board = [
            layer
            for colour in (0, 1)
            for layer in (norm_of(channels), CheckerboardCoupling(channels, colour=colour, **masks))
        ]
        split = [norm_of(4 * channels), ConvCoupling(4 * channels, **masks)]
        boards, splits = (
            Repeat(Chain(each), n, 1) for each, n in ((board, -(-depth // 2)), (split, depth))
        )
        return [_trained(boards, depth, reversible), Squeeze(), _trained(splits, depth, reversible)]

    return in_levels_of_pixels(
        at_resolutions(shape, levels, level, multiscale, condition_size), shape, seed, **pixels
    )


def flat_realnvp(
    shape: Sequence[int],
    depth: int = 8,
    hidden: Sequence[int] = (256, 256),
    *,
    activation: str = "relu",
    condition_size: int = 0,
    layers_per_loop_body: int = 1,
    seed: int = 0,
    **pixels,
) -> FlowBijector:
    """Dense couplings of all pixels as one long vector, shuffled between couplings: a baseline that
    does not know it sees images. Arguments as in `realnvp` and `glow_image`.
    """
    size = shape[0] * shape[1] * shape[2]
    step = Chain(
        [
            ActNorm(size),
            Permutation(size, "random"),
            Coupling(size, Affine(), hidden, activation, condition_size),
        ]
    )
    return in_levels_of_pixels(
        [Flatten(shape), Repeat(step, depth, layers_per_loop_body)], shape, seed, **pixels
    )


def in_levels_of_pixels(
    layers: list[Layer],
    shape: Sequence[int],
    seed: int = 0,
    *,
    bits: int = 8,
    dequantisation: str = "uniform",
    logit: float = 0.0,
    dtype: tf.DType = tf.float32,
) -> FlowBijector:
    """The layers, behind the one that maps pixel levels to small numbers.

    Args:
      bits: of the pixels; x lies in [0, 2^bits).
      dequantisation: uniform, or variational (Flow++, Ho et al. 2019).
      logit: a of logit(a/2 + (1 - a) x / 2^bits); 0 for the linear map.

    Raises:
      UserError: another dequantisation, or a logit outside [0, 1).
    """
    if dequantisation not in ("uniform", "variational"):
        raise UserError(f"dequantisation is {dequantisation!r}, must be uniform or variational")
    front: list[Layer] = (
        [Dequantisation(shape[2], 2**bits)] if dequantisation == "variational" else []
    )
    return FlowBijector(
        Chain([*front, Levels(2**bits, logit), *layers]), seed, dtype, event_ndims=(3, 1)
    )


def at_resolutions(shape, levels, level_of, multiscale, condition_size, conditioned=0):
    """Layers from images to latents, with a learned prior at the end of each level. The coarsest
    `conditioned` levels see the condition; 0 stands for all."""
    if levels < 1:
        raise UserError(f"levels is {levels}, must be at least 1")
    if condition_size and (not 0 <= conditioned <= levels or conditioned and not multiscale):
        raise UserError(
            f"conditioned is {conditioned}, must be 0 to {levels}, the number of levels, where"
            " multiscale, else 0"
        )
    free = levels - conditioned if conditioned and condition_size else 0
    height, width, channels = shape
    if not multiscale:
        layers = [
            layer
            for number in range(levels)
            for layer in level_of(channels * 4**number, condition_size)
        ]
        whole = (height >> levels, width >> levels, channels * 4**levels)
        return [*layers, ActNorm(whole[2]), Flatten(whole)]
    built = []
    for number in range(levels):
        inside, last, seen = (
            4 * channels,
            number == levels - 1,
            0 if number < free else condition_size,
        )
        prior = ActNorm(inside) if last else ConvCoupling(inside, Affine(), (), "relu", seen)
        built.append(Chain([*level_of(channels, seen), prior]))
        channels = inside // 2
    return [MultiScale(shape, built, free)]


REVERSIBLE_FROM = 16


def repeated(
    step: Layer, depth: int, layers_per_loop_body: int, reversible: str, keep: str = "everything"
) -> Layer:
    """`depth` equal steps of a level, trained by inversion where `reversible` says so."""
    return _trained(Repeat(step, depth, layers_per_loop_body, keep), depth, reversible)


def _trained(layer, depth, reversible):
    if reversible not in ("auto", "yes", "no"):
        raise UserError(f"reversible is {reversible!r}, must be auto, yes or no")
    by_inversion = depth >= REVERSIBLE_FROM if reversible == "auto" else reversible == "yes"
    return Reversible(layer) if by_inversion else layer


def picked(table, name, what):
    """table[name]; raises UserError where there is none."""
    if name not in table:
        raise UserError(f"no {what} {name!r}; there are {', '.join(table)}")
    return table[name]


ARCHITECTURES: dict[str, Callable[..., FlowBijector]] = {
    "glow": glow_image,
    "realnvp_image": realnvp_image,
    "flat_realnvp": flat_realnvp,
}


MOST_PADDED = 4  # most pixels of a padded image, as a multiple of its own


def pixels_of(architecture: str, shape: Sequence[int], bits: int, levels: int) -> Pixels:
    """The codec for images of a shape, padded as `levels` need.

    Args:
      architecture: its name; flat_realnvp needs no padding.
      shape: (H, W, C).
      bits: of a pixel, 1 to 8.
      levels: halvings of the resolution.

    Raises:
      UserError: there is no level, or so many that the network would see mostly padding.
    """
    if levels < 1:
        raise UserError(f"levels is {levels}, must be at least 1")
    height, width, channels = shape
    multiple = 1 if architecture == "flat_realnvp" else 2**levels
    pixels = Pixels(height, width, channels, bits, multiple)
    if math.prod(pixels.padded_shape) > MOST_PADDED * math.prod(pixels.shape):
        raise UserError(
            f"levels is {levels}: pictures of {pixels.height}x{pixels.width} would be padded to "
            f"{pixels.padded_shape[0]}x{pixels.padded_shape[1]}; give fewer levels, or a larger"
            " --image-size"
        )
    return pixels


def build(name: str, pixels: Pixels, **options) -> FlowBijector:
    """The architecture `name` for images as `pixels` describes them, with the options among
    `options` that it has.

    Args:
      name: glow, realnvp or another one of images.
      options: levels, depth, hidden and others of the architecture.

    Raises:
      UserError: there is no architecture of this name, an option that none has, or its front takes
        no pictures with noise.
    """
    recipe = picked(ARCHITECTURES, name, "architecture of images")
    if pixels.noise and (options.get("logit") or options.get("dequantisation") == "variational"):
        raise UserError(
            "pictures with noise leave the range of pixels: give neither a logit nor the"
            " variational dequantisation with it"
        )
    refuse_unknown(options, *ARCHITECTURES.values(), in_levels_of_pixels)
    return recipe(
        pixels.padded_shape,
        **known_options({**options, "bits": pixels.bits}, recipe, in_levels_of_pixels),
    )
