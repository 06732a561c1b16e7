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
from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable

FAR, TINY, HUGE = 1e3, 1e-4, 1e4  # |mean| / sd, and sd, where float32 needs a centre or a scale
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

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Continuous(Kind):
    """A number, (value - centre) / scale; log p has the density of the value.

    Attributes:
      centre, scale: subtracted and divided by in float64; 0 and 1 where float32 does not need them.
      whole: whether values are whole numbers, too many for steps to matter; samples are rounded.
    """

    name: ClassVar[str] = "continuous"
    centre: float = 0.0
    scale: float = 1.0
    whole: bool = False

    @classmethod
    def of(cls, values, **options) -> Self:
        """With the centre and the scale that numbers [N] need in float32."""
        values = np.asarray(values, np.float64)
        values = values[np.isfinite(values)]
        mean, sd = (values.mean(), values.std()) if len(values) else (0.0, 0.0)
        scale = sd if sd > 0 and not TINY <= sd <= HUGE else 1.0
        centre = mean if sd > 0 and (abs(mean) > FAR * sd or scale != 1) else 0.0
        return cls(float(centre), float(scale), **options)

    @property
    def is_plain(self):
        return (self.centre, self.scale, self.whole) == (0.0, 1.0, False)

    def prepare(self, values):
        values = numbers(values)
        return (values - self.centre) / self.scale

    def decode(self, rows):
        if self.is_plain:
            return rows
        values = self.centre + self.scale * rows.astype(np.float64)
        return np.round(values).astype(np.int64) if self.whole else values

    def log_det(self, rows):
        return -math.log(self.scale)

    def __str__(self):
        centre = f", {self.centre:.10g} subtracted" if self.centre else ""
        scale = f", divided by {self.scale:.4g}" if self.scale != 1 else ""
        return f"continuous{', whole numbers' if self.whole else ''}{centre}{scale}"


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


def most_frequent(values: np.ndarray) -> tuple[float, float]:
    """The most frequent of the numbers [N], and its share."""
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()]), float(counts.max() / len(values))
