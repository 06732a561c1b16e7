"""Recipes for vectors that read like their papers. Each returns a `FlowBijector`, a `tfb.Bijector`
whose forward carries data to latents."""

from collections.abc import Sequence

from flow_models.architectures.columns import with_bounds
from flow_models.architectures.registry import ARCHITECTURES, in_units_of_the_data
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain, Inverse, Repeat
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.errors import UserError


@with_bounds
def realnvp(
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
    """Affine couplings that swap the halves between them (Real NVP, Dinh, Sohl-Dickstein and Bengio
    2017).

    Args:
      size: dimensions D of a vector, at least 2.
      depth: number of couplings.
      hidden: widths of the hidden layers of the conditioner networks.
      activation: relu, silu, tanh or gelu.
      condition_size: width of a condition; 0 for none.
      layers_per_loop_body: layers in the body of the compiled loop; 0 for no loop (see `Repeat`).
      seed: of the initial weights.
      **data: `standardise`, `unskew`, `base`, `dtype`, as in `in_units_of_the_data`; `lower` and
        `upper`, bounds of each column, None where there is none: the density may be positive there.

    Raises:
      UserError: fewer than 2 dimensions.

    Example:
      >>> f = realnvp(2)
      >>> base = tfd.MultivariateNormalDiag(tf.zeros(2))
      >>> density = tfd.TransformedDistribution(base, tfb.Invert(f))
    """
    require_pairs("realnvp", size)
    coupling = Coupling(size, Affine(), hidden, activation, condition_size)
    return in_units_of_the_data([Repeat(coupling, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def spline_coupling(
    size: int,
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 8,
    bound: float = 5.0,
    affine: bool = False,
    linear: bool = False,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Rational-quadratic spline couplings (Neural Spline Flows, Durkan et al. 2019).

    Args:
      bins, bound: of the splines, which are the identity outside [-bound, bound].
      affine: puts an affine map from the same network in front of each spline. It also acts outside
        the bound, so tails may bend (banana, rosenbrock).
      linear: puts an LU linear layer before each coupling, which starts at a random rotation.

    Others as in `realnvp`.
    """
    require_pairs("spline_coupling", size)
    spline = RationalQuadratic(bins, bound)
    transform = Composed(Affine(), spline) if affine else spline
    step = Coupling(size, transform, hidden, activation, condition_size)
    return in_units_of_the_data(
        [Repeat(_maybe_linear(step, size, linear), depth, layers_per_loop_body)], size, seed, **data
    )


@with_bounds
def maf(
    size: int,
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 0,
    bound: float = 5.0,
    log_scale: float = 3.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Masked autoregressive flow that reverses the order between layers (Papamakarios, Pavlakou and
    Murray 2017).

    Densities are fast (one pass), samples slow (`size` passes). `bins` > 0 puts splines behind the
    affine maps. Others as in `spline_coupling`.

    Args:
      log_scale: bound of the logarithm of the scale of one layer; a funnel needs a wide one.
    """
    step = _autoregressive(size, hidden, activation, bins, bound, condition_size, log_scale)
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def iaf(
    size: int,
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 0,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Inverse autoregressive flow (Kingma et al. 2016): the inverse of `maf`, with fast samples and
    slow densities.

    Others as in `maf`.
    """
    step = _autoregressive(size, hidden, activation, bins, bound, condition_size)
    steps = Inverse(Repeat(step, depth, layers_per_loop_body))
    return in_units_of_the_data([steps], size, seed, **data)


@with_bounds
def glow(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    additive: bool = False,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Steps of actnorm, LU linear map and coupling for vectors (Glow, Kingma and Dhariwal 2018).

    `additive` couplings keep volumes. Others as in `realnvp`.
    """
    require_pairs("glow", size)
    coupling = Coupling(
        size, Additive() if additive else Affine(), hidden, activation, condition_size
    )
    step = Chain([ActNorm(size), LULinear(size), coupling])
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


def _autoregressive(size, hidden, activation, bins, bound, condition_size, log_scale=3.0):
    affine = Affine(log_scale)
    transform = Composed(affine, RationalQuadratic(bins, bound)) if bins else affine
    step = Autoregressive(size, transform, hidden, activation, condition_size)
    return Chain([step, Permutation(size, "reverse")])


def _maybe_linear(step, size, linear):
    return Chain([LULinear(size), step]) if linear else step


def require_pairs(name: str, size: int) -> None:
    """Refuses vectors that cannot be split in two."""
    if size < 2:
        raise UserError(
            f"{name} splits a vector in two and needs at least 2 dimensions, got {size}; use maf"
            " for one"
        )


ARCHITECTURES.update(realnvp=realnvp, spline_coupling=spline_coupling, maf=maf, iaf=iaf, glow=glow)
