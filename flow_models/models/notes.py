"""Why a row has no density: cells that are missing, and values on or outside a bound."""

import numpy as np

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.mixed import Mixed
from flow_models.bijectors.number_cdf import NumberCDF
from flow_models.core import errors
from flow_models.models.categories import Categorical
from flow_models.models.missing import is_modelled
from flow_models.models.rows import is_missing
from flow_models.models.truncated import Truncated
from flow_models.models.whole import Count

SHOWN = 5  # rows that a warning names
FAR = "too far from the training data for 32-bit numbers"


def warn(model, x, log_prob: np.ndarray) -> None:
    """Warns of rows without a density, log p NaN or -inf: which rows, which column, and why."""
    reasons = of_rows(model, x, log_prob)
    for reason in sorted(set(reasons) - {""}):
        rows = np.flatnonzero(reasons == reason)
        more = f" and {len(rows) - SHOWN:,} more" if len(rows) > SHOWN else ""
        named = f"rows {', '.join(map(str, rows[:SHOWN]))}{more}" if np.ndim(log_prob) else "x"
        value = "NaN" if np.isnan(np.ravel(log_prob)[rows[0]]) else "-inf"
        errors.warn(f"log p of {named} is {value}: {reason}")


def of_rows(model, x, log_prob) -> np.ndarray:
    """For each row of x [..., D] why its log p [...] is NaN or -inf, [B]; "" where it is finite."""
    log_prob, names = np.ravel(log_prob), list(model.columns)
    reasons = np.full(len(log_prob), "", object)
    bad = np.flatnonzero(~np.isfinite(log_prob))
    values = _values(model.codec.array(x), names) if len(bad) and names else ()
    if len(bad) and len(values) == len(log_prob):  # else one x has many y
        reasons[bad] = _reasons(model, values[bad])
    return reasons


def _reasons(model, values: np.ndarray) -> np.ndarray:
    """What is wrong with each of the rows [B, D] of the user's values."""
    found, gaps = np.full(len(values), "", object), is_missing(values)
    empty = gaps & (not is_modelled(model))
    rows = model.codec.encode(values, model.dtype.as_numpy_dtype).rows
    bounds, numbers = bounds_of_model(model) or [(None, None)] * len(model.columns), rows
    if isinstance(model.codec, Truncated):
        numbers = values.astype(np.float64)
        found[model.codec.is_beyond(numbers)] = "the row is outside the support"
    kinds = getattr(model.codec, "kinds", ()) or (None,) * len(model.columns)
    wrong_number = ~np.isfinite(rows) & ~gaps | empty
    for i, (name, (low, high), kind) in enumerate(zip(model.columns, bounds, kinds)):
        number = numbers[:, i]
        unknown = isinstance(kind, Categorical) and number >= len(kind.categories)
        wrong = {
            f"no value of {name!r}": empty[:, i],
            f"column {name!r} is on its lower bound": low is not None and number == low,
            f"column {name!r} is on its upper bound": high is not None and number == high,
            f"column {name!r} is below its lower bound": low is not None and number < low,
            f"column {name!r} is above its upper bound": high is not None and number > high,
            f"column {name!r} has a category that training did not have": unknown,
            f"column {name!r} is a count and below 0": isinstance(kind, Count) & (number < 0),
            f"column {name!r} has a value that has no density": wrong_number[:, i],
        }
        for reason, where in wrong.items():
            found[(found == "") & where] = reason
    found[found == ""] = FAR
    return found


def bounds_of_model(model) -> list[tuple] | None:
    """(lower, upper) of each column of x, of the layers or of the codec that cuts."""
    if isinstance(model.codec, Truncated):
        simulator = model.codec.simulator
        return list(zip(simulator.lower, simulator.upper))  # type: ignore[attr-defined]
    return bounds_of(model.layer)


def bounds_of(layer: Layer | None) -> list[tuple] | None:
    """(lower, upper) of each column, of the first layer with bounds; None where there is none."""
    if layer is None:
        return None
    if hasattr(layer, "lower") and hasattr(layer, "upper"):
        return list(zip(layer.lower, layer.upper))
    if isinstance(layer, Mixed):
        rest = iter(bounds_of(layer.layer) or ())
        free = (None, None)
        return [
            (cdf.lowest, cdf.highest)
            if isinstance(cdf, NumberCDF)
            else next(rest, free)
            if cdf is None
            else free
            for cdf in layer.columns
        ]
    inner = layer.layers if isinstance(layer, Chain) else [getattr(layer, "layer", None)]
    found = (bounds_of(each) for each in inner)
    return next((each for each in found if each is not None), None)


def _values(x, names) -> np.ndarray:
    """Rows [B, D] of the user's values, as objects where columns are no numbers."""
    values = x[names].to_numpy(object) if hasattr(x, "columns") else x
    return values.reshape(-1, len(names))
