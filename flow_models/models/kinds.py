"""Kinds of columns: what one column of a table is to its user, and how it becomes one number of the
network and comes back.

The host prepares a column once, in float64 (`prepare`); `placed` adds the noise that whole numbers
need, in the compiled step or in NumPy; `decode` goes back. A kind with a `cdf` is modelled by it
(see `bijectors.mixed`), so that probabilities of categories and counts are exact and log p(row) is
of the row itself, whatever the noise. The others are numbers of the flow.

The interface and continuous numbers are here; the others have files of their own.
"""

import dataclasses
import math
from typing import ClassVar, Self

import numpy as np

from flow_models.bijectors import cdf
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.core import bounds
from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable

FAR, TINY, HUGE = 1e3, 1e-4, 1e4  # |mean| / sd, and sd, where float32 needs a centre or a scale
HEAVY = 20.0  # spreads from the median; a value beyond tells a heavy tail
NOISE = 1 - 2.0**-16  # of whole numbers, below 1


@dataclasses.dataclass(frozen=True)
class Kind(Serializable):
    """The interface; one column of the user is one number of the network."""

    name: ClassVar[str] = "kind"
    noisy: ClassVar[bool] = False

    def prepare(self, values: np.ndarray) -> np.ndarray:
        """Values [N] as float64 [N]: NaN where one is missing."""
        raise TypeError(f"{type(self).__name__} must define the method prepare")

    def placed(self, rows, noise):
        """Prepared numbers with uniform noise [0, 1), NumPy or TensorFlow."""
        return rows

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the network [N] as values of the user."""
        raise TypeError(f"{type(self).__name__} must define the method decode")

    def log_det(self, rows):
        """log |d row / d value|, a number or [N]."""
        return 0.0

    @property
    def is_plain(self) -> bool:
        """Whether values go to the network as they are."""
        return False

    @property
    def is_text(self) -> bool:
        """Whether values are texts outside Python, as dates are in JSON."""
        return self.name == "date" or any(
            isinstance(value, str) for value in getattr(self, "categories", ())
        )

    @property
    def cdf(self) -> cdf.CDF | None:
        """The distribution function that models it; None for a number of the flow."""
        return None

    def bounded(self, lower: float | None, upper: float | None, values=None) -> Self:
        """The same with bounds; itself where its values have none.

        Args:
          values: [N], which tell from where numbers are counted.
        """
        return self

    def check_bounds(self, values: np.ndarray, what: str) -> None:
        """Raises UserError, about `what`, for values [N] that are not within the bounds."""

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Continuous(Kind):
    """A number, (value - centre) / scale, or asinh of this where tails are heavy; log p has the
    density of the value.

    Attributes:
      centre, scale: subtracted and divided by in float64; 0 and 1 where float32 does not need them.
      whole: whether values are whole numbers, too many for steps to matter; samples are rounded.
      heavy: whether a value is 20 spreads from the median or further, with the spread half the
        distance of the quantiles 0.16 and 0.84. Centre and scale are then median and spread.
        asinh leaves the bulk as it is and turns power laws into exponential tails, which a
        network with Gaussian tails can learn (Jaini et al. 2020: a Lipschitz map cannot).
      lower, upper: bounds of the values, None where there is none; the column is then modelled by
        a `NumberCDF`, counted from its nearest bound. Samples are strictly inside.
    """

    name: ClassVar[str] = "continuous"
    centre: float = 0.0
    scale: float = 1.0
    whole: bool = False
    heavy: bool = False
    lower: float | None = None
    upper: float | None = None

    @classmethod
    def of(cls, values, **options) -> Self:
        """With the centre and the scale that numbers [N] need in float32."""
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        middle, spread = _middle(values)
        if 0 < HEAVY * spread < np.abs(values - middle).max(initial=0.0):
            return cls(middle, spread, heavy=True, **options)
        mean, sd = (values.mean(), values.std()) if len(values) else (0.0, 0.0)
        scale = sd if sd > 0 and not TINY <= sd <= HUGE else 1.0
        centre = mean if sd > 0 and (abs(mean) > FAR * sd or scale != 1) else 0.0
        return cls(float(centre), float(scale), **options)

    @property
    def is_plain(self):
        return not self.whole and self.is_counted_as_it_is and not self.has_bounds

    @property
    def is_counted_as_it_is(self) -> bool:
        """Whether the network's numbers are the values."""
        return (self.centre, self.scale, self.heavy) == (0.0, 1.0, False)

    @property
    def is_far(self) -> bool:
        """Whether float32 would round the values."""
        return bool(self.centre) and (not self.heavy or abs(self.centre) > FAR * self.scale)

    @property
    def has_bounds(self) -> bool:
        return self.lower is not None or self.upper is not None

    @property
    def row_bounds(self) -> list[float | None]:
        """Bounds of the network's numbers."""
        sides = (self.lower, self.upper)
        return [None if b is None else (b - self.centre) / self.scale for b in sides]

    @property
    def cdf(self):
        return NumberCDF(*self.row_bounds) if self.has_bounds else None

    def bounded(self, lower, upper, values=None):
        """The same with bounds, counted from the nearest one of values [N]."""
        if lower is None and upper is None:
            return self
        kind = dataclasses.replace(self, heavy=False)
        if values is not None:
            rows = kind.prepare(values)
            mean, sd = kind.centre + kind.scale * np.nanmean(rows), kind.scale * np.nanstd(rows)
            origin = bounds.origin(mean, sd, lower, upper)
            kind = kind if origin == mean else dataclasses.replace(kind, centre=origin)
        return dataclasses.replace(kind, lower=lower, upper=upper)

    def check_bounds(self, values, what):
        if self.has_bounds:
            bounds.check_column(numbers(values), self.lower, self.upper, what)

    def prepare(self, values):
        return self._rows(numbers(values))

    def _rows(self, values):
        """Numbers of the user [N] as those of the network, of which float32 puts none on a
        bound."""
        rows = (values - self.centre) / self.scale
        if self.heavy:
            return np.arcsinh(rows)
        outside = bounds.is_outside(values, self.lower, self.upper)
        return np.where(outside, rows, bounds.inside(rows, *self.row_bounds, np.float32))

    def _values(self, rows):
        rows = rows.astype(np.float64)
        values = self.centre + self.scale * (np.sinh(rows) if self.heavy else rows)
        return bounds.inside(values, self.lower, self.upper)

    def decode(self, rows):
        if self.is_counted_as_it_is and not self.whole and not self.has_bounds:
            return rows
        values = self._values(rows)
        if not self.whole:
            return values
        low = -np.inf if self.lower is None else np.floor(self.lower) + 1
        high = np.inf if self.upper is None else np.ceil(self.upper) - 1
        return np.clip(np.round(values), low, high).astype(np.int64)

    def log_det(self, rows):
        return -math.log(self.scale) - (_log_cosh(rows) if self.heavy else 0.0)

    def __str__(self):
        centre = f", {self.centre:.10g} subtracted" if self.centre else ""
        scale = f", divided by {self.scale:.4g}" if self.scale != 1 else ""
        ends = [(self.lower, "above"), (self.upper, "below")]
        ends = "".join(f", {word} {bound:.10g}" for bound, word in ends if bound is not None)
        heavy = ", heavy tails: asinh" if self.heavy else ""
        return f"continuous{', whole numbers' if self.whole else ''}{centre}{scale}{heavy}{ends}"


