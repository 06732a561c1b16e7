"""A density of rows, and the outliers that it finds."""

from __future__ import annotations

import dataclasses
import numbers

import numpy as np
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from flow_models.core.errors import UserError
from flow_models.estimators.base import SEEDS, FlowEstimator
from flow_models.models.model import Model
from flow_models.training import few_rows
from flow_models.training.trainer import fit


class _Density(FlowEstimator):
    """log p(x) of rows, learned by a flow; of few rows, by one that starts at a mixture, unless a
    parameter of the network is given."""

    def fit(self, X, y=None):
        """Learns the density of rows X [N, D]; y is ignored."""
        rows = self._rows(X, fitting=True)
        seed = self._seed()
        held = self._held_out(rows, seed)
        flow, settings = self._by_rows(int((~held).sum()), seed)
        model = Model(flow, codecs={"x": self._names()}, jit=self.jit)
        fit(model, rows[~held], rows[held], settings, progress=bool(self.verbose))
        self.model_ = model
        return self

    def _by_rows(self, rows: int, seed: int):
        """The network and its training; where no parameter of the network was changed, both follow
        the number of training rows, as in application 1 (see `training.few_rows`)."""
        settings = self._settings(rows, seed)
        if not self._is_default("architecture", "depth", "hidden", "bins"):
            return self._flow(seed), settings
        own = {field.name for field in dataclasses.fields(self)}
        names = [name for name in few_rows.FIT if name not in own or self._is_default(name)]
        flow = self._flow(seed, **few_rows.network(rows, self.n_features_in_))
        return flow, few_rows.settings(settings, rows, names)

    def score_samples(self, X) -> np.ndarray:
        """log p(x) of rows [N, D] -> [N], nats in the units of X."""
        rows = self._rows(X)
        return self.model_.log_prob(rows).astype(np.float64)

    def sample(self, n_samples: int = 1, random_state=None) -> np.ndarray:
        """Draws rows [n_samples, D]; without a random state, by that of the estimator."""
        check_is_fitted(self)
        state = check_random_state(self.random_state if random_state is None else random_state)
        return self.model_.sample(n_samples, seed=int(state.randint(SEEDS))).astype(np.float64)


class FlowDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, _Density):
    """The density of rows as a scikit-learn estimator, which also turns rows into latents.

    Takes what `FlowEstimator` lists. `score` is the mean log-likelihood, so that `GridSearchCV` and
    `cross_val_score` choose flows by held-out data.

    Example:
      >>> density = FlowDensity(random_state=0).fit(X)
      >>> density.score_samples(X), density.sample(100), density.transform(X)
    """

    def score(self, X, y=None) -> float:
        """The mean of log p(x) over rows X [N, D], nats."""
        return float(self.score_samples(X).mean())

    def transform(self, X) -> np.ndarray:
        """Latents [N, D] of rows, N(0, I) where the density is right."""
        rows = self._rows(X)
        return self.model_.encode(rows).astype(np.float64)

    def inverse_transform(self, X) -> np.ndarray:
        """The rows [N, D] that have latents X [N, D]."""
        check_is_fitted(self)
        return self.model_.decode(np.asarray(X)).astype(np.float64)

    @property
    def _n_features_out(self) -> int:
        return self.n_features_in_


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class FlowOutlierDetector(OutlierMixin, _Density):
    """Rows that are less likely than almost all training rows, after scikit-learn's convention.

    Takes what `FlowEstimator` lists, and `contamination`.

    Attributes:
      offset_: the threshold of log p(x), nats.
    """

    contamination: float = 0.1
    """share of outliers among the training rows, above 0 and at most 0.5; they lie below the
    threshold"""

    def fit(self, X, y=None):
        """Learns the density of rows X [N, D], and the threshold; y is ignored.

        Raises:
          UserError: `contamination` is not a share. What scikit-learn's checks refuse is a
            ValueError.
        """
        is_number = isinstance(self.contamination, numbers.Real)
        if not (is_number and 0 < self.contamination <= 0.5):
            raise UserError(
                f"contamination is {self.contamination!r}; it is a share above 0 and at most 0.5"
            )
        super().fit(X)
        self.offset_ = float(np.quantile(self.score_samples(X), self.contamination))
        return self

    def decision_function(self, X) -> np.ndarray:
        """log p(x) above the threshold, [N]: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X) -> np.ndarray:
        """1 for inliers, -1 for outliers, [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
