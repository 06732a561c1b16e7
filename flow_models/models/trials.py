"""Data that are several trials of one observation, in any order, or a series or an image; some
perhaps missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.codecs import Encoded
from flow_models.models.problem import Data


@dataclasses.dataclass(frozen=True)
class Trials(Data):
    """Trials y [..., t, M], t at most T, NaN in those that are missing; the network sees
    rows [..., T (M + 1)]: zeros for missing ones, and behind each trial whether it is there.

    Attributes:
      simulator: its data are the columns of a trial.
      most: T.
      grid: (H, W) of an image y [..., H, W, M], whose T places are all there or missing; empty for
        others.
    """

    most: int = 1
    grid: Sequence[int] = ()

    @property
    def shape(self):
        return (*(self.grid or (self.most,)), self.simulator.data_size)

    @property
    def padded_shape(self):
        return (self.most * (self.simulator.data_size + 1),)

    @property
    def kept_rows(self):
        return None

    def encode(self, values, dtype, seed=0):
        """Rows with zeros for missing trials.

        Raises:
          UserError: another shape, an infinite value, or an observation without a trial.
        """
        y, columns = np.asarray(values), self.simulator.data_size
        if self.grid:
            if y.shape[-3:] != self.shape:
                raise UserError(f"y must have shape {['...', *self.shape]}, got {list(y.shape)}")
            y = y.reshape(*y.shape[:-3], self.most, columns)
        if y.ndim < 2 or y.shape[-1] != columns or not 1 <= y.shape[-2] <= self.most:
            raise UserError(
                f"y must have shape [..., trials, {columns}], with 1 to {self.most} trials, got"
                f" {list(y.shape)}"
            )
        rows = trial_rows(y.reshape(-1, *y.shape[-2:]).astype(np.float64), self.most)
        return Encoded(rows.astype(dtype), y.shape[:-2])


def trial_rows(y: np.ndarray, most: int) -> np.ndarray:
    """Rows [B, T (M + 1)] of trials y [B, t, M]; see `Trials`."""
    there = ~np.isnan(y).any(-1, keepdims=True)
    if np.isinf(y).any() or not there.any((1, 2)).all():
        raise UserError("y has infinite values, or an observation without a single trial")
    rows = np.concatenate([np.where(there, y, 0.0), there], -1)
    padded = np.zeros((len(y), most, y.shape[-1] + 1))
    padded[:, : y.shape[1]] = rows
    return padded.reshape(len(y), -1)
