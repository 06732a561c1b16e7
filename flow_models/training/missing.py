"""The loss of rows with missing cells."""

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.models import missing
from flow_models.training import losses

DRAWS = 1  # rows with their missing cells drawn, in a step, for each row of the batch
LEAST = 4  # draws of a row that is completed
DRAWS_OF_VALIDATION = 16


def observed_likelihood(model, draws: int = DRAWS):
    """-log 1/K sum_k w_k, an upper bound of -log p(x_obs) in nats, tight where q is the conditional
    distribution of the missing cells (see `models.missing`); of complete rows it is -log p(x), and
    0 of rows without an observed cell, which say nothing.

    A step sees B `draws` rows with their missing cells drawn, for a batch of B: complete rows once,
    the others K times, K being at least LEAST. A random part of these is left out where they are
    too many for that; since cells are missing completely at random, every part of the rows tells
    the same density, but complete rows tell most. The K draws of a row are spread evenly over q
    (square roots of whole numbers times 0, 1, ..., randomly shifted).

    The flow's gradient is that of the bound, sum_k w_k grad log p(x_obs, x_k) / sum_k w_k
    (Burda, Grosse and Salakhutdinov 2016). Of one draw alone, it would be mostly the noise of what
    the model made up: its mean over the missing cells is 0, and only many, even draws remove it.

    The proposal's is that of log q(hidden cells of x' | others), with x' one of the draws, taken
    with probabilities proportional to w_k, and the missing cells of some row of the batch hidden:
    maximum likelihood, so that q covers all of the conditional distribution, which a bound's own
    gradient does not ask of it. This is the wake phase of reweighted wake-sleep (Bornschein and
    Bengio 2015). Nothing is remembered of a row, so a run resumes exactly.

    Raises:
      UserError: the model has other blocks than x and z.
    """
    if set(model.partition.inputs) != {"x"} or model.partition.observed:
        raise UserError("missing cells are modelled in x alone: this model has other blocks too")

    def terms(weights, batch, draws):
        x = batch["x"]
        count, (first, second, third) = tf.shape(x)[0], _seeds(weights, x)
        start = tf.random.stateless_uniform([], first, 0, count, tf.int32)
        owner, turn, share = _owners(x, draws, start)
        drawn, log_w, latent = _drawn(model, weights, x, owner, turn, second)
        log_p = _log_mean(log_w, owner, count) + missing.log_det_of_observed(model.codec, x)
        one = _one_of_each(log_w, owner, count, third)
        completed = tf.gather(drawn, one)
        log_q = model.layer.proposal.log_prob(weights["proposal"], completed, _hiding(x))
        log_p, log_q = (tf.where(share > 0, share * each, 0.0) for each in (log_p, log_q))
        latent = tf.gather(latent, one)
        return {
            "objective": tf.stop_gradient(log_q) - log_q - log_p,
            "latent": latent,
            "log_det": latent + log_p,
            "proposal": -log_q,
        }

    def loss(weights, batch):
        return terms(weights, batch, draws)

    # a resumed training must have the same; validation takes a tighter bound
    loss.identity = {"missing": [draws, LEAST]}  # type: ignore[attr-defined]
    loss.of_validation = lambda weights, batch: terms(  # type: ignore[attr-defined]
        weights, batch, max(draws, DRAWS_OF_VALIDATION)
    )
    return loss


def _drawn(model, weights, x, owner, turn, seed):
    """Rows `owner` of x [B, D] with their missing cells drawn, log w of the draws, whose gradients
    are the flow's alone, and their -log p(z)."""
    held = tf.nest.map_structure(tf.stop_gradient, weights["proposal"])
    shift = tf.random.stateless_uniform(tf.shape(x), seed, dtype=x.dtype)
    normal = _spread(tf.gather(shift, owner), turn)
    found = missing.proposals(model, {**weights, "proposal": held}, tf.gather(x, owner), normal)
    drawn, log_w, latent = found
    return drawn, tf.maximum(log_w, x.dtype.min), latent


