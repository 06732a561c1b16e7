"""Rows of a table of the user's: those with gaps, those outside bounds, and values that repeat."""

from collections.abc import Sequence

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.data.tables.checks import plural, row_numbers

MISSING = ("refuse", "drop")
_ATOM = 0.05  # share of one value that is warned of
_COPIES = 0.01  # share of rows that repeat others, or of test rows that training has, too
_FREQUENT, _MOST_COPIES = 0.01, 20  # share and number of equal rows, above which they are no copies
_FEWEST = 10  # equal values, below which nothing is said of them


def without_missing(frame, missing: str, source: str):
    """The rows of a DataFrame without missing or infinite cells, with a warning that says how many
    are left out and why; all of them where `missing` is "refuse" and the checks refuse them.

    Raises:
      UserError: `missing` is neither.
    """
    if missing not in MISSING:
        raise UserError(f"missing is {missing!r}, must be {' or '.join(MISSING)}")
    if missing == "refuse":
        return frame
    bad = bad_cells(frame)
    if not bad.any():
        return frame
    rows = row_numbers(frame)
    reasons = [
        f"column '{name}' {count} (first in row {rows[np.argmax(bad[:, i])]})"
        for i, (name, count) in enumerate(zip(frame.columns, bad.sum(0)))
        if count
    ]
    warn(
        f"{source}: {plural(int(bad.any(1).sum()), 'row')} of {len(frame):,} left out for missing"
        f" or infinite cells: {', '.join(reasons)}"
    )
    return frame[~bad.any(1)]


def bad_cells(frame) -> np.ndarray:
    """Which cells [N, D] of a DataFrame are missing or infinite."""
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    found = [
        ~np.isfinite(column.to_numpy()) if column.dtype.kind == "f" else column.isna().to_numpy()
        for column in columns
    ]
    return np.stack(found, 1)


def check_bounds(
    frame,
    lower: Sequence[float | None] | None,
    upper: Sequence[float | None] | None,
    source: str = "the table",
) -> None:
    """Raises UserError for the first value of a DataFrame that is not above its lower bound or not
    below its upper one; it names the column and the row of the file."""
    rows = row_numbers(frame)
    for i, name in enumerate(frame.columns):
        for bounds, sign, words in ((lower, 1, "above the lower"), (upper, -1, "below the upper")):
            bound = None if bounds is None else bounds[i]
            if bound is None or frame.iloc[:, i].dtype.kind not in "fiu":
                continue
            values = frame.iloc[:, i].to_numpy(np.float64)
            outside = ~(sign * values > sign * bound) & ~np.isnan(values)
            if outside.any():
                first = int(np.argmax(outside))
                more = f" (and {outside.sum() - 1} more)" if outside.sum() > 1 else ""
                raise UserError(
                    f"{source}: column '{name}', row {rows[first]}: {values[first]:g} is not"
                    f" {words} bound {bound:g}{more}; widen the bound or leave the rows out"
                )


def warn_of_steps(frame, source: str) -> None:
    """Warns of columns of numbers [N] whose density is unbounded: of one value in many rows, and of
    whole numbers."""
    for name in frame.columns if len(frame) >= 2 * _FEWEST else ():
        column = frame[name].dropna()
        values, counts = np.unique(column.to_numpy(np.float64), return_counts=True)
        share = counts.max() / len(column)
        about = f"{source}: column '{name}'"
        if share >= _ATOM and counts.max() >= _FEWEST and (len(values) > 2 or share > 0.5):
            warn(
                f"{about}: {share:.0%} of the values are {values[counts.argmax()]:g}; a density is"
                " unbounded there, so that nll says little: model the column as an atom, a count or"
                " a category (--kinds of application 1), or leave it out"
            )
        elif (values == np.round(values)).all() and len(values) < len(column):
            warn(
                f"{about} holds whole numbers ({len(values):,} different ones); a density is"
                " unbounded there, so that nll says little: model it as a count or an integer"
                " (--kinds of application 1), or add noise"
            )


def groups_of_copies(frame, source: str = "") -> np.ndarray | None:
    """For each row of a DataFrame or array [N, D] the number of its group of equal rows [N]; None
    where no two are equal. Of a source with a name, many are warned of.

    Rows of which there are more than 20 and more than 1% of the table are no copies but a value
    that is frequent, which each part of a split should show: such a row is a group of its own.
    """
    _, group, counts = np.unique(_keys(frame), return_inverse=True, return_counts=True)
    frequent = counts > max(_FREQUENT * len(group), _MOST_COPIES)
    copies = int((counts[~frequent] - 1).sum())
    if not copies:
        return None
    if source and copies >= _COPIES * len(group):
        warn(
            f"{source}: {copies / len(group):.0%} of the rows are copies of others, so that test"
            " rows would be training rows, too; all copies of a row are put in one part of the"
            " data. Leave copies out if they are not meant"
        )
    return np.where(frequent[group], len(counts) + np.arange(len(group)), group)


def _keys(rows) -> np.ndarray:
    """A hash of each row, uint64 [N]."""
    import pandas as pd

    return pd.util.hash_pandas_object(pd.DataFrame(rows), index=False).to_numpy()


def warn_of_copies(train, test, source: str) -> None:
    """Warns where rows of the test [M, D] are in training [N, D], too."""
    keys = [_keys(rows) for rows in (train, test)]
    share = np.isin(keys[1], keys[0]).mean() if len(keys[1]) else 0.0
    if share >= _COPIES:
        warn(
            f"{source}: {share:.0%} of the test rows are training rows, too: nll_test is too low"
            " for new data; leave repeated rows out"
        )
