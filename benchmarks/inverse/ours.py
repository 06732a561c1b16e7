"""This project: `fit_posterior` with nothing told but the bounds."""

import numpy as np


class Ours:
    """A posterior from pairs x [N, P], y [N, M]."""

    def __init__(self, form: str, x, y, problem, seed: int):
        import flow_models as fm

        members = {"default": 1, "members": 5}[form]
        more = {} if members == 1 else {"members": members}
        self.model = fm.fit_posterior(x, y, lower=problem.lower, upper=problem.upper, **more)

    def sample(self, y, n: int) -> np.ndarray:
        """[n, P] for one observation [M]."""
        return self.model.posterior(y, n)

    def network(self, y, n: int) -> np.ndarray:
        """Samples as they come, to see what leaves the prior; ours never do."""
        return self.sample(y, n)

    def log_prob(self, x, y) -> np.ndarray:
        """log p(x | y) of pairs, [N]."""
        return self.model.log_prob(x, y)
