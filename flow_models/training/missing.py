"""The loss of rows with missing cells."""

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.models import missing
from flow_models.training import batches, losses

DRAWS = 2  # of the proposal in a step, for each row of the batch
DRAWS_OF_VALIDATION = 16


def observed_likelihood(model, draws: int = DRAWS):
    """-log 1/K sum_k w_k, an upper bound of -log p(x_obs) in nats, tight where q is the conditional
    distribution of the missing cells (see `models.missing`); of complete rows it is -log p(x), and
    0 of rows without an observed cell, which say nothing.

    Each step draws K completions of every other row and keeps one, x', with probabilities
    proportional to w_k. A batch has `draws` times its rows of completions in all, which only such
    rows share: K is `draws` where all have missing cells, and more where few have.

    The flow's gradient is that of log p(x'), which estimates the bound's (Fisher's identity:
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

    def terms(weights, batch, draws):
        x = batch["x"]
        completed, bound = _completed(model, weights, x, draws)
        z, log_det = batches.forward(model, weights, {"x": completed})
        latent = -model.partition.base_log_prob(z)
        proposal = model.layer.proposal
        log_q = proposal.log_prob(weights["proposal"], completed, _hiding(x))
        gaps = tf.math.is_nan(x)
        log_p = tf.where(tf.reduce_any(gaps, 1), bound, log_det - latent)
        log_p += missing.log_det_of_observed(model.codec, x)
        followed = log_det - latent + log_q  # whose gradient is taken
        empty = tf.reduce_all(gaps, 1)
        log_p, followed = (tf.where(empty, 0.0, each) for each in (log_p, followed))
        objective = tf.stop_gradient(followed - log_p) - followed
        return {
            "objective": objective,
            "latent": latent,
            "log_det": latent + log_p,
            "proposal": -log_q,
        }

    def loss(weights, batch):
        return terms(weights, batch, draws)

    # a resumed training must have the same; validation takes a tighter bound
    loss.identity = {"missing": draws}  # type: ignore[attr-defined]
    loss.of_validation = lambda weights, batch: terms(  # type: ignore[attr-defined]
        weights, batch, max(draws, DRAWS_OF_VALIDATION)
    )
    return loss


def _completed(model, weights, x, draws):
    """One completion of each row x [B, D], and the bound of those with missing cells [B], without
    gradients. Completion i of all is of the row `owner[i]`; rows without an observed cell get
    another row's."""
    weights = tf.nest.map_structure(tf.stop_gradient, weights)
    count = tf.shape(x)[0]
    owner = tf.tile(_in_turn(x), [draws])
    known = tf.where(tf.math.is_nan(x), 0.0, x)
    noise, chance = (losses.seed_of({"x": known}, stream) for stream in (3, 4))
    rows = tf.gather(x, owner)
    normal = tf.random.stateless_normal(tf.shape(rows), noise, dtype=x.dtype)
    drawn, log_w = missing.proposals(model, weights, rows, normal)
    log_w = tf.maximum(log_w, x.dtype.min)
    tiny = np.finfo(x.dtype.as_numpy_dtype).tiny
    uniform = tf.random.stateless_uniform(tf.shape(log_w), chance, tiny, 1.0, x.dtype)
    chosen = _best(log_w - tf.math.log(-tf.math.log(uniform)), owner, count)
    gaps = tf.reduce_any(tf.math.is_nan(x), 1, keepdims=True)
    return tf.where(gaps, tf.gather(drawn, chosen), x), _log_mean(log_w, owner, count)


def _best(keys, owner, count):
    """The place of the largest of the keys [N] of each owner, [B]; 0 where there is none."""
    best = tf.gather(tf.math.unsorted_segment_max(keys, owner, count), owner)
    places = tf.where(keys >= best, tf.range(tf.shape(keys)[0]), 0)
    return tf.maximum(tf.math.unsorted_segment_max(places, owner, count), 0)


def _log_mean(log_w, owner, count):
    """The logarithm of the mean of w [N] of each owner, [B]."""
    top = tf.math.unsorted_segment_max(log_w, owner, count)
    sums = tf.math.unsorted_segment_sum(tf.exp(log_w - tf.gather(top, owner)), owner, count)
    number = tf.math.unsorted_segment_sum(tf.ones_like(log_w), owner, count)
    return top + tf.math.log(sums / tf.maximum(number, 1.0))


def _hiding(x):
    """Which cells [B, D] are not hidden: those that rows x with missing cells know, in turn."""
    return tf.gather(~tf.math.is_nan(x), _in_turn(x))


def _in_turn(x):
    """The numbers of the rows x [B, D] with missing and with observed cells, one after the other,
    [B]; 0 where there is none."""
    gaps, count = tf.math.is_nan(x), tf.shape(x)[0]
    other = tf.cast(~tf.reduce_any(gaps, 1) | tf.reduce_all(gaps, 1), tf.int32)
    first = tf.argsort(other * count + tf.range(count))  # those wanted come first
    wanted = tf.maximum(count - tf.reduce_sum(other), 1)
    return tf.gather(first, tf.range(count) % wanted)
