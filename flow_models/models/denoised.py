"""Samples without the noise that training added to pictures."""

import numpy as np
import tensorflow as tf

from flow_models.core.tiling import FixedShapeBatches
from flow_models.models.codecs import Encoded


def denoised(model, rows: np.ndarray, y=None) -> np.ndarray:
    """E[x | x'] = x' + s^2 grad log p(x') of rows x' = x + s e [B, *padded_shape], under a model
    that was trained with noise s e: Tweedie's formula, as TarFlow takes noise off its samples
    (Normalizing flows are capable generative models, Zhai et al. 2024).

    Args:
      y: as in `Model.sample`.
    """
    rows, blocks, number, _ = model.together(Encoded(rows, (len(rows),)), y)
    given = model.given_rows(blocks)
    seen = [] if given is None else [given[number]]
    of_y = [blocks["y"][number]] if "y" in model.partition.outputs else []
    if "gradient" not in model.compiled:
        run = _gradient(model, len(seen))
        model.compiled["gradient"] = FixedShapeBatches(run, model.codec.tiles, model.jit)
    s = model.codec.noise * model.codec.levels
    return rows + s**2 * model.compiled["gradient"](model.weights, rows, *seen, *of_y)


def _gradient(model, count: int):
    """grad log p(x) of weights, rows x, `count` arrays that are given, and y among the outputs."""

    def gradient(weights, x, *others):
        given, of_y = others[:count], others[count:]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            v, log_det = model.layer.forward_and_log_det(weights, x, *given)
            log_p = model.partition.base_log_prob(v, *of_y) + log_det
        return tape.gradient(log_p, x)

    return gradient
