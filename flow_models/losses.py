"""Losses: pure functions of tensors.

A loss is called as loss(weights, batch) and returns a dictionary of per-event terms [B], of which "objective" is what
training minimises the mean of; the others are reported beside it.
"""

import tensorflow as tf


def negative_log_likelihood(model):
    """-log p(x | condition) = latent - log_det, latent = -log p_base(f(x)), in nats per event.

    A batch is x [B, N], or a dictionary with "x" and, where the model has them, "y" (given to the base distribution)
    and "condition".
    """

    def loss(weights, batch):
        batch = batch if isinstance(batch, dict) else {"x": batch}
        z, log_det = model.layer.forward_and_log_det(weights, batch["x"], batch.get("condition"))
        latent = -model.partition.base_log_prob(z, batch.get("y"))
        return {"objective": latent - log_det, "latent": latent, "log_det": log_det}

    return loss


def global_norm(gradients: list[tf.Tensor]) -> tf.Tensor:
    """The square root of the sum of all squares."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(g * g) for g in gradients]))
