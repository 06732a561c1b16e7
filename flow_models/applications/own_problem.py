"""A posterior from draws alone: pairs of parameters and data, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow_models.architectures import vectors as architectures
from flow_models.bijectors.frames import PriorFrame
from flow_models.core.errors import UserError
from flow_models.models import posterior_model
from flow_models.models.posterior_model import PosteriorModel
from flow_models.simulators.drawn import Drawn
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import Trainer

LEAST = 200  # pairs
KEPT = 20_000  # data of pairs that the model keeps, to predict from


def fit_posterior(
    x,
    y,
    names: Sequence[str] | None = None,
    observed: Sequence[str] | None = None,
    *,
    lower: Sequence[float | None] | None = None,
    upper: Sequence[float | None] | None = None,
    architecture: str = "spline_coupling",
    settings: FitSettings | None = None,
    validation: float = 0.1,
    folder: str | None = None,
    resume: bool = False,
    **options,
) -> PosteriorModel:
    """p(x | y) for any y, from draws x [N, P] of the prior and data y [N, M] that were simulated
    for them.

    Args:
      names, observed: of the columns of x and of y.
      lower, upper: bounds of each column of x, None where there is none; no sample lies outside.
      architecture, options: see `architectures`; depth, hidden, bins and the like.
      validation: share of the pairs that training is watched on; the weights kept are the best ones
        there.
      folder, resume: of checkpoints, as in `fit`; give the same pairs again to go on.

    Raises:
      UserError: pairs that do not fit, too few of them, or x outside its bounds.

    Example:
      >>> model = fit_posterior(x, y, names=["speed", "angle"])
      >>> model.posterior(observation, 10_000)
    """
    simulator = Drawn.of(x, y, names, observed)
    if len(x) < LEAST:
        raise UserError(f"{len(x)} pairs; at least {LEAST} are needed, and thousands are better")
    theta, y = (np.asarray(each, np.float32) for each in (simulator.whitened(x), y))
    scaled = {
        side: _scaled(bounds, simulator)
        for side, bounds in (("lower", lower), ("upper", upper))
        if bounds is not None
    }
    if not 0 < validation < 1:
        raise UserError(
            f"validation is {validation}; it is a share of the pairs, above 0 and below 1"
        )
    _refuse_unknown(options)
    options = {
        "affine": True,
        "linear": True,
        "bins": 8,
        "unroll": 1,
        "activation": "silu",
        **options,
        **scaled,
    }

    name = (
        "maf" if simulator.size == 1 and architecture == "spline_coupling" else architecture
    )  # couplings need two

    def bijector(size, width):
        return architectures.build(
            name, size, **options, condition_size=width, standardise=bool(scaled)
        )

    model = posterior_model.untrained(PriorFrame(simulator), theta, y, bijector)
    held_out = max(int(len(x) * validation), 1)
    parts = [
        model.prepare(theta[rows], y[rows])[0] for rows in (slice(held_out, None), slice(held_out))
    ]
    Trainer(model.flow, *parts, settings or FitSettings(), folder=folder, resume=resume).run()
    model.draws = y[:KEPT]
    return model


def _scaled(bounds, simulator):
    """Bounds of x as bounds of theta."""
    if len(bounds) != simulator.size:
        raise UserError(f"{len(bounds)} bounds for {simulator.size} parameters")
    return [
        None if b is None else (b - m) / s
        for b, m, s in zip(bounds, simulator.mean, simulator.scale)
    ]


def _refuse_unknown(options) -> None:
    """Refuses options that no architecture has: a slip of the pen would go unnoticed."""
    known = architectures.known_options(
        options, architectures.build, *architectures.ARCHITECTURES.values()
    )
    unknown = sorted(set(options) - (set(known) - {"condition_size"}))  # which is the context's
    if unknown:
        raise UserError(
            f"no option {unknown[0]!r}; depth, hidden, activation, bins, bound and others are in"
            " `architectures`"
        )
