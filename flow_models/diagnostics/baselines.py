"""What a model must beat."""

import numpy as np
import scipy.stats


def gaussian_nll(train: np.ndarray, test: np.ndarray) -> float:
    """Mean -log N(x; mean, covariance) of test rows [N, D], nats, with both moments from train rows."""
    normal = scipy.stats.multivariate_normal(train.mean(0), np.cov(train.T), allow_singular=True)
    return float(-np.mean(normal.logpdf(test)))
