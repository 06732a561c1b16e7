"""The No-U-Turn sampler on any density (Hoffman and Gelman 2014), as something to compare with.

Nothing is known of the density, so nothing is preconditioned: chains start from draws of a Gaussian
and stay where they are if modes are far from each other. `reference` is for inverse problems.
"""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from flow_models.references.reference import Sampling, convergence

SETTINGS = Sampling(kernel="nuts", chains=8, warmup=300, draws=1000, thin=1)


@dataclasses.dataclass(frozen=True)
class Chains:
    """Draws [C, n, D] of C chains; the largest R-hat and the smallest effective sample size over
    the dimensions; seconds, compilation included."""

    draws: np.ndarray
    rhat: float
    effective: float
    seconds: float

    @property
    def samples(self) -> np.ndarray:
        """Draws of all chains [C n, D]."""
        return self.draws.reshape(-1, self.draws.shape[-1])


def nuts(
    log_density: Callable[[tf.Tensor], tf.Tensor],
    size: int,
    location: float = 0.0,
    scale: float = 1.0,
    settings: Sampling = SETTINGS,
) -> Chains:
    """Chains on log p(x), tensors [C, D] -> [C], from draws of N(location, scale^2 I).

    All chains share one step size, which the warm-up tunes.
    """
    begin = time.monotonic()
    seed = (settings.seed, 2)
    start = location + scale * tf.random.stateless_normal([settings.chains, size], seed)
    kernel = tfp.mcmc.DualAveragingStepSizeAdaptation(
        tfp.mcmc.NoUTurnSampler(log_density, tf.fill([1, 1], 0.1 * scale), max_tree_depth=8),
        int(0.8 * settings.warmup),
        tf.constant(settings.acceptance),
    )

    def sample(start, seed):
        return tfp.mcmc.sample_chain(
            settings.draws,
            start,
            kernel=kernel,
            num_burnin_steps=settings.warmup,
            trace_fn=None,
            seed=seed,
        )

    run = tf.function(sample, jit_compile=True, autograph=False)
    draws = run(start, tf.constant([settings.seed, 3])).numpy()[:: settings.thin]
    rhat, effective = convergence(draws[:, None].astype(np.float64))
    seconds = time.monotonic() - begin
    return Chains(draws.swapaxes(0, 1), float(rhat[0]), float(effective[0]), seconds)
