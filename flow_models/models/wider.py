"""Models wider than their data: noise e ~ N(0, I) beside x, and the density of x alone.

p(x) = E_e [p(x, e) / N(e)]. Where layers keep in e which branch x lies on (folds, mixtures), the
ratio is the same for every e: exact with one of them (`Widened.exact`). Elsewhere (augmented flows,
Huang, Dinh and Courville 2020; variational autoencoders) the logarithm of a mean over draws is a
bound from below that tightens with their number (Importance weighted autoencoders, Burda et al.
2016).
"""

from __future__ import annotations

import math

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.codecs import Encoded

DRAWS = 64  # of the noise where the density depends on it


def is_exact(model) -> bool:
    """Whether p(x, e) / N(e) is the same for every e."""
    return bool(getattr(model.layer, "exact", False))


def log_prob(model, encoded: Encoded, y=None, draws: int | None = None) -> np.ndarray:
    """log p(x), or log p(x | y), of rows of x: log mean_k p(x, e_k | y) / N(e_k).

    Args:
      draws: of a fixed low-discrepancy sample of e; by default one where the model is exact, else
        64.

    Raises:
      UserError: draws is not a whole number of at least 1.
    """
    if draws is None:
        draws = 1 if is_exact(model) else DRAWS
    if not isinstance(draws, int) or draws < 1:
        raise UserError(f"draws is {draws!r}; it must be a whole number of at least 1")
    (block,) = model.partition.beside_x
    total = np.asarray(-np.inf)
    for noise, log_noise in model.codecs[block].draws(draws, encoded.rows.dtype):
        beside = np.broadcast_to(noise, (len(encoded.rows), len(noise)))
        rows = encoded._replace(rows=np.concatenate([encoded.rows, beside], 1))
        value = model.log_prob_of_inputs(rows, y) - log_noise
        total = np.logaddexp(total, value)
    return total - math.log(draws)
