"""Training draws for data without noise: noise that falls to the tolerance, and more of the rare
observations.

The posterior of noise-free data is a thin surface. A network that sees it at once spends what it
has on a thinner shell, not on the right mass along it; with noise that falls slowly, mass comes
first.
"""

import math
from collections.abc import Callable

import tensorflow as tf


def annealed_draw(
    model,
    steps: int,
    *,
    first: float = 20.0,
    share: float = 0.6,
    rare_oversampling: float = 0.6,
    candidates: int = 4,
) -> Callable:
    """draw(n, seed) for `fit` of a model behind a `PriorFrame`; seed[1] is the number of the step.

    Args:
      model: its simulator has noise N(0, tolerance^2) on its data.
      steps: of the training.
      first: noise at the start, times the simulator's `tolerance`; it falls exponentially to 1 ...
      share: ... over this part of the training and stays there.
      rare_oversampling: t, with which one of so many `candidates` is drawn with probability
        proportional to exp(t |s|^2 / 2), s the normal scores of y: their density is N(0, I) before
        and nearly N(0, I / (1 - t)) after. The choice looks at y alone, so p(theta | y) is what it
        was. 0: as the prior has them.
    """
    frame, simulator = model.frame, model.simulator
    weights = {name: tf.constant(value) for name, value in model.weights["frame"].items()}
    count, size = candidates if rare_oversampling else 1, simulator.size

    def draw(n: int, seed):
        seeds = tf.random.split(tf.cast(seed, tf.int32), 2)
        # random numbers are a good part of a step: all in one call
        normal = tf.random.stateless_normal(
            [n * count, size + simulator.data_size], seeds[0], dtype=model.dtype
        )
        theta = normal[:, :size]
        y = simulator.forward(theta) + simulator.tolerance * _level(seed[1]) * normal[:, size:]
        if rare_oversampling:
            # the rest of the context is not computed
            scores = frame.scores(frame.prepare(weights, y)["context"])
            rarity = 0.5 * rare_oversampling * tf.reduce_sum(tf.square(scores), -1)
            chosen = _one_of_each(tf.reshape(rarity, [n, count]), seeds[1])
            theta, y = tf.gather(theta, chosen), tf.gather(y, chosen)
        return {"x": theta, "y": y}

    # what the first batch, by which a resumed training knows its draws, does not show
    draw.identity = {"share": share}  # type: ignore[attr-defined]
    draw.follows_steps = True  # type: ignore[attr-defined]

    def _level(step):
        """Standard deviation of the noise at a step, in tolerances."""
        done = tf.clip_by_value(tf.cast(step, model.dtype) / (share * steps), 0.0, 1.0)
        return tf.exp(math.log(first) * (1 - done))

    return draw


def _one_of_each(log_weights, seed):
    """Row numbers [n] of one member of each group, by weight; log_weights [n, count] of rows in
    order (Gumbel's trick)."""
    n, count = log_weights.shape
    uniform = tf.random.stateless_uniform([n, count], seed, 1e-7, 1.0, log_weights.dtype)
    return tf.argmax(
        log_weights - tf.math.log(-tf.math.log(uniform)), 1, tf.int32
    ) + count * tf.range(n)
