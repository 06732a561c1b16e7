"""Kinds of columns: what one column of a table is to its user, and how it becomes one number of the
network and comes back.

The host prepares a column once, in float64 (`prepare`); `placed` adds the noise that whole numbers
need, in the compiled step or in NumPy; `decode` goes back. A kind with a `cdf` is modelled by it
(see `bijectors.mixed`), so that probabilities of categories and counts are exact and log p(row) is
of the row itself, whatever the noise. The others are numbers of the flow.
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
WIDEST = 2**22  # between whole numbers, of which float32 knows each
NOWHERE = -5.0  # a number of the network that a one-sided atom gives no density


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


@dataclasses.dataclass(frozen=True)
class Date(Continuous):
    """A time; log p has the density per second, or per day where all times are whole days.

    Attributes:
      whole: whole days.
      zone: its time zone, empty for none.
    """

    name: ClassVar[str] = "date"
    zone: str = ""

    @classmethod
    def of_dates(cls, values) -> Self:
        """The kind of datetimes, or of texts that are, [N]."""
        import pandas as pd

        times = _times(values)
        zone = str(getattr(pd.Series(values).dtype, "tz", None) or "")
        known = times[~np.isnan(times)]
        whole = bool(len(known)) and bool((known % DAY == 0).all())
        seconds = known / DAY if whole else known
        return cls.of(seconds, whole=whole, zone=zone)

    def prepare(self, values):
        times = _times(values) / (DAY if self.whole else 1.0)
        return (times - self.centre) / self.scale

    def decode(self, rows):
        import pandas as pd

        values = self.centre + self.scale * rows.astype(np.float64)
        seconds = np.round(values) * DAY if self.whole else values
        times = pd.to_datetime(np.round(seconds * 1e6), unit="us")
        times = times.tz_localize("UTC").tz_convert(self.zone) if self.zone else times
        return times.to_numpy() if not self.zone else times

    def __str__(self):
        unit = "days" if self.whole else "seconds"
        return f"date, in {unit}{f' ({self.zone})' if self.zone else ''}"


DAY = 86_400.0  # seconds


@dataclasses.dataclass(frozen=True)
class Categorical(Kind):
    """One of a few values; log p has its probability. A value that was not in the training data has
    the probability 0.

    Attributes:
      categories: the values, in order.
      shares: of each in the training data.
    """

    name: ClassVar[str] = "categorical"
    noisy: ClassVar[bool] = True
    categories: tuple
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values) -> "Categorical":
        """With the categories of values [N], those of a pandas categorical in its order."""
        import pandas as pd

        column = pd.Series(values)
        ordered = isinstance(column.dtype, pd.CategoricalDtype)
        counts = column.value_counts(sort=False)
        found = list(column.cat.categories) if ordered else sorted(counts.index, key=_by_kind)
        found = [value for value in found if counts[value] > 0]
        shares = [counts[value] / max(counts.sum(), 1) for value in found]
        return cls(tuple(_plain(value) for value in found), tuple(shares))

    def prepare(self, values):
        import pandas as pd

        column = pd.Series(np.asarray(values, object))
        codes = {value: float(code) for code, value in enumerate(self.categories)}
        found = column.map(codes)
        missing, other = column.isna(), found.isna()
        if (other & ~missing).any():  # numbers that a file has as text, and the other way round
            texts = {str(value): code for value, code in codes.items()}
            found[other] = column[other].astype(str).map(texts).fillna(float(len(codes)))
        return np.where(missing, np.nan, found.to_numpy(np.float64))

    def placed(self, rows, noise):
        return rows + NOISE * noise

    def decode(self, rows):
        codes = np.clip(np.floor(rows), 0, len(self.categories) - 1).astype(int)
        kinds = {type(value) for value in self.categories}
        if kinds <= {bool} or kinds <= {int} or kinds <= {float}:
            return np.array(self.categories)[codes]
        return np.array(self.categories, object)[codes]

    @property
    def cdf(self):
        return cdf.CategoryCDF(self.shares)

    def __str__(self):
        count = len(self.categories)
        first = ", ".join(map(str, self.categories[:5])) + (", ..." if count > 5 else "")
        return f"categorical, {count} values ({first})"


@dataclasses.dataclass(frozen=True)
class Integer(Kind):
    """A whole number; log p has its probability.

    Attributes:
      offset: subtracted, a whole number.
      centre, scale: median and spread of what is left.
      floating: whether the user has it as a float.
    """

    name: ClassVar[str] = "integer"
    noisy: ClassVar[bool] = True
    offset: int = 0
    centre: float = 0.0
    scale: float = 1.0
    floating: bool = False

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
        offset = 0 if issubclass(cls, Count) else int(np.median(known))
        left = known - offset
        scale = max(float(np.subtract(*np.quantile(left, (0.84, 0.16)))) / 2, 0.1 * left.std(), 0.5)
        return cls(offset, float(np.median(left)), scale, floating)

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
        return cdf.CountCDF(self.centre, self.scale, None)


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
        return cdf.CountCDF(self.centre, self.scale, 0.0)


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
        period = period or (2 * math.pi if max(-low, high) <= 2 * math.pi + 1e-5 else 360.0)
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


@dataclasses.dataclass(frozen=True)
class Atom(Kind):
    """A number with one value of a probability of its own, such as rain that is 0 on most days; log
    p has this probability at the atom and a density elsewhere.

    Attributes:
      atom: the value.
      share: of it in the training data.
      scale: of the other values' distance from it.
      side: 1 where all others are above it, -1 below, 0 on both sides.
      middle, spread: of the distance in scales, or of its logarithm on one side.
    """

    name: ClassVar[str] = "atom"
    noisy: ClassVar[bool] = True
    atom: float = 0.0
    share: float = 0.5
    scale: float = 1.0
    side: int = 1
    middle: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, values, atom: float | None = None):
        """Of the atom, or, where none is told, of the most frequent value of the numbers [N]."""
        known = numbers(values)
        known = known[np.isfinite(known)]
        atom = float(most_frequent(known)[0] if atom is None else atom)
        is_atom = known == atom
        rest = known[~is_atom] - atom
        if len(rest) < 2 or not is_atom.any() or rest.std() == 0:
            raise UserError(f"it needs the atom {atom:g} and other values that vary")
        side = int(rest.min() > 0) - int(rest.max() < 0)
        scale = float(np.median(np.abs(rest)))
        w = np.log(np.abs(rest) / scale) if side else rest / scale
        return cls(atom, float(is_atom.mean()), scale, side, float(w.mean()), float(w.std()) or 1.0)

    def prepare(self, values):
        """The distance in scales; 0 is the atom, which `placed` puts into its gap. Where values are
        on one side, those on the other have no density."""
        distance = (numbers(values) - self.atom) / self.scale
        distance = -distance if self.side < 0 else distance
        return np.where(distance < 0, NOWHERE, distance) if self.side else distance

    def placed(self, rows, noise):
        edge = self.cdf.edge
        at_atom = edge - 1 + NOISE * noise
        if isinstance(rows, np.ndarray):
            return np.where(rows == 0, at_atom, rows + edge * np.sign(rows))
        import tensorflow as tf

        return tf.where(rows == 0, at_atom, rows + edge * tf.sign(rows))

    def decode(self, rows):
        edge, rows = self.cdf.edge, rows.astype(np.float64)
        distance = np.where(rows >= edge, rows - edge, rows + edge) * (-1 if self.side < 0 else 1)
        is_atom = (rows >= edge - 1) & (rows < edge)
        return np.where(is_atom, self.atom, self.atom + self.scale * distance)

    def log_det(self, rows):
        edge = self.cdf.edge
        is_atom = (rows >= edge - 1) & (rows < edge)
        return -math.log(self.scale) * _float_of(~is_atom, rows)

    @property
    def cdf(self):
        return cdf.AtomCDF(self.share, self.side == 0, self.middle, self.spread)

    def __str__(self):
        return f"continuous with an atom: {100 * self.share:.0f}% are {self.atom:g}"


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


def _times(values) -> np.ndarray:
    """Datetimes, or texts that are, [N] as seconds since 1970, float64."""
    import pandas as pd

    column = pd.Series(values)
    form = None if pd.api.types.is_datetime64_any_dtype(column.dtype) else "ISO8601"
    try:
        times = pd.DatetimeIndex(pd.to_datetime(column, utc=True, format=form))
    except (ValueError, TypeError) as error:
        raise UserError(f"not all values are dates: {' '.join(str(error).split())}") from None
    whole = times.as_unit("us").asi8.astype(np.float64)
    return np.where(times.isna(), np.nan, whole / 1e6)


def _by_kind(value):
    """Numbers in their order, then texts in theirs."""
    is_number = isinstance(value, (int, float, np.number))
    return (not is_number, value if is_number else 0, str(value))


def _plain(value):
    """A value that JSON keeps."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _tf_placed(rows, placed, wrong):
    import tensorflow as tf

    return tf.where(wrong, rows, placed)


def _float_of(mask, like):
    if isinstance(like, np.ndarray):
        return mask.astype(like.dtype)
    import tensorflow as tf

    return tf.cast(mask, like.dtype)
