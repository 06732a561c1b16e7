"""Principal components of decorrelated data."""

import numpy as np


def components(data: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [M], orthonormal axes [M, K] and standard deviations [K] of rows [N, M], in order of
    decreasing variance; K is at most `most`."""
    data = np.asarray(data, np.float64)
    mean = data.mean(0)
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov((data - mean).T)))
    axes = axes[:, ::-1][:, :most]
    return mean, axes, np.sqrt(np.maximum(variances[::-1][:most], 0.0))
