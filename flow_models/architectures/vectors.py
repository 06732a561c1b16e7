"""Recipes that read like their papers. Each gives a `FlowBijector`, a `tfb.Bijector` whose forward
is data to latent."""

import inspect
from collections.abc import Callable, Sequence

import tensorflow as tf

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain, Inverse, Repeat
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.domain import Domain, Standardise
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.yeo_johnson import YeoJohnson
from flow_models.core.errors import UserError


def realnvp(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    condition_size: int = 0,
    unroll: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Affine couplings, halves swapped between them (Real NVP, Dinh, Sohl-Dickstein and Bengio
    2017).

    Args:
      size: dimensions D of a vector, at least 2.
      depth: couplings.
      hidden, activation: of the conditioners.
      condition_size: width of a condition; 0 for none.
      unroll: layers in the body of the compiled loop; 0 for no loop (see `Repeat`).
      seed: of the initial weights.
      **data: `standardise`, `lower`, `upper`, as in `in_units_of_the_data`.

    Example:
      >>> f = realnvp(2)
      >>> density = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(2)), tfb.Invert(f))
    """
    _require_pairs("realnvp", size)
    coupling = Coupling(size, Affine(), hidden, activation, condition_size)
    return in_units_of_the_data([Repeat(coupling, depth, unroll)], size, seed, **data)


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
    unroll: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Rational-quadratic spline couplings (Neural Spline Flows, Durkan et al. 2019).

    Args:
      bins, bound: of the splines, which are the identity outside [-bound, bound].
      affine: an affine coupling in front of each spline, from the same network; it carries what
        lies outside the bound, so tails that bend (banana, rosenbrock) are handled.
      linear: an LU linear layer before each coupling, started at a random rotation, instead of the
        swap alone.
      (the others as in `realnvp`)
    """
    _require_pairs("spline_coupling", size)
    spline = RationalQuadratic(bins, bound)
    transform = Composed(Affine(), spline) if affine else spline
    step = Coupling(size, transform, hidden, activation, condition_size)
    return in_units_of_the_data(
        [Repeat(_maybe_linear(step, size, linear), depth, unroll)], size, seed, **data
    )


def maf(
    size: int,
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 0,
    bound: float = 5.0,
    condition_size: int = 0,
    unroll: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Masked autoregressive flow, order reversed between layers (Papamakarios, Pavlakou and Murray
    2017).

    Fast densities (one pass), slow samples (`size` passes). `bins` > 0: splines on the affine maps.
    Others as in `spline_coupling`.
    """
    return in_units_of_the_data(
        [_autoregressive(size, depth, hidden, activation, bins, bound, condition_size, unroll)],
        size,
        seed,
        **data,
    )


def iaf(
    size: int,
    depth: int = 3,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 0,
    bound: float = 5.0,
    condition_size: int = 0,
    unroll: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Inverse autoregressive flow (Kingma et al. 2016): `maf` the other way round, fast samples and
    slow densities."""
    steps = _autoregressive(size, depth, hidden, activation, bins, bound, condition_size, unroll)
    return in_units_of_the_data([Inverse(steps)], size, seed, **data)


def glow(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    additive: bool = False,
    condition_size: int = 0,
    unroll: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Steps of actnorm, LU linear map and coupling, for vectors (Glow, Kingma and Dhariwal
    2018)."""
    _require_pairs("glow", size)
    coupling = Coupling(
        size, Additive() if additive else Affine(), hidden, activation, condition_size
    )
    step = Chain([ActNorm(size), LULinear(size), coupling])
    return in_units_of_the_data([Repeat(step, depth, unroll)], size, seed, **data)


ARCHITECTURES: dict[str, Callable[..., FlowBijector]] = {
    "realnvp": realnvp,
    "spline_coupling": spline_coupling,
    "maf": maf,
    "iaf": iaf,
    "glow": glow,
}


def build(
    name: str,
    size: int,
    *,
    summary: int = 0,
    summary_hidden: Sequence[int] = (128,),
    condition_size: int = 0,
    **options,
) -> FlowBijector:
    """The architecture `name` with those of `options` that it has.

    Args:
      summary: columns that a network of widths `summary_hidden` makes of the condition for all
        layers; 0: they see it whole.

    Raises:
      UserError: no architecture of that name, or a summary of no condition.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    if summary < 0 or summary and not condition_size:
        raise UserError(f"summary is {summary}: it is a number of columns, of a condition")
    bijector = ARCHITECTURES[name](
        size,
        condition_size=summary or condition_size,
        **known_options(options, ARCHITECTURES[name], in_units_of_the_data),
    )
    if not summary:
        return bijector
    network = MLP(condition_size, summary, tuple(summary_hidden), options.get("activation", "relu"))
    return FlowBijector(Summarised(bijector.layer, network), options.get("seed", 0), bijector.dtype)


def known_options(options: dict, *functions: Callable) -> dict:
    """Those of the options that one of the functions has by name."""
    parameters = [
        each for function in functions for each in inspect.signature(function).parameters.values()
    ]
    known = {
        each.name
        for each in parameters
        if each.kind is each.KEYWORD_ONLY or each.default is not each.empty
    }
    return {key: value for key, value in options.items() if key in known}


def in_units_of_the_data(
    layers: list[Layer],
    size: int,
    seed: int = 0,
    *,
    standardise: bool = True,
    unskew: bool = False,
    lower: Sequence[float | None] | None = None,
    upper: Sequence[float | None] | None = None,
    dtype: tf.DType = tf.float32,
) -> FlowBijector:
    """The layers behind the ones that take the user's units off, so that densities are in these
    units.

    Args:
      standardise: subtract the mean and divide by the standard deviation of the training data.
      unskew: a power transformation of each column first, chosen from the data (`YeoJohnson`).
      lower, upper: bounds a column (None where there is none): the column goes through a log or a
        logit first.
    """
    front: list[Layer] = []
    if lower is not None or upper is not None:
        free = (None,) * len(upper if lower is None else lower)
        domain = Domain(free if lower is None else lower, free if upper is None else upper)
        if len(domain.lower) != size:
            raise UserError(f"bounds for {len(domain.lower)} columns, but the data have {size}")
        front.append(domain)
    if unskew:
        front += [Standardise(size), YeoJohnson(size)]
    if standardise:
        front.append(Standardise(size))
    return FlowBijector(Chain([*front, *layers]), seed, dtype)


def _autoregressive(size, depth, hidden, activation, bins, bound, condition_size, unroll):
    transform = Composed(Affine(), RationalQuadratic(bins, bound)) if bins else Affine()
    step = Autoregressive(size, transform, hidden, activation, condition_size)
    return Repeat(Chain([step, Permutation(size, "reverse")]), depth, unroll)


def _maybe_linear(step, size, linear):
    return Chain([LULinear(size), step]) if linear else step


def _require_pairs(name, size):
    if size < 2:
        raise UserError(
            f"{name} splits a vector in two and needs at least 2 dimensions, got {size}; use maf"
            " for one"
        )
