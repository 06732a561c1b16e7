"""Training on a density by draws of the model itself: the reverse Kullback-Leibler divergence with
path gradients, and the forward one with weights.

    KL(q || p) = E_z[log q(x) - log p(x)],   x = f^-1(z)

Sticking the Landing (Roeder, Wu and Duvenaud 2017): the gradient runs through x alone, not through
the weights in log q, so its variance is zero where q is p. Flows: Path-Gradient Estimators for
Continuous Normalizing Flows (Vaitl, Nicoli, Nakajima and Kessel 2022). The forward divergence
weighs the draws by p / q, as Neural Importance Sampling does (Mueller et al. 2019): it sees masses.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from flow_models.models.model import Model
from flow_models.models.weighted import target
from flow_models.training import batches

LEAST = -1e8  # log density, nats, below which all points are equally bad


@dataclasses.dataclass(frozen=True)
class Latents:
    """A source of latents z ~ N(0, I) for `fit`, in the places of the inputs.

    Attributes:
      model: whose latents these are.
      annealed_steps: over so many steps the power `beta` of the density rises from 0 to 1.
    """

    model: Model
    annealed_steps: int = 0

    def __call__(self, n: int, seed):
        partition, dtype = self.model.partition, self.model.dtype
        step = tf.cast(seed[1], dtype)
        beta = tf.clip_by_value(step / max(self.annealed_steps, 1), 0.0, 1.0)
        beta = beta if self.annealed_steps else tf.ones_like(beta)
        blocks = partition.split("inputs", partition.standard_sample(n, seed, dtype))
        return {**blocks, "beta": tf.fill([n, 1], beta)}

    @property
    def follows_steps(self) -> bool:
        """Whether the number of steps must be known."""
        return self.annealed_steps > 0

    @property
    def identity(self):
        """A resumed training must have the same."""
        return {"annealed_steps": self.annealed_steps}


def reverse_kl(model, log_density: Callable, location=0.0, scale=1.0):
    """log q(x) - log p_beta(x) of latents, nats; the mean is KL(q || p) - log Z once beta is 1.

        log p_beta = beta log p + (1 - beta) log N(location, scale^2 I)

    A batch holds latents in the places of the inputs and beta [B, 1], as `Latents` draws them.

    Raises:
      UserError: see `weighted.target`.
    """
    log_p, log_start = target(model, log_density), target(model, gaussian(location, scale))

    def loss(weights, batch):
        z, beta = batches.inputs(model, batch), batch["beta"][:, 0]
        x = _with_finite_gradient(model.layer.inverse_and_log_det(weights, z, None)[0])
        stopped = tf.nest.map_structure(tf.stop_gradient, weights)
        latent, log_det = model.layer.forward_and_log_det(stopped, x, None)
        log_q = model.partition.base_log_prob(latent) + log_det
        of_target = tf.maximum(log_p(x), LEAST)
        annealed = beta * of_target + (1 - beta) * log_start(x)
        return {"objective": log_q - annealed, "log_q": log_q, "log_p": of_target}

    loss.identity = {"reverse_kl": [location, scale]}  # type: ignore[attr-defined]
    return loss


def forward_kl(model, log_density: Callable):
    """-w log q(x) of draws x of the model as it stands, nats; the gradient of the mean is that of
    KL(p || q). Weights w are p / q, of mean one over the batch.

    A batch holds latents, as `Latents` draws them. Only for a model that is nearly right: the noise
    is that of the weights.

    Raises:
      UserError: see `weighted.target`.
    """
    log_p = target(model, log_density)

    def loss(weights, batch):
        stopped = tf.nest.map_structure(tf.stop_gradient, weights)
        z = batches.inputs(model, batch)
        x = tf.stop_gradient(model.layer.inverse_and_log_det(stopped, z, None)[0])
        latent, log_det = model.layer.forward_and_log_det(weights, x, None)
        log_q = model.partition.base_log_prob(latent) + log_det
        of_target = tf.maximum(log_p(x), LEAST)
        share = tf.nn.softmax(of_target - tf.stop_gradient(log_q))
        w = share * tf.cast(tf.size(share), share.dtype)
        return {"objective": -w * log_q, "log_q": log_q, "log_p": of_target}

    loss.identity = {"forward_kl": True}  # type: ignore[attr-defined]
    return loss


@tf.custom_gradient
def _with_finite_gradient(x):
    """x; rows whose gradient overflows, far outside the density, have none."""

    def gradient(upstream):
        finite = tf.reduce_all(tf.math.is_finite(upstream), -1, keepdims=True)
        return tf.where(finite, upstream, 0.0)

    return tf.identity(x), gradient


def gaussian(location: float, scale: float) -> Callable[[tf.Tensor], tf.Tensor]:
    """log N(x; location, scale^2 I), [B, D] -> [B]."""

    def log_prob(x):
        deviation = (x - location) / scale
        return -tf.reduce_sum(0.5 * deviation**2 + math.log(scale * math.sqrt(2 * math.pi)), -1)

    return log_prob
