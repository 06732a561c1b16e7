"""This project: `fit_posterior` with nothing told but the bounds."""

import numpy as np


class Ours:
    """A posterior from pairs x [N, P], y [N, M].

    Args:
      form: "default", "members" (five of them), or "trials": data that are several trials of a
        simulation are given as such.
    """

    def __init__(self, form: str, x, y, problem, seed: int):
        import flow_models as fm

        self.shape = problem.trials if form == "trials" else None
        bounds = {"lower": problem.lower, "upper": problem.upper}
        members = 5 if form == "members" else 1
        self.model = fm.fit_posterior(x, self._as_given(y), members=members, **bounds)

    def _as_given(self, y):
        return y if self.shape is None else y.reshape(*y.shape[:-1], *self.shape)

    def sample(self, y, n: int) -> np.ndarray:
        """[n, P] for one observation [M]."""
        return self.model.posterior(self._as_given(y), n)

    def network(self, y, n: int) -> np.ndarray:
        """Samples as they come, to see what leaves the prior; ours never do."""
        return self.sample(y, n)

    def log_prob(self, x, y) -> np.ndarray:
        """log p(x | y) of pairs, [N]."""
        return self.model.log_prob(x, self._as_given(y))