def _one_of_each(log_w, owner, count, seed):
    """Places [B] of a draw of each row, with probabilities proportional to w; 0 for rows that have
    none."""
    tiny = np.finfo(log_w.dtype.as_numpy_dtype).tiny
    uniform = tf.random.stateless_uniform(tf.shape(log_w), seed, tiny, 1.0, log_w.dtype)
    return _best(log_w - tf.math.log(-tf.math.log(uniform)), owner, count)


def _seeds(weights, x):
    """Three seeds, of the batch and the weights: equal batches get other draws as weights move."""
    known = tf.where(tf.math.is_nan(x), 0.0, x)
    moved = tf.reduce_sum(
        tf.cast(tf.nest.flatten(weights["proposal"]["couplings"])[-1], tf.float32)
    )
    seed = losses.seed_of({"x": known}, 3)
    folded = tf.random.experimental.stateless_fold_in(seed, tf.bitcast(moved, tf.int32))
    return tf.unstack(tf.random.experimental.stateless_split(folded, 3))


def _owners(x, draws, start):
    """Whose each of B `draws` completions of rows x [B, D] is, which of its row's it is, and
    what each row counts for [B]: nothing without an observed cell, or where it is left out. The
    rows to be completed are counted from `start`."""
    count, gaps = tf.shape(x)[0], tf.math.is_nan(x)
    whole, empty = ~tf.reduce_any(gaps, 1), tf.reduce_all(gaps, 1)
    alone, number = (tf.reduce_sum(tf.cast(each, tf.int32)) for each in (whole, ~whole & ~empty))
    covered = tf.clip_by_value(number, 1, tf.maximum((count * draws - alone) // LEAST, 1))
    place = tf.range(count * draws)
    later = tf.maximum(place - alone, 0)
    first = tf.gather(
        tf.argsort(tf.cast(~whole, tf.int32), stable=True), tf.minimum(place, count - 1)
    )
    rest = tf.gather(_in_turn(x), (start + later % covered) % tf.maximum(number, 1))
    owner = tf.where(place < alone, first, rest)
    held = tf.math.unsorted_segment_sum(tf.ones_like(owner), owner, count) > 0
    share = tf.cast(whole | (held & ~empty), x.dtype)
    left_out = tf.cast(number - tf.minimum(number, covered), x.dtype)
    return owner, later // covered, share / (1 - left_out / tf.cast(count, x.dtype))


def _spread(shift, turn):
    """N(0, 1) numbers [N, D], of place `turn` [N] in a sequence with this shift in [0, 1)."""
    roots = np.sqrt(np.arange(2, 4 * shift.shape[1] + 30)) % 1
    even = np.abs(np.abs(roots - 0.5) - 0.175) < 0.125  # few turns leave no wide gap
    steps = tf.constant(roots[even][: shift.shape[1]], shift.dtype)
    places = tf.math.floormod(shift + tf.cast(turn, shift.dtype)[:, None] * steps, 1.0)
    return tf.math.ndtri(tf.clip_by_value(places, 1e-6, 1 - 1e-6))


def _best(keys, owner, count):
    """The place of the largest of the keys [N] of each owner, [B]; 0 where there is none."""
    best = tf.gather(tf.math.unsorted_segment_max(keys, owner, count), owner)
    places = tf.where(keys >= best, tf.range(tf.shape(keys)[0]), 0)
    return tf.maximum(tf.math.unsorted_segment_max(places, owner, count), 0)


def _log_mean(log_w, owner, count):
    """The logarithm of the mean of w [N] of each owner, [B]."""
    top = tf.stop_gradient(tf.math.unsorted_segment_max(log_w, owner, count))
    sums = tf.math.unsorted_segment_sum(tf.exp(log_w - tf.gather(top, owner)), owner, count)
    number = tf.math.unsorted_segment_sum(tf.ones_like(log_w), owner, count)
    return top + tf.math.log(tf.where(number > 0, sums, 1.0) / tf.maximum(number, 1.0))


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
