"""Observations of one's own: tables of data in, quantiles of posteriors out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.data import tables

LARGEST = 1e18  # its square is still a 32-bit number
LEVELS = (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)


def read_columns(
    uri: str, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The named columns of a table, float64 [N], with units in their names; optional ones where
    they are there.

    Raises:
      UserError: no such file or column, or a value that is no finite number or above `LARGEST`.
    """
    frame = tables.read_frame(uri)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        columns = ", ".join([*names, *(f"[{name}]" for name in optional)])
        raise UserError(
            f"{os.path.basename(uri)} has no column {missing[0]!r}; columns are {columns}"
        )
    wanted = [name for name in (*names, *optional) if name in frame.columns]
    values = tables.as_numbers(frame[wanted], os.path.basename(uri))
    if not len(values):
        raise UserError(f"{os.path.basename(uri)} has no rows")
    if np.abs(values).max() > LARGEST:
        largest = np.abs(values).max()
        raise UserError(
            f"{os.path.basename(uri)} holds {largest:g}, too large for 32-bit numbers: check its"
            " units"
        )
    return dict(zip(wanted, values.T))


def doubt_unit(
    said: str, size: float, usual: tuple[float, float], unit: str, others: Mapping[str, float]
) -> None:
    """Warns where a size lies outside its usual range; the other unit in which it lies inside, if
    there is one, is asked for.

    Args:
      said: what is odd, for example "column station_km: stations between 1,000 and 39,000".
      others: name of another unit -> what turns it into `unit`.
    """
    low, high = usual
    if low <= size <= high:
        return
    known = [name for name, factor in others.items() if low <= factor * size <= high]
    question = f"are these {known[0]}?" if known else "is this right?"
    warn(f"{said}: {question} Expected {unit}; do not trust this posterior otherwise")


def noise_level(
    table: dict[str, np.ndarray],
    sigma: float,
    trained: tuple[float, float],
    others: Mapping[str, float] = MappingProxyType({}),
) -> float:
    """The standard deviation of the noise: column sigma of the table, else the one given.

    Warns where it lies outside the range that the network is trained for; `others` as in
    `doubt_unit`.

    Raises:
      UserError: neither, or a column of several values.
    """
    found = table.get("sigma", np.full(1, sigma))
    if np.ptp(found) > 0 or not found[0] > 0:
        raise UserError(
            "give the noise as one number above 0: --sigma, or a column sigma with one value"
        )
    low, high = trained
    said = f"the noise has the standard deviation {found[0]:g}"
    unit = f"{low:g} to {high:g}, which the network is trained for"
    doubt_unit(said, found[0], trained, unit, others)
    return found[0]


def quantile_table(samples: np.ndarray, names: Sequence[str], labels: Sequence[str] = ("",)) -> str:
    """CSV of mean, sd and quantiles of posterior samples [B, S, P]: a row a parameter, of every
    observation of `labels`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    several = len(labels) > 1
    writer.writerow(
        [
            *(["observation"] if several else []),
            "parameter",
            "mean",
            "sd",
            *(f"q{level:g}" for level in LEVELS),
        ]
    )
    for label, draws in zip(labels, samples):
        draws = np.asarray(draws, np.float64)
        quantiles = np.quantile(draws, LEVELS, axis=0)
        for i, name in enumerate(names):
            numbers = [draws[:, i].mean(), draws[:, i].std(), *quantiles[:, i]]
            writer.writerow(
                [*([label] if several else []), name, *(f"{value:.6g}" for value in numbers)]
            )
    return buffer.getvalue()
