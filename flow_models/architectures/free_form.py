"""Recipes for flows whose networks are free of structure: residual and continuous ones."""

from collections.abc import Sequence

from flow_models.architectures.columns import with_bounds
from flow_models.architectures.registry import ARCHITECTURES, in_units_of_the_data
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.chain import Chain, Repeat
from flow_models.bijectors.continuous import Continuous
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.fields import FreeField, PotentialField
from flow_models.bijectors.residual import EXACT, Residual
from flow_models.core.errors import UserError


@with_bounds
def residual(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    *,
    coefficient: float = 0.0,
    log_det: str = "auto",
    heads: int = 0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Steps of actnorm and x + g(x), g a contraction (i-ResNet, Behrmann et al. 2019; residual
    flow, Chen et al. 2019).

    Args:
      activation: silu is LipSwish; relu has no curvature to learn densities by.
      coefficient: Lipschitz constant of g; 0: 0.97 up to 16 dimensions, above them 0.9, by which
        the estimate of the log-determinant takes fewer terms.
      log_det: exact, estimate, or auto, as in `bijectors.Residual`.
      heads: of attention between the columns in each g; 0 for none.

    Others as in `realnvp`.
    """
    coefficient = coefficient or (0.97 if size <= EXACT else 0.9)
    g = Residual(size, hidden, activation, condition_size, coefficient, log_det, heads=heads)
    step = Chain([ActNorm(size), g])
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


@with_bounds
def residual_attention(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    *,
    heads: int = 4,
    coefficient: float = 0.0,
    log_det: str = "auto",
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """`residual` with attention between the columns, whose Lipschitz constant is bounded (The
    Lipschitz constant of self-attention, Kim, Papamakarios and Mnih 2021). Arguments as there."""
    return residual(
        size,
        depth,
        hidden,
        activation,
        coefficient=coefficient,
        log_det=log_det,
        heads=heads,
        condition_size=condition_size,
        layers_per_loop_body=layers_per_loop_body,
        seed=seed,
        **data,
    )


@with_bounds
def ffjord(
    size: int,
    depth: int = 1,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    *,
    divergence: str = "auto",
    tolerance: float = 1e-4,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Continuous flow trained by likelihood (FFJORD, Grathwohl et al. 2019).

    Args:
      depth: velocity fields, one after the other.
      divergence: exact, estimate (Hutchinson's), or auto: exact up to 16 dimensions.
      tolerance: of the solver, in standard deviations of the data.

    Others as in `realnvp`.
    """
    field = FreeField(size, hidden, activation, condition_size, divergence)
    flow = Continuous(field, tolerance)
    several = flow if depth == 1 else Repeat(flow, depth, layers_per_loop_body)
    return in_units_of_the_data([several], size, seed, **data)


@with_bounds
def ot_flow(
    size: int,
    depth: int = 1,
    hidden: Sequence[int] = (32, 32),
    activation: str = "silu",
    *,
    tolerance: float = 1e-4,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Continuous flow along the gradient of a potential, trained by likelihood and the cost of
    transport (OT-Flow, Onken et al. 2021).

    Args:
      hidden: equal widths of the potential's network.
      depth, activation, layers_per_loop_body: not used: there is one potential, of log cosh.

    Others as in `ffjord`.

    Raises:
      UserError: the widths differ.
    """
    if len(set(hidden)) != 1:
        raise UserError(f"hidden is {list(hidden)}: the widths of a potential are equal")
    field = PotentialField(size, hidden[0], max(len(hidden) - 1, 1), condition_size)
    flow = Continuous(field, tolerance, "transport")
    return in_units_of_the_data([flow], size, seed, **data)


@with_bounds
def flow_matching(
    size: int,
    depth: int = 1,
    hidden: Sequence[int] = (128, 128, 128),
    activation: str = "silu",
    *,
    tolerance: float = 1e-5,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Continuous flow trained by regression, without solving it (Lipman et al. 2023); log p is that
    of `ffjord`.

    Args:
      depth, layers_per_loop_body: not used: there is one velocity field.
      lower, upper: with them, and for columns of several kinds, training is by likelihood.

    Others as in `ffjord`.
    """
    field = FreeField(size, hidden, activation, condition_size)
    flow = Continuous(field, tolerance, "matching")
    return in_units_of_the_data([flow], size, seed, **data)


ARCHITECTURES.update(
    residual=residual,
    residual_attention=residual_attention,
    ffjord=ffjord,
    ot_flow=ot_flow,
    flow_matching=flow_matching,
)
