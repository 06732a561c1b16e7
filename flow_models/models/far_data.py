"""Data far from all those that a posterior has learned from."""

import numpy as np

from flow_models.core.errors import warn

MOST = 4000  # kept data that y is compared with
LEAST = 1e-3  # tail probability, below which y is far
FLOOR = 1e-6  # least variance of a direction, of columns with variance 1


def warn_of_far(model, y: np.ndarray) -> None:
    """Warns of rows y [B, C], as the network sees them, that are farther from the mean of the data
    that the model keeps than almost all of these, by Mahalanobis distance; a batch may have as many
    as chance brings about. Models that keep none say nothing."""
    kept = getattr(model.codecs["y"], "kept_rows", None)
    if kept is None or not len(y):
        return
    kept = np.asarray(kept[:MOST], np.float64)
    mean, sd = kept.mean(0), kept.std(0)
    sd = np.where(sd > 0, sd, 1.0)
    z, z_kept = (np.asarray(y, np.float64) - mean) / sd, (kept - mean) / sd
    values, axes = np.linalg.eigh(z_kept.T @ z_kept / len(kept))
    axes = axes / np.sqrt(np.maximum(values, FLOOR))
    distance, of_kept = (np.square(each @ axes).sum(1) for each in (z, z_kept))
    tail = 1 - np.searchsorted(np.sort(of_kept), distance) / len(kept)
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
