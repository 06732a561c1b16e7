"""Columns of whole numbers, of any sign or from 0."""

import dataclasses
from typing import ClassVar

import numpy as np

from flow_models.bijectors import cdf
from flow_models.bijectors.heaped import HeapedCDF
from flow_models.core.errors import UserError
from flow_models.models import heaps
from flow_models.models.kinds import NOISE, Kind, numbers

WIDEST = 2**22  # between whole numbers, of which float32 knows each


@dataclasses.dataclass(frozen=True)
class Integer(Kind):
    """A whole number; log p has its probability. Numbers may crowd at multiples of a step, as
    rounded ones do, and at single values.

    Attributes:
      offset: subtracted, a whole number.
      centre, scale: median and spread of what is left.
      floating: whether the user has it as a float.
      steps, atoms, shares: where values crowd (see `heaps.found`).
    """

    name: ClassVar[str] = "integer"
    noisy: ClassVar[bool] = True
    offset: int = 0
    centre: float = 0.0
    scale: float = 1.0
    floating: bool = False
    steps: tuple[tuple[int, int], ...] = ()
    atoms: tuple[int, ...] = ()
    shares: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, values):
        values = np.asarray(values)
        floating = values.dtype.kind == "f"
        known = numbers(values)
        known = known[np.isfinite(known)]
        if (known != np.round(known)).any():
            raise UserError("its values are not whole numbers")
        if np.ptp(known) > WIDEST:
            raise UserError("its whole numbers are too far apart for steps of 1: take continuous")
        crowds = heaps.found(known)
        offset = 0 if issubclass(cls, Count) else int(np.median(known))
        left = known[~np.isin(known, crowds[1])] - offset
        scale = max(float(np.subtract(*np.quantile(left, (0.84, 0.16)))) / 2, 0.1 * left.std(), 0.5)
        return cls(offset, float(np.median(left)), scale, floating, *crowds)

    def prepare(self, values):
        values = numbers(values)
        return np.where(values == np.round(values), values - self.offset, np.nan)

    def placed(self, rows, noise):
        # k + u may round up to k + 1
        placed = rows + NOISE * noise
        wrong = placed >= rows + 1
        return (
            placed - wrong * (placed - rows)
            if isinstance(rows, np.ndarray)
            else _tf_placed(rows, placed, wrong)
        )

    def decode(self, rows):
        values = np.floor(rows).astype(np.int64) + self.offset
        return values.astype(np.float64) if self.floating else values

    @property
    def cdf(self):
        return self._cdf(None)

    def _cdf(self, lowest):
        if not self.is_heaped:
            return cdf.CountCDF(self.centre, self.scale, lowest)
        steps = tuple((h, (r - self.offset) % h) for h, r in self.steps)
        atoms = tuple(atom - self.offset for atom in self.atoms)
        crowds = steps, atoms, self.shares
        return HeapedCDF(self.centre, self.scale, lowest, 16, *crowds)

    @property
    def is_heaped(self) -> bool:
        """Whether values crowd somewhere."""
        return bool(self.steps or self.atoms)

    def __str__(self):
        steps = [f"multiples of {h}{f' plus {r}' if r else ''}" for h, r in self.steps]
        where = ", ".join([*steps, *map(str, self.atoms)])
        return f"{self.name}, many at {where}" if where else self.name


@dataclasses.dataclass(frozen=True)
class Count(Integer):
    """A whole number from 0; log p has its probability."""

    name: ClassVar[str] = "count"

    @classmethod
    def of(cls, values):
        found = super().of(values)
        least = np.nanmin(numbers(values))
        if least < 0:
            raise UserError(f"a count is at least 0, and it has {least:g}: take integer")
        return found

    @property
    def cdf(self):
        return self._cdf(0.0)


def _tf_placed(rows, placed, wrong):
    import tensorflow as tf

    return tf.where(wrong, rows, placed)
