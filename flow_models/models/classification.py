"""Bayes' rule on class-conditional densities: pure functions of l [B, M] = log p(x | class), of any
kind of event.

    log p(x) = logsumexp_k (l_k + log prior_k)          log p(k | x) = l_k + log prior_k - log p(x)

Labels are rows [B, M]: one-hot, or all zeros where a row has no label.
"""

import tensorflow as tf


def log_marginal(l: tf.Tensor, log_priors: tf.Tensor) -> tf.Tensor:
    """log p(x) [B], nats: what a row without a label contributes to a likelihood."""
    return tf.reduce_logsumexp(l + log_priors, -1)


def log_posterior(l: tf.Tensor, log_priors: tf.Tensor) -> tf.Tensor:
    """log p(k | x) [B, M]."""
    return tf.nn.log_softmax(l + log_priors, -1)


def cross_entropy(l: tf.Tensor, log_priors: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log p(label | x) [B], nats; 0 where there is no label."""
    return -tf.reduce_sum(labels * log_posterior(l, log_priors), -1)


def information_bottleneck(
    l, log_priors, labels, beta: float, labelled_share: float = 1.0, temperature: float = 1.0
) -> dict[str, tf.Tensor]:
    """-log p(x) + beta * -log p(label | x), each [B].

    beta = 1 on labelled rows is maximum likelihood of (x, label), and rows without a label then
    contribute the sum over classes; more beta trades likelihood for accuracy (IB-INN, Ardizzone,
    Mackowiak, Rother and Koethe 2020).

    Args:
      labelled_share: of the labelled rows in the data. Where it is below 1, half of a batch is
        labelled and half is not, and the density weighs both as the data do.
      temperature: p(label | x) is that of l / temperature: above 1 it asks for wider margins, with
        gradients that vary less.
    """
    marginal = -log_marginal(l, log_priors)
    entropy = cross_entropy(l / temperature, log_priors, labels)
    weight = 1.0
    if labelled_share < 1:
        labelled = tf.reduce_sum(labels, -1)
        weight = 2 * (labelled * labelled_share + (1 - labelled) * (1 - labelled_share))
    return {
        "objective": weight * marginal + beta * entropy,
        "nll": weight * marginal,
        "cross_entropy": entropy,
    }
