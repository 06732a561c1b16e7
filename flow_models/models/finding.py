"""Kinds of columns, found by their values or told by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.models.atoms import Atom
from flow_models.models.categories import Categorical
from flow_models.models.circular import Circular
from flow_models.models.dates import Date
from flow_models.models.kinds import Continuous, Kind, most_frequent, numbers
from flow_models.models.whole import WIDEST, Count, Integer

FEWEST = 20  # rows, below which nothing is said of repeated values
MOST_CATEGORIES = 200
MOST_CODES = 20  # whole numbers with gaps between them that are categories
ATOM = 0.05  # share of one value that makes it an atom
WIDE = 500.0  # spread of whole numbers, above which a step does not matter
CODE = r"0\d+"  # 007, which is not 7
MARKED = r"[+-]\d+|[+-]?\d*[.,]\d*([eE][+-]?\d+)?"  # a number that is no code
DATE = r"\s*\d{4}-\d{2}-\d{2}([T ].*)?"

DIGITS = r"[^A-Za-z]*\d[^A-Za-z]*|[+-]?\d+\.?\d*[dD][+-]?\d+|0x[0-9a-fA-F]+"  # and marks

NAMES: dict[str, Callable] = {
    "continuous": Continuous.of,
    "categorical": Categorical.of,
    "count": Count.of,
    "integer": Integer.of,
    "circular": Circular.of,
    "date": Date.of_dates,
    "atom": Atom.of,
}
NUMBERED = ("circular", "atom")  # may have a number behind the name


def kinds_of(frame, told: Mapping[str, str] | None = None) -> dict[str, Kind | None]:
    """Name -> kind of the columns of a DataFrame; None for identifiers, which are not learned.

    Dates, booleans and texts are told by their type; digits with zeros in front (007) are text
    where the frame has them so. A text that is distinct in (almost) every row is an identifier,
    and so are whole numbers that count the rows. Two values, or a few whole numbers with gaps, are
    categories, other whole numbers counts; one value in 5% of the rows among many others is an
    atom.

    Args:
      told: kinds by name, which win (see `Columns.of`).

    Raises:
      UserError: no such column or kind, or values that do not fit it.
    """
    if told and not isinstance(told, Mapping):
        raise UserError(
            f"kinds are a dictionary by name, such as {{'hour': 'circular 24'}}: {told!r}"
        )
    told = dict(told or {})
    unknown = [name for name in told if name not in frame.columns]
    if unknown:
        there = ", ".join(map(str, frame.columns))
        raise UserError(f"a kind for {unknown[0]!r}; the columns are {there}")
    return {str(name): _kind(str(name), frame[name], told.get(name)) for name in frame.columns}


def _kind(name, column, told):
    try:
        return _told(column, told) if told else found(column)
    except UserError as error:
        raise UserError(f"column {name!r}: {error}") from None


def _told(column, told: str):
    name, _, number = str(told).strip().partition(" ")
    if name == "identifier" and not number:
        return None
    if name not in NAMES or number and name not in NUMBERED:
        raise UserError(f"no kind {told!r}; there are {', '.join(NAMES)} and identifier")
    try:
        options = [float(number)] if number else []
    except ValueError:
        raise UserError(f"{told!r}: a number is expected behind {name}") from None
    return NAMES[name](column.dropna(), *options)


def found(column) -> Kind | None:
    """The kind of a pandas column by its values."""
    import pandas as pd

    known = column.dropna()
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return Date.of_dates(known)
    if pd.api.types.is_bool_dtype(column.dtype) or isinstance(column.dtype, pd.CategoricalDtype):
        return Categorical.of(known)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        return _of_texts(known)
    return _of_numbers(known.to_numpy(np.float64), known)


def _of_texts(column) -> Kind | None:
    import pandas as pd

    texts = column.astype(str).str.strip()
    codes = texts[texts.str.fullmatch(CODE)]
    is_code = len(codes) > 0 and not texts.str.fullmatch(MARKED).any()
    values = pd.to_numeric(column, errors="coerce")
    if not is_code and len(column) and values.notna().mean() > 0.5:
        # a wrong cell among numbers is no text
        return _of_numbers(numbers(column.to_numpy()), values)
    if len(texts) and texts.str.fullmatch(DATE).all():
        return Date.of_dates(column)
    distinct = texts.nunique()
    if is_code:
        _warn_of_codes(column.name, codes.iloc[0])
    elif distinct > MOST_CODES:
        _warn_of_digits(texts)
    if distinct > MOST_CATEGORIES or distinct > max(0.5 * len(column), 2):
        return None
    return Categorical.of(column)


def _warn_of_codes(name, code: str) -> None:
    """Warns of digits that are kept as text, since 007 and 7 may be two codes."""
    warn(
        f"column {name!r} is taken as text, for {code!r} with its zero in front is a code and not"
        f" {int(code)}: tell its kind (count, integer, continuous) if it is a number"
    )


def _warn_of_digits(texts) -> None:
    """Warns of texts that may be numbers or dates in a notation that is not understood."""
    digits = texts.str.fullmatch(DIGITS)
    if digits.mean() > 0.5:
        warn(
            f"column {texts.name!r} is taken as text, such as {texts[digits].iloc[0]!r}: write"
            " numbers in digits alone and dates as 2024-05-31, or tell its kind (categorical,"
            " identifier)"
        )


def _of_numbers(values: np.ndarray, column) -> Kind | None:
    if len(values) < FEWEST:
        return Continuous.of(values)
    distinct, whole = len(np.unique(values)), bool((values == np.round(values)).all())
    if whole and distinct == len(values) and (np.abs(np.diff(values)) == 1).all():
        return None  # it counts the rows
    is_code = whole and distinct <= MOST_CODES and np.ptp(values) > 2 * distinct
    if distinct == 2 or is_code and distinct > 1:
        return Categorical.of(column)
    if whole and distinct > 1 and np.ptp(values) <= WIDEST:
        kind = (Count if values.min() >= 0 else Integer).of(column.to_numpy())
        if kind.scale <= WIDE or kind.is_heaped:
            return kind
    value, share = most_frequent(values)
    if share >= ATOM and distinct > MOST_CODES and distinct > 0.5 * (1 - share) * len(values):
        return Atom.of(values, value)
    return Continuous.of(values, whole=whole and distinct > 1)
