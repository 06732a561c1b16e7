"""Losses: pure functions of tensors.

A loss is called as loss(weights, batch) and returns a dictionary of per-event terms [B], of which
"objective" is what training minimises the mean of; the others are reported beside it.
"""

from collections.abc import Callable

import tensorflow as tf

from flow_models.bijectors.intervals import log_normal
from flow_models.models import classification
from flow_models.training import batches

# of the kernel of `mmd_squared`, times the typical distance of two N(0, I) vectors
WIDTHS = (0.25, 0.5, 1.0)
PERTURBATION = 0.05  # of the latents that `reconstruction` goes back from


def negative_log_likelihood(model, **extra: tuple[float, Callable]):
    """-log p(inputs | y) = latent - log_det, latent = -log p_base(f(inputs) | y), nats per event.

    Args:
      extra: by name (weight, term), terms as `mmd_of_latents` gives them; those of weight 0 are not
        computed. They compare the rows of a batch with each other, so over validation rows they are
        means over the tiles of these.
    """
    extra = {name: (weight, term) for name, (weight, term) in extra.items() if weight}

    def loss(weights, batch):
        z, log_det = batches.forward(model, weights, batch)
        log_det += batches.log_det_of_codec(model, batch)
        latent = -model.partition.base_log_prob(z, batches.y_of(model, batch))
        for name in model.partition.beside_x:  # what p(x, e) / N(e) is a bound of
            latent += tf.reduce_sum(log_normal(batch[name]), -1)
        added = {name: term(weights, batch, z) for name, (_, term) in extra.items()}
        objective = (
            latent - log_det + sum(weight * added[name] for name, (weight, _) in extra.items())
        )
        return {"objective": objective, "latent": latent, "log_det": log_det, **added}

    # a resumed training must have the same
    identity = {name: weight for name, (weight, _) in extra.items()} or None
    loss.identity = identity  # type: ignore[attr-defined]
    loss.of_latents = not extra  # type: ignore[attr-defined]  # all that it needs of x
    return loss


def mmd_of_latents(model):
    """Term MMD^2 of (y, f(x)) and (y, N(0, I)), y what the base or the couplings are given:
    Ardizzone et al. 2019."""

    def term(weights, batch, z):
        seen = batches.seen(model, weights, batch)
        found = model.partition.standardised(z, batches.y_of(model, batch))
        wanted = tf.random.stateless_normal(tf.shape(found), seed_of(batch, 0), dtype=found.dtype)
        return _of_rows(mmd_squared(tf.concat([found, *seen], 1), tf.concat([wanted, *seen], 1)), z)

    return term


def mmd_of_inputs(model):
    """Term MMD^2 of x and of f^-1(y, N(0, I)), for the batch's y: Ardizzone et al. 2019, which adds
    it to the one of latents."""

    def term(weights, batch, z):
        normal = tf.random.stateless_normal(tf.shape(z), seed_of(batch, 1), dtype=z.dtype)
        latents = model.partition.from_standardised(normal, batches.y_of(model, batch))
        drawn = batches.inverse(model, weights, latents, batch)
        return _of_rows(mmd_squared(drawn, batches.inputs(model, batch)), z)

    return term


def reconstruction(model):
    """Term |f^-1(y, z + noise) - x|^2, z of f(x) = (v_y, z): small where v_y says what y does, and
    where the inverse is smooth.

    Without y among the outputs only the noise, of size PERTURBATION, tells f^-1(f(x)) from x.
    """

    def term(weights, batch, z):
        noise = PERTURBATION * tf.random.stateless_normal(
            tf.shape(z), seed_of(batch, 2), dtype=z.dtype
        )
        latents = model.partition.with_y(z + noise, batches.y_of(model, batch))
        back = batches.inverse(model, weights, latents, batch)
        return tf.reduce_sum(tf.square(back - batches.inputs(model, batch)), -1)

    return term


def mmd_squared(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Unbiased MMD^2 of samples a [n, D] and b [n, D], a number that has gradients; kernel the sum
    over h of WIDTHS of

        H / (H + |d|^2),  H = 2 D h^2

    Row i of a and row i of b may depend on each other, as where both hold the same y: only
    different rows are compared.
    """
    size, rows = 2.0 * a.shape[-1], tf.cast(tf.shape(a)[0], a.dtype)
    # distances come from inner products, which are accurate for small numbers
    centre = tf.stop_gradient(tf.reduce_mean(b, 0))
    a, b = a - centre, b - centre

    def kernel(p, q):
        squares = (
            tf.reduce_sum(p * p, -1)[:, None]
            + tf.reduce_sum(q * q, -1)
            - 2 * tf.matmul(p, q, transpose_b=True)
        )
        return sum(size * h * h / (size * h * h + tf.maximum(squares, 0.0)) for h in WIDTHS)

    compared = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    return (tf.reduce_sum(compared) - tf.linalg.trace(compared)) / tf.maximum(
        rows * (rows - 1), 1.0
    )


def seed_of(batch, stream: int):
    """A seed that is a function of the batch, as a loss is one: training resumes exactly,
    validation repeats."""
    return tf.stack([tf.bitcast(tf.cast(tf.reduce_sum(batch["x"]), tf.float32), tf.int32), stream])


def _of_rows(value, rows):
    """A number a batch as numbers a row [B]."""
    return tf.fill(tf.shape(rows)[:1], value)


def class_likelihood(
    model, beta: float = 1.0, labelled_share: float = 1.0, loss_temperature: float = 1.0
):
    """-log p(x) + beta * -log p(label | x) for a model with classes, nats per event.

    See `models.classification`. With beta = 1 and a label on every row it is -log p(x, label). The
    block "y" of a batch holds labels [B, M], all zeros where there is none.
    """
    log_priors = tf.constant(model.labels.log_priors(), model.dtype)

    def loss(weights, batch):
        log_p = classification.log_prob_of_each(model, weights, batches.inputs(model, batch))
        return classification.information_bottleneck(
            log_p, log_priors, batch["y"], beta, labelled_share, loss_temperature
        )

    # a resumed training must have the same
    loss.identity = {  # type: ignore[attr-defined]
        "beta": beta,
        "labelled_share": labelled_share,
        "loss_temperature": loss_temperature,
    }
    return loss


def global_norm(gradients: list[tf.Tensor]) -> tf.Tensor:
    """The square root of the sum of all squares of gradients [...] of any shapes, a number."""
    return tf.sqrt(tf.add_n([tf.reduce_sum(g * g) for g in gradients]))
