"""Pairs of parameters and data as they come, made ready for a posterior, or refused in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from flow_models.core import bounds
from flow_models.core.arrays import as_arrays, filled
from flow_models.core.errors import UserError, warn
from flow_models.models.columns import Columns
from flow_models.models.data_of_kinds import DataOfKinds, features, names_of_features
from flow_models.models.problem import Data
from flow_models.models.rows import as_named, by_name, is_missing, names_of
from flow_models.models.trials import Trials, trial_rows
from flow_models.simulators.drawn import Drawn

LEAST = 200  # pairs
KEPT = 20_000  # data of pairs that the model keeps, to predict from
REPEATS = 0.05  # share of the pairs that have one and the same value of a parameter


@dataclasses.dataclass
class OwnPairs:
    """Pairs that fit together.

    Attributes:
      simulator: names, scales and bounds.
      data: the codec of the data, with those that it keeps.
      table: the columns of x where they have kinds, or None; theta are then its prepared numbers.
      theta, y: whitened parameters [N, P] and data [N, M] as networks see them, float32.
      valid: which of the pairs given these are, [N given].
    """

    simulator: Drawn
    data: Data
    theta: np.ndarray
    y: np.ndarray
    valid: np.ndarray
    table: Columns | None = None

    def blocks(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """Further pairs like these, x [n, P] and y [n, M], as networks see them.

        Raises:
          UserError: values that are not finite or too large, or x outside its bounds.
        """
        as_arrays({"x": x, "y": y}, np.float64)
        drawn, table = self.simulator, self.table
        if table is None:
            if drawn.lower:
                bounds.check(x, drawn.names, drawn.lower, drawn.upper)
            theta = drawn.whitened(x)
        else:
            frame = _frame(x, table.names)
            table.check_bounds(frame)
            theta = table.prepare(frame)
        if isinstance(self.data, DataOfKinds):
            of_y = self.data.table
            y = features(of_y, of_y.prepare(_frame(y, of_y.names)))
        return as_arrays({"x": theta, "y": y})


def own_pairs(
    x, y, names=None, data_names=None, data_kinds=None, lower=None, upper=None, seed=0, kinds=None
):
    """The pairs x, y of a user; arguments as in `fit_posterior`.

    Raises:
      UserError: pairs that do not fit, too few of them, a parameter that is discrete, or x outside
        its bounds.
    """
    x, y = _as_columns(x), _as_columns(y)
    given, names = x, names_of(x) if names is None else names
    data_names = names_of(y) if data_names is None else data_names
    x = filled(x) if names is None else by_name(x, names, "x")
    y = filled(y) if data_names is None else by_name(y, data_names, "y")
    valid = _valid(x, y)
    rounded = x.dtype.kind == "f" and x.dtype.itemsize < 8
    x, y = (each if valid.all() else each[valid] for each in (x, y))
    grid = y.shape[1:3] if y.ndim == 4 else ()
    y = y.reshape(len(y), -1, y.shape[3]) if grid else y
    trials = y.ndim == 3
    if trials:
        most, rows, y = y.shape[1], trial_rows(y, y.shape[1]), np.nanmean(y, 1)
    table = _table(y, data_names, data_kinds, "data_kinds")
    prepared = y if table is None else table.prepare(_frame(y, data_names))
    y = y if table is None else features(table, prepared)
    data_names = data_names if table is None else names_of_features(table)
    frame = as_named(given, names)[list(names)][valid] if hasattr(given, "loc") and names else None
    of_x = _table(x, names, kinds, "kinds", frame)
    if of_x is not None:
        of_x, x = _prepared(of_x, _frame(x, names) if frame is None else frame, lower, upper)
        lower = upper = None
    elif rounded:
        x = _off_the_bounds(x, names, lower, upper)
    simulator = Drawn.of(x, y, names, data_names, lower, upper)
    if len(x) < LEAST:
        raise UserError(f"{len(x)} pairs; at least {LEAST} are needed, and thousands are better")
    numbers = list(range(x.shape[1])) if of_x is None else of_x.numbers
    refuse_discrete(np.asarray(x, np.float64)[:, numbers], [simulator.names[i] for i in numbers])
    theta = np.asarray(x if of_x else simulator.whitened(x), np.float32)
    if trials:
        data = Trials(simulator, None, most, grid)
        return OwnPairs(simulator, data, theta, rows.astype("f"), valid, of_x)
    y = np.asarray(y, np.float32)
    some = np.random.default_rng(seed).permutation(len(x))[:KEPT]
    kept = (y if table is None else prepared)[some]
    data = Data(simulator, kept) if table is None else DataOfKinds(simulator, kept, table)
    return OwnPairs(simulator, data, theta, y, valid, of_x)


def _prepared(table: Columns, frame, lower, upper) -> tuple[Columns, np.ndarray]:
    """Columns of x with bounds, and their prepared numbers [N, P].

    Raises:
      UserError: a column of identifiers, or values outside their bounds.
    """
    for name in table.identifiers:
        raise UserError(
            f"parameter {name!r} looks like an identifier: leave it out, or say what it is,"
            f" kinds={{{name!r}: 'categorical'}}"
        )
    table = table.bounded(lower, upper, frame)
    table.check_bounds(frame)
    return table, table.prepare(frame)


def _as_columns(values):
    """One number a row as a column [N, 1]; a series without names in its index as a frame."""
    if isinstance(getattr(values, "name", None), str) and hasattr(values, "to_frame"):
        return values.to_frame()
    if isinstance(values, (list, tuple)) or hasattr(values, "__array__"):
        try:
            array = np.asarray(values)
        except ValueError:
            return values
        return array[:, None] if array.ndim == 1 and array.dtype.kind in "fiub" else values
    return values


def _valid(x, y) -> np.ndarray:
    """Which simulations gave data, [N]; warns of the others."""
    if x.ndim != 2 or y.ndim not in (2, 3, 4) or len(x) != len(y):
        return np.ones(len(x), bool)  # refused later
    bad = ~np.isfinite(y) if y.dtype.kind == "f" else is_missing(y)
    if y.ndim > 2:  # a trial may be missing, not all of them
        bad, infinite = (each.reshape(len(y), -1, y.shape[-1]) for each in (bad, np.isinf(y)))
        bad = np.any(infinite, 2) | np.all(np.any(bad, 2), 1)[:, None]
    lost = np.any(bad, 1)
    if lost.any() and not lost.all():
        warn(
            f"{lost.sum():,} of {len(y):,} simulations have data that are NaN, infinite or missing,"
            f" the first in row {int(np.argmax(lost))}: they are left out, and the prior is that of"
            " the others"
        )
        return ~lost
    return np.ones(len(x), bool)


def _off_the_bounds(x, names, lower, upper):
    """Numbers of less than 64 bits that rounding has put on a bound, beside it in float64."""
    names = [f"x{i + 1}" for i in range(x.shape[-1])] if names is None else list(map(str, names))
    sides = bounds.of_columns(lower, upper, names)
    columns = np.asarray(x, np.float64).T.copy()
    for column, low, high in zip(columns, *sides, strict=True):
        for bound, side in ((low, 1), (high, -1)):
            if bound is not None:
                column[column == np.asarray(bound, x.dtype)] = bounds.beside(bound, side)
    return columns.T


def refuse_discrete(x: np.ndarray, names: Sequence[str]) -> None:
    """Raises UserError for a column of x [N, P] whose values repeat: its density would be a spike.

    Parameters that were simulated several times repeat as a whole and are taken.
    """
    rows = len(np.unique(x, axis=0))
    for name, column in zip(names, x.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        whole = bool((values == np.round(values)).all())
        repeats = len(values) < 0.5 * rows or counts.max() > max(REPEATS * len(x), len(x) / rows)
        if len(values) < len(x) and (repeats or whole and len(values) < 0.9 * len(x)):
            raise UserError(
                f"parameter {name!r} has {len(values):,} values in {len(x):,} pairs,"
                f" {values[counts.argmax()]:g} in {counts.max():,} of them: a density needs numbers"
                f" that vary continuously. kinds={{{name!r}: 'integer'}} (or count, categorical,"
                " atom) gives it probabilities; or leave it out"
            )


def _table(
    values, names: Sequence[str] | None, told: Mapping[str, str] | None, what: str, frame=None
) -> Columns | None:
    """The columns with kinds, found in a DataFrame as the user has it; None where all are numbers
    and no kind is told."""
    if not told and np.asarray(values).dtype.kind in "fiub" or names is None and not told:
        return None
    if names is None:
        named = "data_names" if what == "data_kinds" else "names"
        raise UserError(f"{what} go by name: give a DataFrame, or {named}")
    return Columns.of(_frame(values, names) if frame is None else frame, told)


def _frame(values, names):
    """Values [N, D] as a DataFrame."""
    import pandas as pd

    return pd.DataFrame(np.asarray(values), columns=[str(name) for name in names]).infer_objects()
