"""Columns of categories."""

import dataclasses
from typing import ClassVar

import numpy as np

from flow_models.bijectors import cdf
from flow_models.models.kinds import NOISE, Kind


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
        column = column if ordered else _merged(column)
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
            found[other] = self._of_words(column[other].map(_word)).fillna(float(len(codes)))
        return np.where(missing, np.nan, found.to_numpy(np.float64))

    def _of_words(self, words):
        """Codes of values as text, by their numbers where all categories are numbers."""
        import pandas as pd

        if all(_is_number(value) for value in self.categories):
            codes = {value: float(code) for code, value in enumerate(self.categories)}
            return pd.to_numeric(words, errors="coerce").map(codes)
        return words.map({_word(value): float(code) for code, value in enumerate(self.categories)})

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


def _merged(column):
    """Values that differ in type or in blanks alone as one: "a " is a, and 1 beside text "1"."""
    found = column.dropna().unique()
    if not any(isinstance(value, str) for value in found):
        return column
    words = {value: _word(value) for value in found}
    return column if all(words[value] == value for value in found) else column.map(words)


def _is_number(value) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _word(value) -> str:
    """A value as text, without blanks around it; the number 2.0 is 2."""
    if _is_number(value) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _by_kind(value):
    """Numbers in their order, then texts in theirs."""
    is_number = isinstance(value, (int, float, np.number))
    return (not is_number, value if is_number else 0, str(value))


def _plain(value):
    """A value that JSON keeps."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)
