"""Which rows are strange, and which of their columns make them so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ALTERNATIVES = 64  # values that a column is given in place of its own


def tail_probabilities(scores: np.ndarray, held_out: np.ndarray, own: np.ndarray) -> np.ndarray:
    """P(a held-out row is at least as strange) of scores [N], higher is stranger:
    (1 + count) / (1 + number of held-out rows).

    own: whether a row is one of the held-out rows [N]; it is then not counted itself.
    """
    ordered = np.sort(np.asarray(held_out, np.float64))
    own = np.asarray(own, int)
    above = len(ordered) - np.searchsorted(ordered, scores, "left") - own
    return (1 + above) / (1 + len(ordered) - own)


def gains(log_prob: Callable, rows: Any, known: Any) -> np.ndarray:
    """By how much log p of each row would rise if one column alone had its most probable value.

        gain_ij = max_v log p(x_i with x_ij = v) - log p(x_i) >= 0, nats

    where v runs over values of column j in `known` rows. A row whose gain is large in one column
    is strange on account of it, given its other columns.

    Args:
      log_prob: of an array [B, D] or a DataFrame.
      rows, known: arrays or DataFrames of the same columns.

    Returns:
      [N, D].
    """
    before, size = _finite(log_prob(rows)), rows.shape[1]
    found = np.zeros((len(rows), size))
    some = np.unique(np.linspace(0, len(known) - 1, ALTERNATIVES).astype(int))
    for j in range(size):
        changed = _with_values(rows, known, j, some)
        after = _finite(log_prob(changed)).reshape(len(rows), len(some))
        found[:, j] = np.maximum(after.max(1) - before, 0.0)
    return found


def patch_gains(log_prob: Callable, image: np.ndarray, known: np.ndarray, across: int):
    """By how much log p of a picture would rise if one patch alone were that of a known picture.

        gain_ab = max(0, max_k log p(image with patch ab of known_k) - log p(image)), nats

    Args:
      log_prob: of pictures [B, H, W, C]; equal pictures must get equal values.
      image, known: uint8 [H, W, C] and [K, H, W, C].
      across: patches along each side, at most.

    Returns:
      [rows of patches, columns of patches].
    """
    height, width = image.shape[:2]
    rows, columns = (np.array_split(np.arange(side), min(across, side)) for side in (height, width))
    changed = np.repeat(image[None], len(rows) * len(columns) * len(known), 0)
    shaped = changed.reshape(len(rows), len(columns), *known.shape)
    for a, across_rows in enumerate(rows):
        for b, across_columns in enumerate(columns):
            patch = np.ix_(np.arange(len(known)), across_rows, across_columns)
            shaped[a, b][patch] = known[patch]
    after = _finite(log_prob(changed)).reshape(len(rows), len(columns), len(known))
    return np.maximum(after.max(-1) - _finite(log_prob(image[None]))[0], 0.0)


def _with_values(rows, known, j: int, some: np.ndarray):
    """Every row `len(some)` times, with values of `known` in column j."""
    repeated = np.repeat(np.arange(len(rows)), len(some))
    if hasattr(rows, "iloc"):
        changed = rows.iloc[repeated].reset_index(drop=True)
        values = known.iloc[np.tile(some, len(rows)), j].reset_index(drop=True)
        return changed.assign(**{changed.columns[j]: values})
    changed = np.array(rows[repeated])
    order = np.argsort(known[:, j], kind="stable")
    changed[:, j] = np.tile(known[order][some, j], len(rows))
    return changed


def _finite(values) -> np.ndarray:
    """log p with a floor for rows outside the domain, so that differences are finite."""
    return np.maximum(np.nan_to_num(np.asarray(values, np.float64), nan=-1e6), -1e6)


def overfitting(
    steps: list[float], objective: list[float], kept: float | None = None
) -> tuple[str, float]:
    """How training ended, in words, and by how many nats validation rose after its best step, or
    after the step `kept`."""
    best = list(steps).index(kept) if kept in steps else int(np.nanargmin(objective))
    text, rise = (
        f"best at step {steps[best]:,.0f} of {steps[-1]:,.0f}",
        objective[-1] - objective[best],
    )
    return (f"{text}; validation rose since, by {rise:.3g} nats" if rise > 0 else text), float(rise)
