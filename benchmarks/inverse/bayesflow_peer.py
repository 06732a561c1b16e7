"""BayesFlow: its workflow with its coupling flow, as they come."""

import os

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")


class BayesFlow:
    """A posterior from pairs x [N, P], y [N, M]."""

    def __init__(self, form: str, x, y, problem, seed: int):
        import bayesflow
        import keras

        keras.utils.set_random_seed(seed)
        held = max(len(x) // 10, 1)
        parts = ({"x": x[rows], "y": y[rows]} for rows in (slice(held, None), slice(held)))
        train, validation = ({k: v.astype("float32") for k, v in part.items()} for part in parts)
        self.workflow = bayesflow.BasicWorkflow(
            inference_network=bayesflow.networks.CouplingFlow(),
            inference_variables=["x"],
            inference_conditions=["y"],
        )
        self.workflow.fit_offline(train, validation_data=validation, verbose=0)

    def sample(self, y, n: int) -> np.ndarray:
        """[n, P] for one observation [M]."""
        conditions = {"y": np.asarray(y, np.float32)[None]}
        return np.asarray(self.workflow.sample(num_samples=n, conditions=conditions)["x"])[0]

    network = sample

    def log_prob(self, x, y) -> np.ndarray:
        """log p(x | y) of pairs, [N]."""
        pairs = {"x": np.asarray(x, np.float32), "y": np.asarray(y, np.float32)}
        return np.asarray(self.workflow.log_prob(pairs)).reshape(-1)
