"""p(valid | x): which parameters a simulator fails at."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from flow_models.core.errors import warn

FEWEST = 20  # of both kinds, to learn it; else it is one number
MOST = 20_000  # simulations that it is learned from
FLOOR = 0.02  # of p(valid | x), below which simulations as good as always fail
LOSS = "neg_log_loss"
SHARE = 0.01  # of such draws, that is told


@dataclasses.dataclass(frozen=True)
class Validity:
    """The probability that the simulator gives data, by what says it best of held-out simulations:
    one number, a logistic regression with squares and products, or a random forest.

    Attributes:
      classifier: None for one number, `share`.
      share: of all simulations.
    """

    classifier: Any
    share: float

    @classmethod
    def of(cls, x: np.ndarray, valid: np.ndarray, seed: int = 0) -> Validity:
        """From parameters x [N, P] and whether each gave data [N]."""
        share = float(valid.mean())
        if len(x) > MOST:  # which may stand in any order
            some = np.random.default_rng(seed).permutation(len(x))[:MOST]
            x, valid = x[some], valid[some]
        if min(valid.sum(), (~valid).sum()) < FEWEST:
            return cls(None, share)
        from sklearn.model_selection import cross_val_score

        found = [cross_val_score(each, x, valid, scoring=LOSS, cv=3) for each in _classifiers(seed)]
        best = int(np.argmax([each.mean() for each in found]))
        classifier = _classifiers(seed)[best].fit(x, valid) if best else None
        return cls(classifier, share)

    def probability(self, x: np.ndarray) -> np.ndarray:
        """p(valid | x) of x [..., P], [...]."""
        if self.classifier is None:
            return np.full(x.shape[:-1], self.share)
        rows = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
        return self.classifier.predict_proba(rows)[:, 1].reshape(x.shape[:-1])

    def weights(self, x: np.ndarray) -> np.ndarray:
        """1 / p(valid | x) of valid pairs [N]: with them the pairs are as if none had failed.

        Energy-efficient network activity from disparate circuit parameters (Deistler, Macke and
        Goncalves 2022) divides the density by p(valid | x); with weights in the loss the model is
        right by itself.
        """
        return 1.0 / np.maximum(self.probability(x), FLOOR)

    def warn_of_gaps(self, x: np.ndarray) -> None:
        """Warns where draws x [N, P] of the prior have regions without any data."""
        lost = float(np.mean(self.probability(x) < FLOOR))
        if lost > SHARE:
            warn(
                f"simulations fail as good as always for {lost:.1%} of the prior: weights cannot"
                " replace them, and posteriors there are too low"
            )


def _classifiers(seed: int):
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    curved = make_pipeline(
        StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=500)
    )
    trees = RandomForestClassifier(100, min_samples_leaf=10, random_state=seed)
    return DummyClassifier(), curved, trees
