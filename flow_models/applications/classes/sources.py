"""Labelled rows as batches for `fit`: noise drawn anew every step, padding, and rows without
labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from flow_models.data.images.augmentation import Augmentation
from flow_models.data.images.stream import stream
from flow_models.data.shards.stream import EndlessBatches
from flow_models.data.tables.labelled import UNLABELLED, Labelled
from flow_models.models.model import Model


def from_rows(model: Model, rows: Labelled, smoothing: float = 0.0) -> Callable:
    """draw(n, seed) of rows taken at random; where some have no label, every second one of a batch
    is labelled.

    Args:
      smoothing: of the rows with normal noise shaped like the scatter within the classes, in its
        standard deviations.
    """
    rows = Labelled(model.codec.prepare(rows.x), rows.y)
    x, labels = (
        tf.constant(rows.x, model.dtype),
        tf.constant(rows.onehot(len(model.classes)), model.dtype),
    )
    shape = tf.constant(smoothing * _scatter(rows).T, model.dtype) if smoothing else None
    groups = [np.flatnonzero(rows.y != UNLABELLED), np.flatnonzero(rows.y == UNLABELLED)]
    groups = [tf.constant(group, tf.int32) for group in groups if len(group)]

    def draw(n, seed):
        seeds = tf.random.split(tf.cast(seed, tf.int32), len(groups) + 2)
        counts = [n] if len(groups) == 1 else [n - n // 2, n // 2]
        index = tf.concat(
            [
                tf.gather(
                    group, tf.random.stateless_uniform([count], each, 0, len(group), tf.int32)
                )
                for group, count, each in zip(groups, counts, tf.unstack(seeds))
            ],
            0,
        )
        drawn = tf.gather(x, index)
        if shape is not None:
            drawn += tf.random.stateless_normal(drawn.shape, seeds[-2], dtype=x.dtype) @ shape
        return {**_inputs(model, drawn, seeds[-1]), "y": tf.gather(labels, index)}

    return draw


def from_simulator(model: Model, simulator: Callable) -> Callable:
    """draw(n, seed) of a simulator(n, seed) -> x [n, D], class numbers [n]."""

    def draw(n, seed):
        seeds = tf.random.split(tf.cast(seed, tf.int32), 2)
        x, y = simulator(n, seeds[0])
        labels = tf.one_hot(y, len(model.classes), dtype=model.dtype)
        return {**_inputs(model, tf.cast(x, model.dtype), seeds[1]), "y": labels}

    return draw


def pictures(
    rows: Labelled,
    classes: int,
    batch_size: int,
    seed: int = 0,
    augment: Augmentation | None = None,
) -> EndlessBatches:
    """Batches {"x": uint8 [batch_size, H, W, C], "y": labels} in shuffled passes; where some
    pictures have no label, every second one of a batch is labelled."""
    groups = [np.flatnonzero(rows.y != UNLABELLED), np.flatnonzero(rows.y == UNLABELLED)]
    return stream(
        lambda numbers: rows.x[numbers],
        np.array([len(rows)]),
        rows.x.shape[1:],
        batch_size,
        seed,
        augment,
        rows.y.astype(np.int32),
        classes,
        groups if all(map(len, groups)) else (),
    )


def fixed(model: Model, rows: Labelled, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of all rows as `fit` takes them, padded with noise that stays the same; DataFrames and
    pixels as they are."""
    if hasattr(rows.x, "iloc") or rows.x.dtype == np.uint8:
        return {"x": rows.x, "y": rows.onehot(len(model.classes))}
    inputs = _inputs(model, tf.constant(rows.x, model.dtype), tf.constant([seed, -7]))
    arrays = {name: block.numpy() for name, block in inputs.items()}
    return {**arrays, "x": rows.x, "y": rows.onehot(len(model.classes))}


def _scatter(rows):
    """Cholesky factor [D, D] of the covariance within the classes of vectors; rows without a label
    are one more class."""
    x = rows.x.astype(np.float64)
    of_classes = [x[rows.y == k] for k in np.unique(rows.y)]
    centred = np.concatenate([each - each.mean(0) for each in of_classes])
    covariance = centred.T @ centred / len(centred)
    return np.linalg.cholesky(covariance + 1e-6 * np.diag(x.var(0)))


def _inputs(model, x, seed) -> dict[str, tf.Tensor]:
    """The block x, and noise for the block that pads it, where there is one."""
    width = model.partition.inputs.get("pad", 0)
    if not width:
        return {"x": x}
    return {"x": x, "pad": tf.random.stateless_normal([x.shape[0], width], seed, dtype=x.dtype)}
