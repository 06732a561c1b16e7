"""Columns of data that repeat one another, as measurements of one thing do, and what they say
together."""

import numpy as np
import tensorflow as tf

LIMIT = 4.5  # standard errors, within which two averages are taken for equal
MOST = 10_000  # rows that repeats are looked for in
FEWEST = 3  # columns that repeat one another
LEAST = 1e-6  # spread of trials over their size: float32 rounds below it
PAIRED = 8  # columns of a trial, up to which their correlations are taken


def width(columns: int) -> int:
    """Numbers that `moments` makes of trials of so many columns."""
    return 2 * columns + (columns * (columns - 1) // 2 if columns <= PAIRED else 0)


def moments(trials: tf.Tensor, there: tf.Tensor | None = None) -> tf.Tensor:
    """Mean, logarithm of the standard deviation, and correlations of trials [B, T, G] -> [B, K], of
    up to 8 columns; of those alone where `there` [B, T, 1] is 1. One trial has the logarithm 0.

    A network would need many pairs to find them in trials that differ little: in four draws of a
    Gaussian they saved nine pairs of ten.
    """
    there = tf.ones_like(trials[..., :1]) if there is None else there
    count = tf.maximum(tf.reduce_sum(there, 1), 1.0)
    mean = tf.reduce_sum(there * trials, 1) / count
    size = tf.reduce_max(there * tf.abs(trials), 1) + tf.cast(1e-30, trials.dtype)
    away = there * (trials - mean[:, None]) / size[:, None]
    spread = tf.sqrt(tf.reduce_sum(tf.square(away), 1) / count + LEAST**2)
    found = [mean, tf.where(count > 1, tf.math.log(size) + tf.math.log(spread), 0.0)]
    columns = trials.shape[-1]
    if 1 < columns <= PAIRED:
        units = away / spread[:, None]
        first, second = np.triu_indices(columns, 1)
        products = tf.gather(units, first, axis=-1) * tf.gather(units, second, axis=-1)
        found.append(tf.reduce_sum(products, 1) / count)
    return tf.concat(found, -1)


def repeated_columns(theta: np.ndarray, y: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Groups of columns of y [N, M] that repeat one another: exchanging them changes nothing in
    the joint distribution with theta [N, P], as far as averages of squares and products show.

    Of groups of several lengths, those of the length that most columns have.
    """
    theta, y = (np.asarray(each[:MOST], np.float64) for each in (theta, y))
    theta = (theta - theta.mean(0)) / np.maximum(theta.std(0), 1e-30)
    weights = np.concatenate([np.ones((len(theta), 1)), theta, theta**2 - 1], 1)
    left, groups = list(range(y.shape[1])), []
    while len(left) >= FEWEST:
        group = _like_the_first(weights, y[:, left])
        if len(group) >= FEWEST:
            groups.append(tuple(left[k] for k in group))
        left = [column for k, column in enumerate(left) if k and k not in group]
    lengths = [len(group) for group in groups]
    longest = max(lengths, key=lambda length: length * lengths.count(length), default=0)
    return tuple(group for group in groups if len(group) == longest)


def _like_the_first(weights: np.ndarray, y: np.ndarray) -> list[int]:
    """Places of the columns of y that are like the first one, with it; none where their products
    with the others differ, as those of neighbours in a series do."""
    low, middle, high = np.quantile(y[:, 0], (0.25, 0.5, 0.75))
    u = np.arcsinh((y - middle) / max(high - low, 1e-30))
    alike = _equal(weights, u) & _equal(weights, u**2)
    group = np.flatnonzero(alike)
    u = u[:, group] - u[:, group].mean(0)
    others = u * (u.sum(1, keepdims=True) - u)
    return group.tolist() if _equal(weights[:, :1], others).all() else []


def _equal(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Whether the means of weights times a column of values are those of the first column, [M]."""
    away = values - values[:, :1]
    total = weights.T @ away
    error = np.sqrt((weights**2).T @ away**2)
    return (np.abs(total) <= LIMIT * error).all(0)
