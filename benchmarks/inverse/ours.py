"""This project: `fit_posterior` with nothing told but the bounds; or a flow behind the
Gauss-Newton frame of a forward model with slopes, as applications 6 and 7 have it."""

import numpy as np


def made(form: str, x, y, problem, seed: int):
    """A posterior from pairs x [N, P], y [N, M].

    Args:
      form: "default", "members" (five of them), "trials": data that are several trials of a
        simulation are given as such, or "frame".
    """
    return (Framed if form == "frame" else Ours)(form, x, y, problem, seed)


class Ours:
    """`fit_posterior`; arguments as in `made`."""

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


class Framed:
    """The network of application 6 behind the frame, trained as `fit_posterior` trains."""

    def __init__(self, form: str, x, y, problem, seed: int):
        from flow_models.applications.inverse import models
        from flow_models.applications.inverse.problem import InverseProblem, Pairs
        from flow_models.applications.own_defaults import defaults
        from flow_models.bijectors.frames import LaplaceFrame
        from flow_models.models.partition import Partition
        from flow_models.training.trainer import Trainer
        from train_flowmodels6 import Config

        simulator, held = problem.simulator(), len(x) // 10
        frame, size = LaplaceFrame(simulator, problem.components, 2), simulator.size
        partition = Partition({"x": size}, {"z": size}, given={"y": simulator.data_size})
        inverse = InverseProblem("", simulator, frame)
        self.model = models.conditional(Config(), inverse, partition)
        blocks = {"x": np.asarray(x, np.float32), "y": np.asarray(y, np.float32)}
        train, watched = (
            {name: each[rows] for name, each in blocks.items()}
            for rows in (slice(held, None), slice(held))
        )
        settings = defaults(len(train["x"]), size, simulator.data_size).settings
        models.measure(self.model, Pairs(train["x"], train["y"], train["y"]), models.MEASURED)
        Trainer(self.model, train, watched, settings).run(progress=False)

    def sample(self, y, n: int) -> np.ndarray:
        """theta [n, P] for one observation [M]."""
        from flow_models.models.posteriors import whitened_samples

        return whitened_samples(self.model, y, n)

    network = sample

    def log_prob(self, x, y) -> np.ndarray:
        """log p(theta | y) of pairs, [N]."""
        from flow_models.models.posteriors import log_prob_whitened

        return log_prob_whitened(self.model, x, y)
