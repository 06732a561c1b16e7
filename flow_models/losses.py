"""Losses: pure functions of tensors.

A loss is called as loss(weights, batch) and returns a dictionary of per-event terms [B], of which "objective" is what
training minimises the mean of; the others are reported beside it.
"""

import tensorflow as tf

from flow_models import classification


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


def class_likelihood(model, beta: float = 1.0, labelled_share: float = 1.0, temperature: float = 1.0):
    """-log p(x) + beta * -log p(label | x) for a `ClassModel`, in nats per event; see `classification`.

    With beta = 1 and a label on every row that is -log p(x, label). A batch has "x" and, under the model's name for it
    ("y" or "condition"), labels [B, M], all zeros where there is none.
    """
    log_priors = tf.constant(model.log_priors(), model.dtype)

    def loss(weights, batch):
        labels = batch[model.label_name]
        l = model.log_prob_of_classes(weights, batch["x"])
        return classification.information_bottleneck(l, log_priors, labels, beta, labelled_share, temperature)

    return loss


def global_norm(gradients: list[tf.Tensor]) -> tf.Tensor:
    """The square root of the sum of all squares."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(g * g) for g in gradients]))
