"""All recipes of vectors by their names, the options that they take, and what they share."""

import inspect
from collections.abc import Callable, Sequence

import tensorflow as tf

from flow_models.bijectors.cdf import CDF
from flow_models.bijectors.chain import Chain
from flow_models.bijectors.domain import Standardise
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.mixture_cdf import MixtureCDF
from flow_models.bijectors.networks import MLP
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.bijectors.refined import Refined
from flow_models.bijectors.student_t import StudentT
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.yeo_johnson import YeoJohnson
from flow_models.core.bounds import by_column
from flow_models.core.errors import UserError

ARCHITECTURES: dict[str, Callable[..., FlowBijector]] = {}
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
    refuse_unknown(options, *ARCHITECTURES.values(), in_units_of_the_data, bounded)
    if summary < 0 or summary and not condition_size:
        raise UserError(f"summary is {summary}: it is a number of columns made of a condition")
    bijector = ARCHITECTURES[name](
        size,
        condition_size=summary or condition_size,
        **known_options(options, ARCHITECTURES[name], in_units_of_the_data, bounded),
    )
    if not summary:
        return bijector
    network = MLP(condition_size, summary, tuple(summary_hidden), options.get("activation", "relu"))
    return FlowBijector(Summarised(bijector.layer, network), options.get("seed", 0), bijector.dtype)


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


def bounded(size: int, *, lower=None, upper=None) -> list[CDF | None]:
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
