"""Recipes for flows whose networks are free of structure: residual and continuous ones."""

from collections.abc import Sequence

from flow_models.architectures.vectors import ARCHITECTURES, in_units_of_the_data
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.chain import Chain, Repeat
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.residual import EXACT, Residual


def residual(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    *,
    coefficient: float = 0.0,
    log_det: str = "auto",
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
      (the others as in `realnvp`)
    """
    coefficient = coefficient or (0.97 if size <= EXACT else 0.9)
    g = Residual(size, hidden, activation, condition_size, coefficient, log_det)
    step = Chain([ActNorm(size), g])
    return in_units_of_the_data([Repeat(step, depth, layers_per_loop_body)], size, seed, **data)


ARCHITECTURES.update(residual=residual)
