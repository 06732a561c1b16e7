"""Recipes for columns of kinds that a family takes itself: categories and angles."""

from collections.abc import Sequence

from flow_models.architectures.families import torus
from flow_models.architectures.registry import OF_KINDS, in_units_of_the_data, known_options
from flow_models.architectures.wider import NOISE, noise_columns
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.argmax import Argmax
from flow_models.bijectors.cdf import CDF, AngleCDF, CategoryCDF
from flow_models.bijectors.chain import Chain, Repeat
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.on_columns import OnColumns, Widened
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.errors import UserError


def argmax(
    columns: Sequence[CDF | None],
    depth: int = 4,
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
    """Categories as the places of largest numbers (argmax flows, Hoogeboom et al. 2021), and one
    flow of these and of the columns that are numbers: linear maps and spline couplings.

    log p is a bound, over the noise of a category; `mixed` with any other architecture is exact.

    Args:
      columns: `Columns.cdfs`, of categories and numbers alone.

    Others as in `spline_coupling`.

    Raises:
      UserError: a column of another kind, or no category.

    Example:
      >>> columns = fm.Columns.of(frame)
      >>> flow = fm.architectures.argmax(columns.cdfs)
      >>> model = fm.Model(flow, codecs={"x": columns})
    """
    others = [i for i, cdf in enumerate(columns) if not isinstance(cdf, CategoryCDF | None)]
    if others or not any(columns):
        found = f"column {others[0]} is neither" if others else "there is no category"
        raise UserError(
            f"argmax is of categories, with numbers beside them, and {found}: choose another"
            " architecture"
        )
    known, noise = len(columns), noise_columns("argmax", len(columns), columns=columns)
    size, numbers = known + noise, [i for i, cdf in enumerate(columns) if cdf is None]
    front = in_units_of_the_data([], max(len(numbers), 1), seed, **data)
    layers: list[Layer] = [OnColumns(front.layer, size, numbers)] if numbers else []
    places = _places(columns)
    for i, own in places.items():
        # a column behind it is a category still, one before it is numbers, in both directions
        seen = [j for k, of_k in places.items() if k != i for j in of_k[: None if k < i else 1]]
        seen = [*numbers, *seen]
        cdf, given = columns[i], condition_size + len(seen)
        layer = Argmax(len(own), Affine(), tuple(hidden)[:1], activation, given, cdf.shares)
        layers.append(OnColumns(layer, size, own, seen))
    transform = Composed(Affine(), RationalQuadratic(bins, bound))
    coupling = Coupling(size, transform, hidden, activation, condition_size)
    step = Chain([ActNorm(size), LULinear(size), coupling])
    layers.append(Repeat(step, depth, layers_per_loop_body))
    return FlowBijector(Widened(layers, size, noise), seed, front.dtype)


def torus_of_columns(
    columns: Sequence[CDF | None],
    depth: int = 6,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    base: str = "normal",
    bins: int = 8,
    **options,
) -> FlowBijector:
    """`torus` for columns of the kind circular alone, which the network counts in turns.

    Raises:
      UserError: a column of another kind, or a base other than normal.
    """
    others = [i for i, cdf in enumerate(columns) if not isinstance(cdf, AngleCDF)]
    if others:
        raise UserError(
            f"torus is of angles alone, and column {others[0]} is none: tell their kinds, as in"
            " --kinds '{wind: circular 360}', or choose another architecture"
        )
    if base != "normal":
        raise UserError(f"torus has no base {base!r}: angles have no tails")
    own = known_options(options, torus)
    return torus(len(columns), depth, hidden, activation, bins=bins, period=1.0, **own)


def _places(columns):
    """Category -> the places of its column and of its noise, behind all columns."""
    found, place = {}, len(columns)
    for i, cdf in enumerate(columns):
        if isinstance(cdf, CategoryCDF):
            more = len(cdf.shares) - 1
            found[i] = [i, *range(place, place + more)]
            place += more
    return found


OF_KINDS.update(argmax=argmax, torus=torus_of_columns)
NOISE["argmax"] = lambda size, options: sum(
    len(cdf.shares) - 1 for cdf in options.get("columns", ()) if isinstance(cdf, CategoryCDF)
)
