"""Recipes for further families of flows of vectors; see doc/families.md."""

import math
from collections.abc import Sequence

import tensorflow as tf

from flow_models.architectures.columns import with_bounds
from flow_models.architectures.registry import ARCHITECTURES, in_units_of_the_data
from flow_models.architectures.vectors import require_pairs
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.batchnorm import BatchNorm
from flow_models.bijectors.chain import Chain, Repeat, Reversible
from flow_models.bijectors.circular import CircularCoupling, CircularSpline, OnTorus
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.hint import RecursiveCoupling
from flow_models.bijectors.hyperbolic import Hyperbolic
from flow_models.bijectors.integral import MonotonicIntegral
from flow_models.bijectors.on_columns import OnColumns
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.planar import Planar, Radial
from flow_models.bijectors.rotated import Rotated
from flow_models.bijectors.sigmoidal import DeepSigmoid
from flow_models.bijectors.sliced import Slice
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.sylvester import Sylvester


@with_bounds
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

    Others as in `realnvp`.
    """
    step = Planar(size, condition_size, hidden, activation)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
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


@with_bounds
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

    Others as in `planar`.
    """
    step = Sylvester(size, condition_size, hidden, activation, units)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def naf(
    size: int,
    depth: int = 2,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    units: int = 16,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Neural autoregressive flow (Huang et al. 2018): `maf` with sums of sigmoids.

    Args:
      units: sigmoids of each number.

    Others as in `realnvp`.
    """
    step = _autoregressive(size, DeepSigmoid(units), hidden, activation, condition_size)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def umnn(
    size: int,
    depth: int = 2,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    units: int = 8,
    bound: float = 4.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Unconstrained monotonic flow (Wehenkel and Louppe 2019): `maf` with integrals.

    Args:
      units: of the function that is integrated for each number.
      bound: of the interval, in standard deviations; the map is straight beyond.

    Others as in `realnvp`.
    """
    transform = MonotonicIntegral(units, bound)
    step = _autoregressive(size, transform, hidden, activation, condition_size)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def realnvp_batch_norm(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Real NVP with batch normalisation after every coupling, as in its paper (Dinh,
    Sohl-Dickstein and Bengio 2017). Arguments as in `realnvp`."""
    require_pairs("realnvp_batch_norm", size)
    coupling = Coupling(size, Affine(), hidden, activation, condition_size)
    step = Chain([coupling, BatchNorm(size)])
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def hint(
    size: int,
    depth: int = 4,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    reversible: bool = True,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Recursive affine couplings behind learned linear maps (HINT, Kruse et al. 2021).

    Args:
      reversible: trains by inversion, in memory that does not grow with depth.

    Others as in `realnvp`.
    """
    require_pairs("hint", size)
    coupling = RecursiveCoupling(size, Affine(), hidden, activation, condition_size)
    steps = _repeated([LULinear(size), coupling], depth, layers_per_loop_body, reversible)
    return in_units_of_the_data([steps], size, seed, **data)


@with_bounds
def hyperbolic(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (128,),
    activation: str = "tanh",
    *,
    reversible: bool = True,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Leapfrog steps behind learned linear maps, which scale (hyperbolic networks, Lensink et al.
    2022).

    Args:
      size: an even number.
      hidden: its first number is the width of a step.

    Others as in `hint`.
    """
    step = Hyperbolic(size, hidden[0], activation, condition_size)
    steps = _repeated([LULinear(size), step], depth, layers_per_loop_body, reversible)
    return in_units_of_the_data([steps], size, seed, **data)


@with_bounds
def irim(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    reversible: bool = True,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Additive couplings in learned orthogonal coordinates behind actnorms, which scale: the
    invertible layers of i-RIM (Putzky and Welling 2019). Arguments as in `hint`."""
    require_pairs("irim", size)
    coupling = Rotated(size, Coupling(size, Additive(), hidden, activation, condition_size))
    steps = _repeated([ActNorm(size), coupling], depth, layers_per_loop_body, reversible)
    return in_units_of_the_data([steps], size, seed, **data)


@with_bounds
def sliced(
    size: int,
    depth: int = 3,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Spline couplings, then half of the numbers leave given the others (tensor slice, SurVAE
    flows, Nielsen et al. 2020), and again until one is left.

    Args:
      depth: couplings of each level.

    Others as in `spline_coupling`.
    """
    require_pairs("sliced", size)
    transform, layers, left = Composed(Affine(), RationalQuadratic(bins, bound)), [], size
    while left > 1:
        coupling = Coupling(left, transform, hidden, activation, condition_size)
        cut = Slice(left, transform, hidden, activation, condition_size, kept=left // 2)
        level = Chain([Repeat(coupling, depth, layers_per_loop_body), cut])
        layers.append(OnColumns(level, size, range(left)))
        left //= 2
    last = Autoregressive(1, transform, hidden, activation, condition_size)
    return in_units_of_the_data([*layers, OnColumns(last, size, [0])], size, seed, **data)


def torus(
    size: int,
    depth: int = 6,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    bins: int = 8,
    period: float = 2 * math.pi,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    dtype: tf.DType = tf.float32,
) -> FlowBijector:
    """Couplings of angles with circular splines (Rezende et al. 2020); densities are periodic.

    Args:
      size: angles, at least 2. Angles among other columns are of the kind circular (doc/tables.md).
      bins: of the splines.
      period: of all angles.

    Others as in `realnvp`.
    """
    require_pairs("torus", size)
    spline = CircularSpline(bins)
    coupling = CircularCoupling(size, spline, hidden, activation, condition_size)
    layer = OnTorus(Repeat(coupling, depth, layers_per_loop_body), period)
    return FlowBijector(layer, seed, dtype)


def _repeated(layers, depth, layers_per_loop_body, reversible):
    steps = Repeat(Chain(layers), depth, layers_per_loop_body)
    return Reversible(steps) if reversible else steps


def _autoregressive(size, transform, hidden, activation, condition_size):
    step = Autoregressive(size, transform, hidden, activation, condition_size)
    return Chain([step, Permutation(size, "reverse")])


ARCHITECTURES.update(
    planar=planar,
    radial=radial,
    sylvester=sylvester,
    naf=naf,
    umnn=umnn,
    realnvp_batch_norm=realnvp_batch_norm,
    hint=hint,
    hyperbolic=hyperbolic,
    irim=irim,
    sliced=sliced,
)
