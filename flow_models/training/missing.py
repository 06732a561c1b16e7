"""The loss of rows with missing cells."""

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.models import missing
from flow_models.training import batches, losses

DRAWS = 8  # of the proposal for each row and step


def observed_likelihood(model, draws: int = DRAWS):
    """-log 1/K sum_k w_k, an upper bound of -log p(x_obs) in nats, tight where q is the conditional
    distribution of the missing cells (see `models.missing`); of complete rows it is -log p(x).

    Each step draws K completions of every row and keeps one, x', with probabilities proportional to
    w_k. The flow's gradient is that of log p(x'), which estimates the bound's (Fisher's identity:
    stochastic EM). The proposal's is that of log q(hidden cells of x' | others), with the missing
    cells of some row of the batch hidden: maximum likelihood, so that q covers all of the
    conditional distribution, which a bound's own gradient does not ask of it. This is the wake
    phase of reweighted wake-sleep (Bornschein and Bengio 2015). Nothing is remembered of a row, so
    a run resumes exactly; chains of imputations would have to be kept (MCFlow, Richardson, Wu, Lin,
    Xu and Bernal 2020).

    Raises:
      UserError: the model has other blocks than x and z.
    """
    if set(model.partition.inputs) != {"x"} or model.partition.observed:
        raise UserError("missing cells are modelled in x alone: this model has other blocks too")

    def loss(weights, batch):
        x = batch["x"]
        completed, log_p = _completed(model, weights, x, draws)
        log_p += missing.log_det_of_observed(model.codec, x)
        z, log_det = batches.forward(model, weights, {"x": completed})
        latent = -model.partition.base_log_prob(z)
        proposal = model.layer.proposal
        log_q = proposal.log_prob(weights["proposal"], completed, _hiding(~tf.math.is_nan(x)))
        followed = log_det - latent + log_q  # whose gradient is taken
        objective = -(log_p + followed - tf.stop_gradient(followed))
        return {
            "objective": objective,
            "latent": latent,
            "log_det": latent + log_p,
            "proposal": -log_q,
        }

    loss.identity = {"missing": draws}  # type: ignore[attr-defined]
    return loss


def _completed(model, weights, x, draws):
    """One completion of each row x [B, D] out of K, and the bound [B], without gradients."""
    weights = tf.nest.map_structure(tf.stop_gradient, weights)
    known = tf.where(tf.math.is_nan(x), 0.0, x)
    noise, chance = (losses.seed_of({"x": known}, stream) for stream in (3, 4))
    rows = tf.repeat(x, draws, 0)
    normal = tf.random.stateless_normal(tf.shape(rows), noise, dtype=x.dtype)
    drawn, log_w = missing.proposals(model, weights, rows, normal)
    log_w = tf.reshape(log_w, [-1, draws])
    tiny = np.finfo(x.dtype.as_numpy_dtype).tiny
    uniform = tf.random.stateless_uniform(tf.shape(log_w), chance, tiny, 1.0, x.dtype)
    chosen = tf.argmax(log_w - tf.math.log(-tf.math.log(uniform)), 1)
    drawn = tf.reshape(drawn, [-1, draws, x.shape[1]])
    one = tf.gather(drawn, chosen, axis=1, batch_dims=1)
    return one, tf.reduce_logsumexp(log_w, 1) - np.log(draws)


def _hiding(known):
    """Which cells [B, D] are not hidden: those that rows with missing cells know, in turn."""
    partial = tf.reduce_any(~known, 1)
    count = tf.maximum(tf.reduce_sum(tf.cast(partial, tf.int32)), 1)
    first = tf.argsort(tf.cast(~partial, tf.int32), stable=True)  # the partial ones
    return tf.gather(known, tf.gather(first, tf.range(tf.shape(known)[0]) % count))
