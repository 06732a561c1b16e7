"""Baselines: scores and classifiers without a flow, which a flow has to beat."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import scipy.stats

from flow_models.diagnostics.nearness import distance_to_nearest


def gaussian_nll(train: np.ndarray, test: np.ndarray) -> float:
    """Mean -log N(x; mean, covariance) of test rows [N, D], nats; both moments are those of
    `train`, in 64 bits."""
    return float(-np.mean(_gaussian(np.asarray(train, np.float64), test)))


def _gaussian(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """log p [N]. Columns are standardised first: of units that differ much, small ones would be
    taken for a singular direction and left out."""
    mean, scale = train.mean(0), train.std(0)
    rows = (train - mean) / scale
    normal = scipy.stats.multivariate_normal(np.zeros(len(mean)), np.cov(rows.T), True)
    return np.atleast_1d(normal.logpdf((test - mean) / scale)) - np.log(scale).sum()


FITTED, KERNELS, SHOWN = 20_000, 5_000, 2_000  # most rows of a mixture, of kernels, of a choice
BANDWIDTHS = np.geomspace(0.03, 2.0, 13)  # in standard deviations of the data
COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def densities(
    train: np.ndarray, validation: np.ndarray, test: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """log p [N], nats, of test rows [N, D] under three densities that need no flow.

    gaussian   mean and covariance of the training rows
    kde        kernel density estimate; the likelihood of `validation` chooses the bandwidth, and
               whether kernels have the shape of the covariance or of the standard deviations
    mixture    Gaussian mixture; `validation` chooses the components, full or diagonal

    Values are in the units of the rows. At most FITTED training rows make the mixture, KERNELS the
    kernels. A density that cannot be fitted is left out.
    """
    some = np.random.default_rng((seed, 2)).permutation(len(train))
    train, held = np.asarray(train, np.float64)[some], np.asarray(validation, np.float64)[:SHOWN]
    test = np.asarray(test, np.float64)
    found = {"gaussian": _gaussian(train, test)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence at the ends of the grids
        for name, kinds in (("kde", _kernels), ("mixture", _mixtures)):
            fitted = list(kinds(train, seed))
            if fitted:
                best = max(fitted, key=lambda log_prob: np.mean(log_prob(held)))
                found[name] = best(test)
    return found


def _kernels(train, seed):
    """log p of kernel density estimates, one a bandwidth and a shape."""
    from sklearn.neighbors import KernelDensity

    for covariance in (np.diag(train.var(0)), np.atleast_2d(np.cov(train.T))):
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            continue
        inverse, log_det = np.linalg.inv(factor), np.log(np.diag(factor)).sum()
        rows = train[:KERNELS] @ inverse.T
        for bandwidth in BANDWIDTHS:
            kernels = KernelDensity(bandwidth=bandwidth, rtol=1e-4).fit(rows)
            yield lambda x, f=kernels, a=inverse, d=log_det: f.score_samples(x @ a.T) - d


def _mixtures(train, seed):
    """log p of Gaussian mixtures, one a number of components and a form of covariance."""
    from sklearn.mixture import GaussianMixture

    mean, scale = train.mean(0), train.std(0)
    rows, log_det = (train[:FITTED] - mean) / scale, np.log(scale).sum()
    for count in COMPONENTS:
        for form in ("full", "diag"):
            if count * 2 > len(rows):
                continue
            try:
                mixture = GaussianMixture(count, covariance_type=form, random_state=seed).fit(rows)
            except ValueError:  # a component has shrunk to a point
                continue
            yield lambda x, f=mixture: f.score_samples((x - mean) / scale) - log_det


CHOICE_ROWS = 2000
NUMBERS = 2**24  # values in the images whose principal components are taken: a bound on memory


class PictureBaselines:
    """Image scores that need no flow, higher is stranger, from training images uint8 [n, H, W, C].

    brightness, darkness   mean of the pixels, and minus that mean
    pixel_mean             distance of the mean from the training mean
    pca                    mean square of what the principal components leave over; as many
                           components as explain `explained` of the training variance
    compressed_size        bits of the shortest lossless code
    nearest                distance to the nearest training image, see `distance_to_nearest`
    """

    NAMES = ("brightness", "darkness", "pixel_mean", "pca", "compressed_size", "nearest")

    def __init__(self, train: np.ndarray, explained: float = 0.95, most: int = 2000, seed: int = 0):
        most = max(1, min(most, NUMBERS // int(np.prod(np.shape(train)[1:]))))
        some = np.random.default_rng((seed, 1)).permutation(len(train))[:most]
        self.known = np.asarray(train)[np.sort(some)]
        rows = _rows(self.known)
        self.mean = rows.mean(0)
        _, values, directions = np.linalg.svd(rows - self.mean, full_matrices=False)
        shares = np.cumsum(np.square(values)) / max(float(np.square(values).sum()), 1e-30)
        self.directions = directions[: int(np.searchsorted(shares, explained)) + 1]

    def scores(self, images: np.ndarray, code_bits: np.ndarray) -> dict[str, np.ndarray]:
        """{name: [B]} for images uint8 [B, H, W, C] with code lengths code_bits [B]."""
        rows = _rows(images)
        mean, rest = rows.mean(1), rows - self.mean
        left = np.square(rest).sum(1) - np.square(rest @ self.directions.T).sum(1)
        scores = (
            mean,
            -mean,
            np.abs(mean - self.mean.mean()),
            left / rows.shape[1],
            np.asarray(code_bits, np.float64),
            distance_to_nearest(images, self.known),
        )
        return dict(zip(self.NAMES, scores))


def _rows(images):
    return np.asarray(images).reshape(len(images), -1).astype(np.float64)


def classifiers(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """p(class | x_test) [N, M] of discriminant analyses and logistic regression.

    They are trained on rows x [B, D] with classes y [B]. Cross-validated accuracy on the training
    rows (the log-loss breaks ties) selects the regularisation of each; the defaults stand if a
    class has a single row. A classifier that cannot be fitted is left out.
    """
    from sklearn.discriminant_analysis import (
        LinearDiscriminantAnalysis,
        QuadraticDiscriminantAnalysis,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    shrinkages = [0.0, 1e-3, 1e-2, 0.03, 0.1, 0.3, 0.6, 1.0]
    kinds = {
        "lda": (LinearDiscriminantAnalysis(solver="lsqr"), {"shrinkage": shrinkages}),
        "qda": (QuadraticDiscriminantAnalysis(reg_param=0.1), {"reg_param": shrinkages[1:]}),
        "logistic": (LogisticRegression(max_iter=2000), {"C": [1e-3, 1e-2, 0.1, 1.0, 10.0]}),
    }
    names, counts = np.unique(y, return_counts=True)
    folds = int(min(5, counts.min()))
    result = {}
    for name, (kind, grid) in kinds.items():
        estimator = make_pipeline(StandardScaler(), kind)
        if folds > 1:
            grid = {f"{type(kind).__name__.lower()}__{key}": values for key, values in grid.items()}
            cut = StratifiedKFold(folds, shuffle=True, random_state=seed)
            estimator = GridSearchCV(
                estimator, grid, cv=cut, scoring=["accuracy", "neg_log_loss"], refit=_best
            )
        elif name == "qda":
            continue  # a covariance per class needs two rows
        # too few rows may give no covariance: a ValueError
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore")  # rank and convergence at the ends of the grids
            found = np.zeros((len(x_test), names.max() + 1))
            found[:, names] = np.nan_to_num(estimator.fit(x, y).predict_proba(x_test))
            result[name] = found
    return result


def _best(results) -> int:
    """The candidate with the highest mean accuracy, then the lowest log-loss, in
    cross-validation."""
    loss = np.nan_to_num(results["mean_test_neg_log_loss"], nan=-np.inf)
    return int(np.lexsort((loss, np.nan_to_num(results["mean_test_accuracy"], nan=-1.0)))[-1])


def picture_classifiers(
    train, validation, x_test: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """Classifies images x_test [N, H, W, C] without a flow.

    Returns class numbers [N] of a support vector machine with a radial kernel, and probabilities
    [N, M] of logistic regression.

    Args:
      train, validation: (pixels [B, H, W, C], classes [B]). Accuracy on `validation` selects the
        regularisation, after training on at most CHOICE_ROWS rows: all rows would take minutes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    (x, y), (x_held, y_held) = (
        (_rows(images) / 255, classes) for images, classes in (train, validation)
    )
    machines = [SVC(C=c, cache_size=1000, random_state=seed) for c in (1.0, 10.0, 100.0)]
    regressions = [LogisticRegression(C=c, max_iter=200) for c in (0.01, 0.1, 1.0)]
    result, test = {}, _rows(x_test) / 255
    some = np.concatenate(
        [
            np.unique(y, return_index=True)[1],
            np.random.default_rng(seed).permutation(len(x))[:CHOICE_ROWS],
        ]
    )
    for name, kinds in (("svm", machines), ("logistic", regressions)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence at the end of the grid
            best = max(
                kinds,
                key=lambda kind: kind.fit(x[some], y[some]).score(
                    x_held[:CHOICE_ROWS], y_held[:CHOICE_ROWS]
                ),
            )
            best.fit(x, y)
        result[name] = best.predict(test) if name == "svm" else _by_class(best, test)
    return result


def _by_class(fitted, x):
    """Probabilities [N, M], zero for classes that were not in the training rows."""
    found = np.zeros((len(x), int(fitted.classes_.max()) + 1))
    found[:, fitted.classes_] = fitted.predict_proba(x)
    return found


def class_distance(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Mahalanobis distance [N] of rows x_test to the nearest class mean.

    Means and the covariance, pooled over classes, are those of x with labels y; rows with y < 0
    have no label and are left out. A simple unified framework for detecting out-of-distribution
    samples (Lee, Lee, Lee and Shin 2018), applied to the data themselves.
    """
    x, y, x_test = x[y >= 0].reshape((y >= 0).sum(), -1), y[y >= 0], x_test.reshape(len(x_test), -1)
    x, x_test = np.asarray(x, np.float64), np.asarray(x_test, np.float64)
    means = np.stack([x[y == label].mean(0) for label in np.unique(y)])
    centred = x - means[np.unique(y, return_inverse=True)[1]]
    precision = np.linalg.pinv(centred.T @ centred / len(x))
    away = x_test[:, None] - means
    return np.sqrt(np.maximum(np.einsum("nkd,nkd->nk", away @ precision, away), 0)).min(1)
