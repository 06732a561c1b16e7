"""A model beside an unnormalised density: what it must be, and draws with importance weights."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.tiling import FixedShapeBatches
from flow_models.diagnostics.importance import WeightedSamples
from flow_models.models.arguments import checked_count, checked_seed
from flow_models.models.notes import bounds_of


def target(model, log_density: Callable) -> Callable[[tf.Tensor], tf.Tensor]:
    """log p of inputs u [B, N] of the network: the density of the block x, and N(0, I) of the other
    blocks.

    With further input blocks the network acts in a wider space: augmented flows (Huang, Dinh and
    Courville 2020), and stochastic layers, whose noise is a block (Wu, Koehler and Noe 2020). The
    weights of draws in the wider space are unbiased for x too.

    Raises:
      UserError: the model has data, labels or bounds, or the density is not one of tensors
        [B, D] -> [B].
    """
    if model.partition.observed or len(model.event_shape) != 1:
        raise UserError(
            "a density without data needs a model of vectors without y; `given(model, y)` is one"
            " for an observation"
        )
    if any(each is not None for pair in bounds_of(model.layer) or () for each in pair):
        raise UserError(
            "a density without data needs a flow without bounds: write log p in unbounded"
            " coordinates, such as log x, with the logarithm of their derivative added"
        )
    check_density(log_density, model.event_size, model.dtype)

    def log_p(u):
        blocks = model.partition.split("inputs", u)
        value = log_density(blocks.pop("x"))
        return value + sum(_log_normal(block) for block in blocks.values())

    return log_p


def weighted_samples(model, log_density: Callable, n: int, seed: int = 0) -> WeightedSamples:
    """n draws of the model with their weights log p(x) - log q(x); a NaN weight is refused.

    Args:
      log_density: log p(x) of tensors [B, D] -> [B], up to a constant.

    Raises:
      UserError: the density is NaN for a draw, or does not fit.
    """
    n, seed = checked_count(n, least=2), checked_seed(seed)
    log_p = target(model, log_density)

    def run(weights, z):
        u, log_det = model.layer.inverse_and_log_det(weights, z, None)
        return u, log_p(u) - model.partition.base_log_prob(z) + log_det

    z = model.partition.standard_sample(n, (seed, 0), model.dtype).numpy()
    u, log_weights = FixedShapeBatches(run, model.codec.tiles, model.jit)(model.weights, z)
    x = u[:, : model.event_size]
    if np.isnan(log_weights).any():
        row = int(np.isnan(log_weights).argmax())
        raise UserError(f"the density is NaN at x = {x[row].tolist()}: give -inf where it is zero")
    return WeightedSamples(x, log_weights.astype(np.float64))


def check_density(log_density, size: int, dtype) -> None:
    """Raises UserError unless it is a function of tensors [B, D] -> [B] of that type."""
    traced = tf.function(log_density, autograph=False)
    try:
        found = traced.get_concrete_function(tf.TensorSpec([8, size], dtype)).structured_outputs
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        raise UserError(
            f"log_density must take a tensor [B, {size}] and be written with TensorFlow; {reason}"
        ) from error
    shape = getattr(found, "shape", None)
    if shape is None or shape.as_list() not in ([8], [None]):
        raise UserError(
            f"log_density must give one number a row, [B, {size}] -> [B]; it gives"
            f" {shape if shape is not None else found} for 8 rows"
        )
    if found.dtype != dtype:
        raise UserError(f"log_density must keep the type {dtype.name}; it gives {found.dtype.name}")


def _log_normal(v):
    return -0.5 * tf.reduce_sum(v * v + np.log(2 * np.pi), -1)
