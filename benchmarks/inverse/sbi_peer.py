"""sbi: NPE with neural spline flows or masked autoregressive flows, and FMPE, as they come."""

import numpy as np
import torch


class Sbi:
    """A posterior from pairs x [N, P], y [N, M]."""

    def __init__(self, form: str, x, y, problem, seed: int):
        from sbi.inference import FMPE, NPE

        torch.manual_seed(seed)
        if form == "fmpe":
            inference = FMPE(prior=_prior(problem, x.shape[1]), show_progress_bars=False)
        else:
            inference = NPE(
                prior=_prior(problem, x.shape[1]), density_estimator=form, show_progress_bars=False
            )
        inference.append_simulations(_tensor(x), _tensor(y))
        self.net = inference.train()
        self.posterior = inference.build_posterior()
        self.form = form

    def sample(self, y, n: int) -> np.ndarray:
        """[n, P] for one observation [M]; sbi rejects what is outside the prior."""
        return self.posterior.sample((n,), x=_tensor(y), show_progress_bars=False).numpy()

    def network(self, y, n: int) -> np.ndarray:
        """Samples of the network as they come."""
        if self.form == "fmpe":
            return self.sample(y, n)
        with torch.no_grad():
            return self.net.sample((n,), condition=_tensor(y)[None])[:, 0].numpy()

    def log_prob(self, x, y) -> np.ndarray:
        """log p(x | y) of pairs by the network, not renormalised inside the prior, [N]."""
        if self.form == "fmpe":
            return np.full(len(x), np.nan)  # minutes of integration
        with torch.no_grad():
            return self.net.log_prob(_tensor(x)[None], condition=_tensor(y))[0].numpy()


def _prior(problem, size: int):
    from sbi.utils import BoxUniform

    if problem.lower is None:
        covariance = problem.deviation**2 * torch.eye(size)
        return torch.distributions.MultivariateNormal(torch.zeros(size), covariance)
    return BoxUniform(problem.lower * torch.ones(size), problem.upper * torch.ones(size))


def _tensor(array):
    return torch.as_tensor(np.asarray(array), dtype=torch.float32)
