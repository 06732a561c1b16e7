"""Columns of dates and times."""

import dataclasses
from typing import ClassVar, Self

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.kinds import Continuous

DAY = 86_400.0  # seconds


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
        return self._rows(_times(values) / (DAY if self.whole else 1.0))

    def decode(self, rows):
        import pandas as pd

        values = self._values(rows)
        seconds = np.round(values) * DAY if self.whole else values
        times = pd.to_datetime(np.round(seconds * 1e6), unit="us")
        times = times.tz_localize("UTC").tz_convert(self.zone) if self.zone else times
        return times.to_numpy() if not self.zone else times

    def __str__(self):
        unit = "days" if self.whole else "seconds"
        return f"date, in {unit}{f' ({self.zone})' if self.zone else ''}"


def _times(values) -> np.ndarray:
    """Datetimes, or texts that are, [N] as seconds since 1970, float64."""
    import pandas as pd

    column = pd.Series(values)
    form = None if pd.api.types.is_datetime64_any_dtype(column.dtype) else "ISO8601"
    try:
        times = pd.DatetimeIndex(pd.to_datetime(column, utc=True, format=form))
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split()).partition(". You ")[0]
        raise UserError(f"not all values are dates: {reason}") from None
    whole = times.as_unit("us").asi8.astype(np.float64)
    return np.where(times.isna(), np.nan, whole / 1e6)
