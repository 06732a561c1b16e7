"""Recipes for vectors that read like their papers. Each returns a `FlowBijector`, a `tfb.Bijector`
whose forward carries data to latents."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import tensorflow as tf

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.cdf import CDF, CategoryCDF, CountCDF
from flow_models.bijectors.chain import Chain, Inverse, Repeat
from flow_models.bijectors.class_gaussian import ClassGaussian
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.domain import Standardise
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.frames import Frame, Framed
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.missing import Proposal, WithMissing
from flow_models.bijectors.mixed import Mixed, features_of
from flow_models.bijectors.mixture_cdf import MixtureCDF
from flow_models.bijectors.networks import MLP
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.refined import Refined
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.student_t import StudentT
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.yeo_johnson import YeoJohnson
from flow_models.core.bounds import by_column
from flow_models.core.errors import UserError
from flow_models.models.notes import bounds_of


def _bounded(size: int, *, lower=None, upper=None) -> list[CDF | None]:
    """A distribution function for each column that has a bound, None for the others.

    Args:
      lower, upper: bounds of each column, None where there is none. The density may be positive at
        a bound, and is 0 on it and outside; see `NumberCDF`.

    Raises:
      UserError: more or fewer bounds than columns, or a lower one that is not below the upper one.
    """
    names = [f"x{place}" for place in range(1, size + 1)]
    pairs = zip(*(by_column(side, names) for side in (lower, upper)), strict=True)
    return [None if pair == (None, None) else NumberCDF(*pair) for pair in pairs]


Recipe = TypeVar("Recipe", bound=Callable[..., FlowBijector])


def with_bounds(recipe: Recipe) -> Recipe:
    """The recipe, with options `lower` and `upper` (see `_bounded`): columns that have bounds come
    first, by their distribution functions, the flow of the others follows (see `Mixed`)."""

    @functools.wraps(recipe)
    def built(size, *args, lower=None, upper=None, **options):
        cdfs = _bounded(size, lower=lower, upper=upper)
        if not any(cdfs):
            return recipe(size, *args, **options)
        told: dict[str, Any] = inspect.signature(recipe).bind(size, *args, **options).arguments
        told |= told.pop("data", {})
        return mixed(recipe.__name__, cdfs, **{k: v for k, v in told.items() if k != "size"})

    return cast(Recipe, built)


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


ARCHITECTURES: dict[str, Callable[..., FlowBijector]] = {
    "realnvp": realnvp,
    "spline_coupling": spline_coupling,
    "maf": maf,
    "iaf": iaf,
    "glow": glow,
}
OF_KINDS: dict[str, Callable[..., FlowBijector]] = {}  # recipes of columns of kinds, for `mixed`


def build(
    name: str,
    size: int,
    *,
    summary: int = 0,
    summary_hidden: Sequence[int] = (128,),
    condition_size: int = 0,
    **options,
) -> FlowBijector:
    """The architecture `name`, with the options among `options` that it has.

    Args:
      name: one of `ARCHITECTURES`.
      size: dimensions D of a vector.
      summary: width to which a network with hidden widths `summary_hidden` reduces the condition
        for all layers; 0 for none: they see the whole condition.
      condition_size: width of a condition [B, C]; 0 for none.
      options: depth, hidden and others of the architecture.

    Raises:
      UserError: there is no architecture of this name, an option that none has, or a summary
        without a condition.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    refuse_unknown(options, *ARCHITECTURES.values(), in_units_of_the_data, _bounded)
    if summary < 0 or summary and not condition_size:
        raise UserError(f"summary is {summary}: it is a number of columns made of a condition")
    bijector = ARCHITECTURES[name](
        size,
        condition_size=summary or condition_size,
        **known_options(options, ARCHITECTURES[name], in_units_of_the_data, _bounded),
    )
    if not summary:
        return bijector
    network = MLP(condition_size, summary, tuple(summary_hidden), options.get("activation", "relu"))
    return FlowBijector(Summarised(bijector.layer, network), options.get("seed", 0), bijector.dtype)


