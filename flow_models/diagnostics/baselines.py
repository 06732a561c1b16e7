"""What a model must beat."""

from __future__ import annotations

import numpy as np
import scipy.stats


def gaussian_nll(train: np.ndarray, test: np.ndarray) -> float:
    """Mean -log N(x; mean, covariance) of test rows [N, D], nats, with both moments from train rows."""
    normal = scipy.stats.multivariate_normal(train.mean(0), np.cov(train.T), allow_singular=True)
    return float(-np.mean(normal.logpdf(test)))


class PictureBaselines:
    """Scores of pictures that need no flow, higher is stranger; from training pictures uint8 [n, H, W, C].

        brightness, darkness   the mean of the pixels, and minus it
        pixel_mean             its distance from that of the training pictures
        pca                    mean square of what principal components leave over, so many that they explain `explained`
                               of the training pictures' variance
        compressed_size        bits of the shortest lossless code
    """

    NAMES = ("brightness", "darkness", "pixel_mean", "pca", "compressed_size")

    def __init__(self, train: np.ndarray, explained: float = 0.95, most: int = 2000, seed: int = 0):
        some = np.random.default_rng((seed, 1)).permutation(len(train))[:most]
        rows = _rows(np.asarray(train)[np.sort(some)])
        self.mean = rows.mean(0)
        _, values, directions = np.linalg.svd(rows - self.mean, full_matrices=False)
        shares = np.cumsum(np.square(values)) / max(float(np.square(values).sum()), 1e-30)
        self.directions = directions[: int(np.searchsorted(shares, explained)) + 1]

    def scores(self, images: np.ndarray, code_bits: np.ndarray) -> dict[str, np.ndarray]:
        """{name: [B]} for images uint8 [B, H, W, C] whose codes have code_bits [B]."""
        rows = _rows(images)
        mean, rest = rows.mean(1), rows - self.mean
        left = np.square(rest).sum(1) - np.square(rest @ self.directions.T).sum(1)
        scores = (mean, -mean, np.abs(mean - self.mean.mean()), left / rows.shape[1], np.asarray(code_bits, np.float64))
        return dict(zip(self.NAMES, scores))


def _rows(images):
    return np.asarray(images).reshape(len(images), -1).astype(np.float64)
