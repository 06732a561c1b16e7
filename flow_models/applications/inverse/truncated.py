"""Proposals for one observation: the prior, cut to where its posterior is so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.model import Model
from flow_models.simulators.user_problem import UserProblem

DRAWS = 10_000  # of the posterior, that show where it is
OUTSIDE = 1e-3  # of its mass, that may be cut off
WIDER = 0.1  # of the width of its draws, added on both sides
BATCH = 10_000  # draws of the prior in one go
MOST = 10_000_000  # draws of the prior, for all


def proposals(
    user: UserProblem, model: Model, y: np.ndarray, n: int, seed: Sequence[int]
) -> tuple[np.ndarray, float]:
    """n draws [n, P] of the prior where q(x | y) of the model is above the density that all but
    OUTSIDE of its own draws have; and the share of the prior that this is.

    The prior keeps its shape there, so what is trained on these and earlier pairs needs no weights.
    Truncated proposals for scalable and hassle-free simulation-based inference (Deistler, Goncalves
    and Macke 2022).

    Raises:
      UserError: so little of the prior is left that it cannot be drawn.
    """
    drawn = np.asarray(model.posterior(y, DRAWS, seed=seed[0]), np.float64)
    level = np.quantile(model.log_prob(drawn, y), OUTSIDE)
    low, high = drawn.min(0), drawn.max(0)
    box = np.stack([low - WIDER * (high - low), high + WIDER * (high - low)])
    found: list[np.ndarray] = []
    for number in range(MOST // BATCH):
        x = user.prior(BATCH, (*seed, number), box)
        found.append(x[model.log_prob(x, y) >= level])
        if sum(map(len, found)) >= n:
            share = sum(map(len, found)) / (BATCH * len(found)) * user.mass(box)
            return np.concatenate(found)[:n], share
    raise UserError(
        f"of {MOST:,} draws of the prior only {sum(map(len, found)):,} lie where the posterior is:"
        " take fewer rounds, or give independent parameters as prior = {name: distribution}"
    )