def mixed(name: str, columns: Sequence[CDF | None], **options) -> FlowBijector:
    """The architecture `name` for columns of several kinds, with `build`'s options: those with a
    distribution function first, the flow of the others given them (see `Mixed`).

    Args:
      columns: `Columns.cdfs`; without any it is `build`.
      options: lower and upper have a bound a column, of those without a distribution function.

    Example:
      >>> columns = fm.Columns.of(frame)
      >>> flow = fm.architectures.mixed("spline_coupling", columns.cdfs)
      >>> model = fm.Model(flow, codecs={"x": columns})

    Raises:
      UserError: as `build`; or the architecture takes noise beside the data, or has no column to
        transform.
    """
    rest = [i for i, cdf in enumerate(columns) if cdf is None]
    if name in OF_KINDS:
        return _of_kinds(name, columns, options)
    if len(rest) == len(columns):
        return build(name, len(columns), **options)
    given, flow = options.get("condition_size", 0), None
    kernels = options.pop("kernels", 0)
    if kernels:
        return _refined_of_kinds(name, columns, rest, kernels, options)
    sides = {side: options.pop(side, None) for side in ("lower", "upper")}
    of_bounds = _bounded(len(columns), **sides)
    columns = [own or bounded for own, bounded in zip(columns, of_bounds, strict=True)]
    rest = [i for i, cdf in enumerate(columns) if cdf is None]
    if rest:
        # couplings need two columns
        alone = "maf" if len(rest) == 1 and name not in ("maf", "iaf") else name
        seen = given + features_of(columns)
        flow = build(alone, len(rest), **{**options, "condition_size": seen})
        if getattr(flow.layer, "noise", 0):
            raise UserError(
                f"{name} takes noise beside the data, which columns with bounds or of several kinds"
                " do not go with: choose another architecture"
            )
    # one layer a column: with two, networks of many columns overfit 8,000 rows
    hidden, activation = tuple(options.get("hidden", (64,)))[:1], options.get("activation", "relu")
    layer = Mixed(tuple(columns), flow and flow.layer, given, hidden, activation)
    dtype = flow.dtype if flow else options.get("dtype", tf.float32)
    return FlowBijector(layer, options.get("seed", 0), dtype)


def _of_kinds(name, columns, options):
    """An architecture that takes the columns of kinds itself."""
    sides = {side: options.get(side) for side in ("lower", "upper")}
    columns = [own or bounded for own, bounded in zip(columns, _bounded(len(columns), **sides))]
    every = (*ARCHITECTURES.values(), OF_KINDS[name], in_units_of_the_data, _bounded)
    refuse_unknown(options, *every)
    known = known_options(options, OF_KINDS[name], realnvp, in_units_of_the_data)
    return OF_KINDS[name](columns, **known)


def of_whole_numbers(columns: Sequence[CDF | None]) -> bool:
    """Whether all columns are numbers, counts and categories, and some are numbers, so that they
    have a mixture to start at (`kernels`)."""
    known = all(each is None or isinstance(each, (CategoryCDF, CountCDF)) for each in columns)
    return known and None in columns


def _refined_of_kinds(name, columns, rest, kernels, options):
    """A mixture of all columns, and a flow of the latents of the numbers."""
    alone = "maf" if len(rest) == 1 and name not in ("maf", "iaf") else name
    flow = build(alone, len(rest), **options, standardise=False)
    limits = [each and _limits(each) for each in columns]
    mixture = MixtureCDF(len(columns), kernels, tuple(limits))
    layer = Refined(mixture, flow.layer, tuple(rest))
    return FlowBijector(layer, options.get("seed", 0), flow.dtype)


def _limits(cdf: CDF) -> tuple[float | None, float | None]:
    """The least and the largest whole number of a column."""
    if isinstance(cdf, CategoryCDF):
        return 0.0, len(cdf.shares) - 1.0
    return getattr(cdf, "lowest", None), None


def class_mixture(
    flow: FlowBijector, size: int, classes: int, covariance: str = "full"
) -> FlowBijector:
    """A flow followed by a learned Gaussian a class (FlowGMM, Izmailov et al. 2020).

    The class is given, [B, M], and seen by the last layer alone.

    Args:
      flow: of rows without a condition, not trained yet.
      size: dimensions D of a row.
      classes: M.
      covariance: full, or diagonal for many dimensions.

    Raises:
      UserError: another covariance.
    """
    return _around(flow, ClassGaussian(flow.layer, size, classes, covariance))


