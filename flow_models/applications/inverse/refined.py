"""The posterior of one observation, refined by the simulator's exact likelihood."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.models.given import given
from flow_models.models.model import Model
from flow_models.training.density import DensityFit, fit_density
from flow_models.training.settings import FitSettings

SETTINGS = FitSettings(steps=1000, batch_size=256, learning_rate=1e-3, eval_every_steps=100)


def refine(model: Model, y, settings: FitSettings = SETTINGS) -> DensityFit:
    """Trains p(x | y) of one y [M] on the exact posterior, from the amortised one, by the reverse
    divergence.

        log p(theta | y) = -(|r(theta)|^2 + |theta|^2) / 2 + constant

    `sample` of the result has importance weights, which make expectations exact; theta are
    whitened parameters there, and `model.sample` gives them in the user's units. The model that is
    given stays as it is.

    Raises:
      UserError: the model has no y given, or its simulator has no likelihood that TensorFlow can
        take the gradient of.
    """
    simulator = model.simulator
    row = np.asarray(y, model.dtype.as_numpy_dtype)

    def log_posterior(theta):
        of_each = tf.repeat(tf.constant(row)[None], theta.shape[0], 0)
        return simulator.log_posterior(theta, of_each)

    alone = given(model, y)
    alone.jit = model.jit and simulator.by_xla
    settings = dataclasses.replace(settings, jit=settings.jit and simulator.by_xla)
    options = {"method": "reverse_kl", "forward_share": 0.0}
    return fit_density(log_posterior, alone, settings, **options)  # type: ignore[arg-type]
