"""Importance sampling: what n weighted draws say of an unnormalised density.

    w_i = p(x_i) / q(x_i),   Z = 1/n sum w_i,   E[g] = sum w_i g(x_i) / sum w_i

with p unnormalised and x_i ~ q. The effective share of n draws is (sum w)^2 / (n sum w^2).
"""

import dataclasses

import numpy as np
from scipy.special import logsumexp


@dataclasses.dataclass(frozen=True)
class WeightedSamples:
    """Draws x [n, D] of q with log p(x) - log q(x), `log_weights` [n], in nats.

    A draw outside the support of p has the weight -inf. Where q lacks a mode of p, no figure here
    can tell: look at `masses`, or at draws of another kind.
    """

    x: np.ndarray
    log_weights: np.ndarray

    @property
    def log_z(self) -> float:
        """log of the integral of p; the estimate of Z is unbiased."""
        return float(logsumexp(self.log_weights) - np.log(len(self.log_weights)))

    @property
    def log_z_se(self) -> float:
        """Standard error of `log_z`, by the delta method: sd(w) / (sqrt(n) mean(w))."""
        shares = self.shares * len(self.log_weights)
        return float(shares.std(ddof=1) / np.sqrt(len(shares)))

    @property
    def ess_fraction(self) -> float:
        """Effective share of the draws, 1 where q is p."""
        return float(1 / (len(self.shares) * np.square(self.shares).sum()))

    @property
    def shares(self) -> np.ndarray:
        """Weights [n] that sum to one."""
        return np.exp(self.log_weights - logsumexp(self.log_weights))

    def mean(self, values) -> np.ndarray:
        """E[g] under p for values g(x_i) [n, ...]."""
        return np.tensordot(self.shares, np.asarray(values, np.float64), 1)

    def masses(self, number, count: int) -> np.ndarray:
        """Mass of each of `count` modes, [count]; `number` [n] is the mode of each draw."""
        return np.bincount(number, weights=self.shares, minlength=count)

    def resample(self, n: int, seed: int) -> np.ndarray:
        """n draws [n, D] of p, of which some repeat."""
        rng = np.random.default_rng(seed)
        return self.x[rng.choice(len(self.x), n, p=self.shares)]

    def metrics(self) -> dict[str, float]:
        """log Z, its standard error and the effective share, by the names of metrics.json."""
        return {name: getattr(self, name) for name in ("log_z", "log_z_se", "ess_fraction")}
