"""Losses of continuous flows: flow matching, and likelihood with the cost of transport."""

import tensorflow as tf

from flow_models.bijectors.continuous import continuous_end, last_of, objective_of
from flow_models.core.errors import UserError
from flow_models.training import batches
from flow_models.training.losses import seed_of

TRANSPORT = 0.05  # weight of the cost beside the likelihood, in a recipe that asks for it


def loss_of(model):
    """The loss that a continuous flow names as its objective; None where it is the likelihood."""
    makers = {"matching": flow_matching, "transport": transport}
    name = objective_of(model.layer)
    return makers[name](model) if name in makers else None


def flow_matching(model):
    """|f(t, x_t | y) - (z - x)|^2, x_t = (1 - t) x + t z, z of the base density, t of [0, 1]: its
    minimum is the velocity field that carries the density of x to the base, along straight paths on
    average. No equation is solved.

    Flow matching (Lipman, Chen, Ben-Hamu, Nickel and Le 2023), conditional optimal-transport paths.
    What stands before the continuous layer, such as units of the data, is not trained. The model's
    log p is exact, as after training by likelihood.

    Example:
      >>> model = fm.Model(fm.architectures.flow_matching(2))
      >>> fm.fit(model, x)  # this loss; for another recipe, loss=fm.flow_matching(model)

    Raises:
      UserError: the flow does not end with a continuous layer.
    """
    _check(model)

    def loss(weights, batch):
        layer, weights, x, seen, _ = _entrance(model, weights, batch)
        x, seeds = tf.stop_gradient(x), [seed_of(batch, stream) for stream in (5, 6)]
        normal = tf.random.stateless_normal(tf.shape(x), seeds[0], dtype=x.dtype)
        z = model.partition.from_standardised(normal, batches.y_of(model, batch))
        t = _times(tf.shape(x)[0], seeds[1], x.dtype)
        there = x + t[:, None] * (z - x)
        error = layer.field.velocity(weights, t, there, seen) - (z - x)
        return {"objective": tf.reduce_sum(error * error, 1)}

    loss.identity = {"flow_matching": 1}  # type: ignore[attr-defined]
    return loss


def transport(model, weight: float = TRANSPORT):
    """-log p(x | y) + weight times the cost of transport, the integral of |f|^2 / 2 over the path:
    paths become straight, and the solver takes few steps (Onken et al. 2021).

    Raises:
      UserError: the flow does not end with a continuous layer.
    """
    _check(model)

    def loss(weights, batch):
        layer, weights, x, seen, log_det = _entrance(model, weights, batch)
        z, more, cost = layer.forward_with_cost(weights, x, seen)
        log_det += more + model.codec.log_det(batch["x"])
        latent = -model.partition.base_log_prob(z, batches.y_of(model, batch))
        objective = latent - log_det + weight * cost
        return {"objective": objective, "latent": latent, "log_det": log_det, "transport": cost}

    loss.identity = {"transport": weight}  # type: ignore[attr-defined]
    return loss


def _check(model) -> None:
    if last_of(model.layer) is None:
        raise UserError(
            "the flow does not end with one Continuous layer: take the architecture flow_matching,"
            " ffjord of depth 1 or ot_flow"
        )


def _entrance(model, weights, batch):
    """The continuous layer at the end of the flow, its weights, and x, what is given and log |det|
    there."""
    if "context" in batch:
        layer, weights = model.layer.layer, weights["layer"]
        x, given, log_det = batch["x"], batch["context"], batch["log_det"][:, 0]
    elif model.frame is not None:
        raise UserError("behind a frame, this loss takes arrays, not functions that draw")
    else:
        layer, log_det = model.layer, 0.0
        x, given = batches.inputs(model, batch), batches.given(model, batch)
    seen = layer.prepare(weights, given)
    layer, weights, x, more = continuous_end(layer, weights, x, seen)
    return layer, weights, x, seen, log_det + more


def _times(rows, seed, dtype):
    """Times of [0, 1] in random order, the squares of numbers one in each of as many equal parts as
    there are rows: more of them early, where the velocity changes fast, which leaves the minimum
    where it is."""
    numbers = tf.random.stateless_uniform([rows], seed, dtype=dtype)
    parts = (tf.cast(tf.argsort(numbers), dtype) + numbers) / tf.cast(rows, dtype)
    return parts * parts
