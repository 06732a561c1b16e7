"""Recipes of columns of several kinds or with bounds: their distribution functions come first, the
flow of the others follows."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import tensorflow as tf

from flow_models.architectures.registry import (
    ARCHITECTURES,
    OF_KINDS,
    bounded,
    build,
    in_units_of_the_data,
    known_options,
    refuse_unknown,
)
from flow_models.bijectors.cdf import CDF, CategoryCDF, CountCDF
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.mixed import Mixed, features_of
from flow_models.bijectors.mixture_cdf import MixtureCDF
from flow_models.bijectors.refined import Refined
from flow_models.core.errors import UserError

Recipe = TypeVar("Recipe", bound=Callable[..., FlowBijector])


def with_bounds(recipe: Recipe) -> Recipe:
    """The recipe, with options `lower` and `upper` (see `bounded`): columns that have bounds come
    first, by their distribution functions, the flow of the others follows (see `Mixed`)."""

    @functools.wraps(recipe)
    def built(size, *args, lower=None, upper=None, **options):
        cdfs = bounded(size, lower=lower, upper=upper)
        if not any(cdfs):
            return recipe(size, *args, **options)
        told: dict[str, Any] = inspect.signature(recipe).bind(size, *args, **options).arguments
        told |= told.pop("data", {})
        return mixed(recipe.__name__, cdfs, **{k: v for k, v in told.items() if k != "size"})

    return cast(Recipe, built)


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
    of_bounds = bounded(len(columns), **sides)
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
    columns = [own or bounded for own, bounded in zip(columns, bounded(len(columns), **sides))]
    every = (*ARCHITECTURES.values(), OF_KINDS[name], in_units_of_the_data, bounded)
    refuse_unknown(options, *every)
    known = known_options(options, OF_KINDS[name], ARCHITECTURES["realnvp"], in_units_of_the_data)
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
    return getattr(cdf, "lowest", None), getattr(cdf, "highest", None)
