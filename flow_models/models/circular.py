"""Columns of angles, and of times of a day or a year."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from flow_models.bijectors import cdf
from flow_models.core.errors import UserError
from flow_models.models.kinds import Kind, numbers


@dataclasses.dataclass(frozen=True)
class Circular(Kind):
    """An angle, or a time of day or year; the density is periodic, per unit of the values.

    Attributes:
      period: in units of the values.
      lowest: samples are in [lowest, lowest + period).
    """

    name: ClassVar[str] = "circular"
    period: float = 360.0
    lowest: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.period < math.inf:
            raise UserError(f"the period {self.period} is not above 0")

    @classmethod
    def of(cls, values, period: float | None = None):
        """Of the period, or, where none is told, of 2 pi or 360, by the values [N]."""
        known = numbers(values)
        low, high = np.nanmin(known), np.nanmax(known)
        if period is None:
            period = 2 * math.pi if max(-low, high) <= 2 * math.pi + 1e-5 else 360.0
        return cls(period, -period / 2 if low < 0 else 0.0)

    def prepare(self, values):
        turns = np.mod((numbers(values) - self.lowest) / self.period, 1.0)
        # float32 must not round up to a whole turn
        return np.where(turns > 1 - 2.0**-25, 0.0, turns)

    def decode(self, rows):
        return self.lowest + self.period * np.mod(rows.astype(np.float64), 1.0)

    def log_det(self, rows):
        return -math.log(self.period)

    @property
    def cdf(self):
        return cdf.AngleCDF()

    def __str__(self):
        return f"circular, period {self.period:.6g}"