def framed(flow: FlowBijector, frame: Frame) -> FlowBijector:
    """A conditional flow behind a frame, which makes its condition of the data that are given.

    Args:
      flow: of whitened parameters [B, P], its condition as wide as the frame makes it.
      frame: a `PriorFrame`, a `LaplaceFrame` or another `Frame`.
    """
    return _around(flow, Framed(frame, flow.layer))


def with_missing(flow: FlowBijector, size: int, depth: int = 4, hidden=(64, 64)) -> FlowBijector:
    """A flow of rows with missing cells, NaN: `fit` learns it from what is observed, `log_prob` is
    of what is observed, and `impute` draws the rest (see `models.missing`).

    Args:
      flow: of complete rows [size], not trained yet, without a condition.
      depth, hidden: couplings of the flow that proposes missing cells, and their widths.

    Example:
      >>> model = fm.Model(fm.architectures.with_missing(fm.spline_coupling(3), 3))
      >>> fm.fit(model, x)  # NaN where a cell is missing
    """
    columns = flow.layer.columns if isinstance(flow.layer, Mixed) else (None,) * size
    columns = [None if isinstance(cdf, NumberCDF) else cdf for cdf in columns]
    lower, upper = zip(*(bounds_of(flow.layer) or [(None, None)] * size))
    proposal = Proposal(tuple(columns), lower, upper, depth, tuple(hidden))
    return _around(flow, WithMissing(flow.layer, proposal))


def _around(flow, layer):
    return FlowBijector(layer, flow.parameters["seed"], flow.dtype, flow.event_ndims)


def known_options(options: dict, *functions: Callable) -> dict:
    """The options that one of the functions takes by name."""
    parameters = [
        each for function in functions for each in inspect.signature(function).parameters.values()
    ]
    known = {
        each.name
        for each in parameters
        if each.kind is each.KEYWORD_ONLY or each.default is not each.empty
    }
    return {key: value for key, value in options.items() if key in known}


def refuse_unknown(options: dict, *functions: Callable) -> None:
    """Raises UserError for an option that no function takes: a typing error would go unnoticed."""
    unknown = sorted(set(options) - set(known_options(options, *functions)))
    if unknown:
        raise UserError(
            f"no option {unknown[0]!r}; depth, hidden, activation, bins, bound and others are in"
            " `architectures`"
        )


def in_units_of_the_data(
    layers: list[Layer],
    size: int,
    seed: int = 0,
    *,
    standardise: bool = True,
    unskew: bool = False,
    kernels: int = 0,
    base: str = "normal",
    dtype: tf.DType = tf.float32,
) -> FlowBijector:
    """The layers, behind those that remove the user's units; densities are in these units.

    Args:
      layers: from the data to the latents.
      size: dimensions D of a vector.
      standardise: subtracts the mean and divides by the standard deviation of the training data.
      unskew: applies to each column a power transformation chosen from the data (`YeoJohnson`).
      kernels: for few rows: training rows, from which a mixture is measured that the flow starts
        at (see `Refined`), in place of all of the above; 0 for none.
      base: normal, or student_t, for heavy tails (see `StudentT`): degrees of freedom are learnt,
        or given, as in "student_t 3". Latents are N(0, I) with either.
      dtype: of weights and data.

    Raises:
      UserError: no such base.
    """
    front: list[Layer] = []
    if kernels:
        layer = Refined(
            MixtureCDF(size, kernels), Chain([*layers, *_base(base, size)]), tuple(range(size))
        )
        return FlowBijector(layer, seed, dtype)
    if unskew:
        front += [Standardise(size), YeoJohnson(size)]
    if standardise:
        front.append(Standardise(size))
    return FlowBijector(Chain([*front, *layers, *_base(base, size)]), seed, dtype)


def _base(told: str, size: int) -> list[Layer]:
    """The last layer, which makes the base of normal numbers."""
    name, _, df = str(told).partition(" ")
    if name not in ("normal", "student_t") or df and name == "normal":
        raise UserError(f"no base {told!r}; there are normal, student_t and 'student_t 3'")
    try:
        return [StudentT(size, float(df or 0))] if name == "student_t" else []
    except ValueError:
        raise UserError(f"{told!r}: a number is expected behind student_t") from None


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
