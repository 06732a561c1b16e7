"""Data far from all those that a posterior has learned from."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from flow_models.core.errors import warn

MOST = 4000  # kept data that y is compared with
LEAST = 1e-3  # tail probability, below which y is far
FLOOR = 1e-6  # least variance of a direction, of columns with variance 1


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of data that a model keeps.

    Attributes:
      mean, sd: [C]; rows become z = (y - mean) / sd.
      axes: z @ axes [C, C] is N(0, I) of the data.
      kept: distance of the data themselves, squared and sorted [K].
    """

    mean: np.ndarray
    sd: np.ndarray
    axes: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, model) -> Gaussian | None:
        """None where the model keeps no data."""
        kept = getattr(model.codecs["y"], "kept_rows", None)
        if kept is None:
            return None
        kept = np.asarray(kept[:MOST], np.float64)
        mean, sd = kept.mean(0), kept.std(0)
        sd = np.where(sd > 0, sd, 1.0)
        z = (kept - mean) / sd
        values, axes = np.linalg.eigh(z.T @ z / len(kept))
        axes = axes / np.sqrt(np.maximum(values, FLOOR))
        return cls(mean, sd, axes, np.sort(np.square(z @ axes).sum(1)))

    def standardised(self, y) -> np.ndarray:
        return (np.asarray(y, np.float64) - self.mean) / self.sd

    def distance(self, y) -> np.ndarray:
        """Squared Mahalanobis distance [B] of rows y [B, C]."""
        return np.square(self.standardised(y) @ self.axes).sum(1)


def gaussian_score(model, y: np.ndarray) -> np.ndarray | None:
    """-log N(y; mean, covariance) of the data that the model keeps, rows y [B, C] as the network
    sees them -> [B], nats; None where it keeps none."""
    found = Gaussian.of(model)
    if found is None:
        return None
    log_det = np.linalg.slogdet(found.axes)[1] - np.log(found.sd).sum()
    return 0.5 * (found.distance(y) + y.shape[1] * math.log(2 * math.pi)) - log_det


def warn_of_far(model, y: np.ndarray) -> None:
    """Warns of rows y [B, C], as the network sees them, that are farther from the mean of the data
    that the model keeps than almost all of these, by Mahalanobis distance; a batch may have as many
    as chance brings about. Models that keep none say nothing."""
    found = Gaussian.of(model)
    if found is None or not len(y):
        return
    z, distance, kept = found.standardised(y), found.distance(y), found.kept
    tail = 1 - np.searchsorted(kept, distance) / len(kept)
    far = np.flatnonzero(tail < LEAST)
    if len(far) <= 3 * len(y) * max(LEAST, 1 / len(kept)):
        return
    row = int(distance.argmax())
    column = int(np.abs(z[row]).argmax())
    share = f"{tail[row]:.2g}" if tail[row] else f"below {1 / len(kept):.2g}"
    warn(
        f"y{f' of {len(far):,} of {len(y):,} rows' if len(y) > 1 else ''} lies farther out than the"
        f" simulated data (tail probability {share}, column"
        f" {str(model.simulator.data_names[column])!r} is {z[row, column]:+.3g} standard deviations"
        " from their mean): the posterior is a guess there. Check units and the order of columns,"
        " or simulate data like it"
    )
