"""What a model must beat."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import scipy.stats


def gaussian_nll(train: np.ndarray, test: np.ndarray) -> float:
    """Mean -log N(x; mean, covariance) of test rows [N, D], nats, with both moments from train
    rows."""
    normal = scipy.stats.multivariate_normal(train.mean(0), np.cov(train.T), allow_singular=True)
    return float(-np.mean(normal.logpdf(test)))


CHOICE_ROWS = 2000
NUMBERS = (
    2**24
)  # of the pictures that principal components are taken of, so that large ones fit into memory


class PictureBaselines:
    """Scores of pictures that need no flow, higher is stranger; from training pictures uint8 [n, H,
    W, C].

    brightness, darkness   the mean of the pixels, and minus it
    pixel_mean             its distance from that of the training pictures
    pca                    mean square of what principal components leave over, so many that they explain `explained`
                           of the training pictures' variance
    compressed_size        bits of the shortest lossless code
    """

    NAMES = ("brightness", "darkness", "pixel_mean", "pca", "compressed_size")

    def __init__(self, train: np.ndarray, explained: float = 0.95, most: int = 2000, seed: int = 0):
        most = max(1, min(most, NUMBERS // int(np.prod(np.shape(train)[1:]))))
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
        scores = (
            mean,
            -mean,
            np.abs(mean - self.mean.mean()),
            left / rows.shape[1],
            np.asarray(code_bits, np.float64),
        )
        return dict(zip(self.NAMES, scores))


def _rows(images):
    return np.asarray(images).reshape(len(images), -1).astype(np.float64)


def classifiers(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """p(class | x_test) [N, M] of discriminant analyses and logistic regression trained on rows x
    [B, D], classes y [B].

    How much each is regularised is chosen by cross-validated accuracy on the training rows alone
    (the cross-validated log-loss where accuracies are equal); where a class has one row the
    defaults stand. What cannot be fitted is left out.
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
            continue  # a covariance a class needs two rows
        with (
            warnings.catch_warnings(),
            contextlib.suppress(ValueError),
        ):  # a covariance that so few rows do not give
            warnings.simplefilter("ignore")  # of rank and convergence at the ends of the grids
            found = np.zeros((len(x_test), names.max() + 1))
            found[:, names] = np.nan_to_num(estimator.fit(x, y).predict_proba(x_test))
            result[name] = found
    return result


def _best(results) -> int:
    """Highest mean accuracy, then lowest log-loss, of the candidates of a cross-validation."""
    loss = np.nan_to_num(results["mean_test_neg_log_loss"], nan=-np.inf)
    return int(np.lexsort((loss, np.nan_to_num(results["mean_test_accuracy"], nan=-1.0)))[-1])


def picture_classifiers(
    train, validation, x_test: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """What classifies pictures x_test [N, H, W, C] without a flow: class numbers [N] of a support
    vector machine with radial kernel, probabilities [N, M] of logistic regression.

    train, validation: (pixels [B, H, W, C], classes [B]); how much each is regularised is what does
    best on validation,
    trained on CHOICE_ROWS at most: all rows would take minutes each.
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
            warnings.simplefilter("ignore")  # of convergence at the end of the grid
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
    """Probabilities [N, M] with zeros for classes that were not seen."""
    found = np.zeros((len(x), int(fitted.classes_.max()) + 1))
    found[:, fitted.classes_] = fitted.predict_proba(x)
    return found


def class_distance(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Mahalanobis distance [N] of rows x_test to the nearest class mean, covariance pooled over the
    classes of x, y.

    Rows of y below 0 have no label and are left out. A simple unified framework for detecting
    out-of-distribution samples (Lee, Lee, Lee and Shin 2018), on the data themselves.
    """
    x, y, x_test = x[y >= 0].reshape((y >= 0).sum(), -1), y[y >= 0], x_test.reshape(len(x_test), -1)
    means = np.stack([x[y == label].mean(0) for label in np.unique(y)])
    centred = x - means[np.unique(y, return_inverse=True)[1]]
    precision = np.linalg.pinv(centred.T @ centred / len(x))
    away = x_test[:, None] - means
    return np.sqrt(np.maximum(np.einsum("nkd,nkd->nk", away @ precision, away), 0)).min(1)
