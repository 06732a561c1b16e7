"""Means and covariances of classes from few or many rows, regularised by cross-validation."""

import itertools

import numpy as np

FOLDS = 5
SHRINKAGES = (1.0, 10.0, 100.0, np.inf)  # rows a dimension that the pooled covariance counts for
ROUNDINGS = (1e-3, 1e-2, 0.03, 0.1, 0.3)  # share of the rounded covariance
MOST_ROWS = 4000  # that the choice is made on
EM_STEPS = 30  # in which rows without a label find their classes


def class_moments(
    v: np.ndarray, labels: np.ndarray, full: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Means [M, N] and covariances [M, N, N] (variances [M, N] where not full) of rows v [B, N].

        S_k <- (n_k S_k + nu W) / (n_k + nu),     S_k <- (1 - gamma) S_k + gamma tr(S_k) / N I

    with W pooled over the classes; of the nu and gamma that classify held-out rows best, those of
    the least log-loss (Regularized Discriminant Analysis, Friedman 1989). A class without rows gets
    the moments of all rows; one row a class is enough.

    Args:
      labels: [B, M], rows of zeros where there is no label: these are given to the classes by
        expectation-maximisation.
    """
    pairs = [
        (nu * v.shape[1], gamma)
        for nu, gamma in itertools.product(SHRINKAGES, ROUNDINGS if full else (0.0,))
    ]
    everything = (
        v.mean(0),
        np.cov(v.T, bias=True).reshape(v.shape[1], v.shape[1]) if full else v.var(0),
    )
    rows = np.flatnonzero(labels.sum(1) > 0)
    order = np.random.default_rng(0).permutation(rows)[:MOST_ROWS]
    scores = np.zeros((len(pairs), 2))
    for fold in range(FOLDS):
        held = np.arange(len(order)) % FOLDS == fold
        if not held.any() or held.all():
            continue
        known = _raw(v[order[~held]], labels[order[~held]], everything, full)
        for i, pair in enumerate(pairs):
            scores[i] += _score(
                v[order[held]], labels[order[held]], known, _shrunk(known, pair, full)
            )
    known = _raw(v[rows], labels[rows], everything, full)
    best = pairs[max(range(len(pairs)), key=lambda i: (*scores[i], -i))]
    free = labels.sum(1) == 0
    for _ in range(EM_STEPS if free.any() and free.mean() < 1 else 0):
        soft = np.array(labels, np.float64)
        soft[free] = np.exp(_log_posterior(v[free], known, _shrunk(known, best, full)))
        known = _raw(v, soft, everything, full)
    return known[0], _shrunk(known, best, full)


def _raw(v, labels, everything, full):
    """Means, scatters, counts and the pooled covariance; a prior of one row keeps it from being
    singular.

    Scatters and covariance are [M, N, N] and [N, N], or [M, N] and [N] where not full: N may be
    thousands.
    """
    overall, total = everything
    classes, size = labels.shape[1], v.shape[1]
    counts = labels.sum(0)
    means = (labels.T @ v + 1e-6 * overall) / (counts + 1e-6)[:, None]
    scatters = np.stack(
        [_scatter(v - mean, weight[:, None], full) for mean, weight in zip(means, labels.T)]
    )
    prior = total * classes ** (-2 / size)  # of a class that takes its share of the volume
    pooled = (scatters.sum(0) + prior) / (max(counts.sum() - classes, 0) + 1)
    return means, scatters, counts, pooled


def _scatter(centred, weight, full):
    return centred.T @ (centred * weight) if full else (centred**2 * weight).sum(0)


def _shrunk(known, pair, full):
    """Covariances [M, N, N], or variances [M, N]."""
    (_, scatters, counts, pooled), (nu, gamma) = known, pair
    if np.isinf(nu):
        covariances = np.broadcast_to(pooled, scatters.shape)
    else:
        covariances = (scatters + nu * pooled) / (counts + nu).reshape(-1, *[1] * pooled.ndim)
    if not full:
        return covariances + 1e-6
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    round_ = variances.mean(1)[:, None, None] * np.eye(pooled.shape[0])
    return (1 - gamma) * covariances + gamma * round_ + 1e-6 * np.eye(pooled.shape[0])


def _score(v, labels, known, covariances) -> tuple[float, float]:
    """Rows classified rightly, and the sum of log p(label | v); of one class, 0 and the
    log-likelihood."""
    if labels.shape[1] == 1:
        return 0.0, _log_normal(v - known[0][0], covariances[0]).sum()
    logs = _log_posterior(v, known, covariances)
    return (logs.argmax(1) == labels.argmax(1)).sum(), np.round((logs * labels).sum(), 6)


def _log_posterior(v, known, covariances):
    """log p(class | v) [B, M] of Gaussian classes that are as frequent as their counts."""
    means, _, counts, _ = known
    logs = np.stack(
        [_log_normal(v - mean, covariance) for mean, covariance in zip(means, covariances)], 1
    )
    logs += np.log(counts + 1e-6)
    return logs - np.logaddexp.reduce(logs, 1, keepdims=True)


def _log_normal(rows, covariance):
    """log N(rows; 0, covariance) [B] without its constant; a vector stands for a diagonal."""
    if covariance.ndim == 1:
        return -0.5 * (rows**2 / covariance + np.log(covariance)).sum(1)
    root = np.linalg.cholesky(covariance)
    return -0.5 * (np.linalg.solve(root, rows.T) ** 2).sum(0) - np.log(np.diagonal(root)).sum()
