"""Columns of whole numbers, of any sign or from 0."""

import dataclasses
import math
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
      lower, upper: the least and the largest number there is; None: none.
    """

    name: ClassVar[str] = "integer"
    least: ClassVar[int | None] = None
    noisy: ClassVar[bool] = True
    offset: int = 0
    centre: float = 0.0
    scale: float = 1.0
    floating: bool = False
    steps: tuple[tuple[int, int], ...] = ()
    atoms: tuple[int, ...] = ()
    shares: tuple[float, ...] = (1.0,)
    lower: int | None = None
    upper: int | None = None

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

    def bounded(self, lower, upper, values=None):
        """The same with bounds, which numbers may have.

        Raises:
          UserError: no whole number is between them.
        """
        low = None if lower is None else math.ceil(lower)
        high = None if upper is None else math.floor(upper)
        if self.least is not None and low is not None and low <= self.least:
            low = None
        if None not in (low, high) and low > high:
            raise UserError(f"no whole number is between {lower:g} and {upper:g}")
        return dataclasses.replace(self, lower=low, upper=high)

    def check_bounds(self, values, what):
        column = numbers(values)
        for bound, wrong, side in (
            (self.lower, self.lower is not None and column < self.lower, "at least"),
            (self.upper, self.upper is not None and column > self.upper, "at most"),
        ):
            if np.any(wrong):
                row = int(np.argmax(wrong))
                raise UserError(
                    f"{what}, row {row + 1}: {column[row]:.10g} is not {side} {bound}; widen the"
                    " bounds or leave the rows out"
                )

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
        ends = (self.least if self.lower is None else self.lower, self.upper)
        lowest, highest = (None if end is None else float(end - self.offset) for end in ends)
        if not self.is_heaped:
            return cdf.CountCDF(self.centre, self.scale, lowest, highest=highest)
        steps = tuple((h, (r - self.offset) % h) for h, r in self.steps)
        atoms = tuple(atom - self.offset for atom in self.atoms)
        crowds = steps, atoms, self.shares
        return HeapedCDF(self.centre, self.scale, lowest, 16, *crowds, highest=highest)

    @property
    def is_heaped(self) -> bool:
        """Whether values crowd somewhere."""
        return bool(self.steps or self.atoms)

    def __str__(self):
        steps = [f"multiples of {h}{f' plus {r}' if r else ''}" for h, r in self.steps]
        where = ", ".join([*steps, *map(str, self.atoms)])
        ends = [(self.lower, "at least"), (self.upper, "at most")]
        ends = "".join(f", {word} {bound}" for bound, word in ends if bound is not None)
        return f"{self.name}{f', many at {where}' if where else ''}{ends}"


@dataclasses.dataclass(frozen=True)
class Count(Integer):
    """A whole number from 0; log p has its probability."""

    name: ClassVar[str] = "count"
    least: ClassVar[int | None] = 0

    @classmethod
    def of(cls, values):
        found = super().of(values)
        least = np.nanmin(numbers(values))
        if least < 0:
            raise UserError(f"a count is at least 0, and it has {least:g}: take integer")
        return found


def _tf_placed(rows, placed, wrong):
    import tensorflow as tf

    return tf.where(wrong, rows, placed)