def numbers(values) -> np.ndarray:
    """Values [N] as float64; NaN where one is missing.

    Raises:
      UserError: one is no number.
    """
    values = np.asarray(values)
    if values.dtype.kind in "fiub":
        return values.astype(np.float64)
    import pandas as pd

    column = pd.Series(values)
    found = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = np.flatnonzero(np.isnan(found) & column.notna().to_numpy())
    if len(wrong):
        raise UserError(f"row {wrong[0] + 1}: {str(column.iloc[wrong[0]])[:40]!r} is no number")
    return found


def _middle(values: np.ndarray) -> tuple[float, float]:
    """The median of numbers [N], and half the distance of the quantiles 0.16 and 0.84."""
    if not len(values):
        return 0.0, 0.0
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    return float(middle), float(high - low) / 2


def _log_cosh(rows):
    """log cosh of rows, NumPy or TensorFlow."""
    if isinstance(rows, np.ndarray):
        with np.errstate(invalid="ignore"):  # missing cells
            return np.logaddexp(rows, -rows) - math.log(2)
    import tensorflow as tf

    return tf.abs(rows) + tf.math.softplus(-2 * tf.abs(rows)) - math.log(2)


def most_frequent(values: np.ndarray) -> tuple[float, float]:
    """The most frequent of the numbers [N], and its share."""
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()]), float(counts.max() / len(values))
