"""Generative classification: Bayes' rule on class-conditional densities of any kind of event.

    log p(x) = logsumexp_k (log p(x | k) + log p(k))
    log p(k | x) = log p(x | k) + log p(k) - log p(x)

The first functions are pure, of tensors log_p [B, M] = log p(x | class) and labels [B, M]:
one-hot rows, or all zeros where an event has no label. The others are what a `Model` with a
`Labels` block does with them.
"""

import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.tiling import FixedShapeBatches
from flow_models.models.arguments import checked_count
from flow_models.models.codecs import common_lead
from flow_models.models.pixels import Pixels

DRAWS = 16  # of the noise block of padded inputs, for a density
CLASSIFY_DRAWS = 4  # of the noise that makes pixels continuous, for p(class | pixels)


def log_marginal(log_p: tf.Tensor, log_priors: tf.Tensor) -> tf.Tensor:
    """log p(x) [B], nats: what a row without a label contributes to a likelihood."""
    return tf.reduce_logsumexp(log_p + log_priors, -1)


def log_posterior(log_p: tf.Tensor, log_priors: tf.Tensor) -> tf.Tensor:
    """log p(k | x) [B, M]."""
    return tf.nn.log_softmax(log_p + log_priors, -1)


def cross_entropy(log_p: tf.Tensor, log_priors: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log p(label | x) [B], nats; 0 where there is no label."""
    return -tf.reduce_sum(labels * log_posterior(log_p, log_priors), -1)


def information_bottleneck(
    log_p, log_priors, labels, beta: float, labelled_share=1.0, loss_temperature=1.0
) -> dict[str, tf.Tensor]:
    """-log p(x) + beta * -log p(label | x), each [B].

    beta = 1 on labelled rows is maximum likelihood of (x, label), and rows without a label then
    contribute the sum over classes; more beta trades likelihood for accuracy (IB-INN, Ardizzone,
    Mackowiak, Rother and Koethe 2020).

    Args:
      labelled_share: of the labelled rows in the data. Where it is below 1, half of a batch is
        labelled and half is not, and the density weighs both as the data do.
      loss_temperature: p(label | x) is that of log_p / loss_temperature: above 1 it asks for wider
        margins, with gradients that vary less.
    """
    marginal = -log_marginal(log_p, log_priors)
    entropy = cross_entropy(log_p / loss_temperature, log_priors, labels)
    weight = 1.0
    if labelled_share < 1:
        labelled = tf.reduce_sum(labels, -1)
        weight = 2 * (labelled * labelled_share + (1 - labelled) * (1 - labelled_share))
    return {
        "objective": weight * marginal + beta * entropy,
        "nll": weight * marginal,
        "cross_entropy": entropy,
    }


def log_prob_of_each(model, weights, rows: tf.Tensor) -> tf.Tensor:
    """log p(rows | class) [B, M], pure.

    Where the class is among the outputs, or in the last layer alone, this takes one pass of the
    network; else it takes a pass a class of the layers that see the class.
    """
    partition = model.partition
    every = tf.eye(len(model.classes), dtype=rows.dtype)
    if "y" in partition.outputs:
        v, log_det = model.layer.forward_and_log_det(weights, rows)
        return partition.base_log_prob(v[:, None], every) + log_det[:, None]
    conditions = model.layer.prepare(weights, every)
    z, log_det = model.layer.forward_of_each(weights, rows, conditions)
    return tf.reshape(partition.base_log_prob(z) + log_det, [-1, len(model.classes)])


def class_log_prob(
    model, x, draws: int | None = None, tighten: bool = True, seed: int = 0
) -> np.ndarray:
    """log p(x | class), [..., *event] -> [..., M], nats in the units of x.

    Where the inputs are padded with noise, it is a bound from `draws` of the noise: log mean_k
    [p(x, pad_k | y) / p(pad_k)], or, not tightened, E[log p(x, pad | y) / p(pad)] (augmented flows,
    Huang, Dinh and Courville 2020). Of pixels, `draws` are of the noise that makes them continuous,
    the first of it from the seed.
    """
    labels_of(model)
    x = model.codec.array(x)
    if "tiled" not in model.compiled:
        density = lambda weights, rows: log_prob_of_each(model, weights, rows)
        model.compiled["tiled"] = FixedShapeBatches(density, model.codec.tiles, model.jit)
    of_each = model.compiled["tiled"]
    rows, lead, log_det = model.codec.encode(x, model.dtype.as_numpy_dtype, seed)
    drawn = _drawn(model, x, rows, draws, seed)
    values = np.stack([of_each(model.weights, each) - log_noise for each, log_noise in drawn])
    if tighten:
        with np.errstate(invalid="ignore"):  # rows that lack a number stay NaN
            values = np.logaddexp.reduce(values, 0) - math.log(len(values))
    else:
        values = values.mean(0)
    values += np.asarray(log_det, values.dtype).reshape(-1, 1)
    values = values.reshape(*lead, len(model.classes))
    present = ~np.asarray(model.codec.missing(x))
    return np.where(np.isnan(values) & present[..., None], -np.inf, values)


def _drawn(model, x, rows, draws, seed):
    """(inputs of the network, log-density of the noise in them) for each draw of the noise."""
    pixels = isinstance(model.codec, Pixels) and np.asarray(x).dtype.kind in "ui"
    draws = draws if draws is not None else 1 if pixels else DRAWS
    checked_count(draws, 1, "draws")
    noise = [model.codecs[name] for name in model.partition.inputs if name != "x"]
    if pixels:
        yield rows, 0.0
        for further in range(seed + 1, seed + draws):
            yield model.codec.encode(x, rows.dtype, further).rows, 0.0
    elif noise:
        for pad, log_pad in noise[0].draws(draws, rows.dtype):
            padding = np.broadcast_to(pad, (len(rows), len(pad)))
            yield np.concatenate([rows, padding], 1), log_pad
    else:
        yield rows, 0.0


def averaged_log_prob(model, x) -> np.ndarray:
    """log p(x | class) as `classify` takes it, [..., *event] -> [..., M].

    Of pictures it is the mean over noise and mirror images. The mean of the logarithms, not of the
    densities: on silhouettes it classifies better (94.4% of the validation pictures against 93.3%).
    """
    if not isinstance(model.codec, Pixels):
        return class_log_prob(model, x)
    seen = [x, np.asarray(x)[..., ::-1, :]] if labels_of(model).mirrored else [x]
    return np.mean([class_log_prob(model, each, CLASSIFY_DRAWS, False) for each in seen], 0)


def shares(model, log_prob_of_each: np.ndarray, priors=None) -> np.ndarray:
    """p(class | x) of `averaged_log_prob`, [..., M]; the priors where no density can be
    computed."""
    labels = labels_of(model)
    values = np.asarray(log_prob_of_each / labels.calibration_temperature, np.float64)
    values = np.where(np.isneginf(values.max(-1, keepdims=True)), 0.0, values)
    log_priors = tf.constant(labels.log_priors(priors))
    return np.exp(log_posterior(tf.constant(values), log_priors).numpy())


def log_prob(model, x, y=None, priors=None, seed: int = 0) -> np.ndarray:
    """log p(x) over the classes, or log p(x | y); [..., *event] -> [...], nats."""
    labels, values = labels_of(model), class_log_prob(model, x, seed=seed)
    if y is None:
        with np.errstate(invalid="ignore"):
            return np.logaddexp.reduce(values + labels.log_priors(priors), -1)
    rows, of_y, _ = labels.encode(y, model.dtype.as_numpy_dtype)
    common_lead(values.shape[:-1], of_y)
    shares = rows.reshape(*of_y, len(labels.classes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.logaddexp.reduce(values + np.log(shares), -1)


def labels_of(model):
    """The codec of the model's class label.

    Raises:
      UserError: the model has no classes.
    """
    if model.labels is None:
        raise UserError("this model has no classes: train_flowmodels3.py and 4.py make such models")
    return model.labels
