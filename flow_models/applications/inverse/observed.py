"""Observations of one's own: tables of data in, quantiles of posteriors out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from flow_models.core.errors import UserError
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


def noise_level(table: dict[str, np.ndarray], sigma: float) -> float:
    """The standard deviation of the noise: column sigma of the table, else the one given.

    Raises:
      UserError: neither, or a column of several values.
    """
    found = table.get("sigma", np.full(1, sigma))
    if np.ptp(found) > 0 or not found[0] > 0:
        raise UserError(
            "give the noise as one number above 0: --sigma, or a column sigma with one value"
        )
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
