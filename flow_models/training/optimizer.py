"""Adam, learning-rate schedules and averaging as pure functions of tensors, to run inside a
compiled loop."""

import math

import tensorflow as tf

from flow_models.training.losses import global_norm


def learning_rate(settings, step: tf.Tensor, steps: tf.Tensor | None = None) -> tf.Tensor:
    """The rate at a step (0, 1, ...): linear warm-up, then constant, exponential or cosine decay to
    `final_fraction`.

    `settings` has learning_rate, schedule, warmup_steps, steps and final_fraction (see
    `FitSettings`); `steps` stands for theirs where time says how many there are.
    """
    step = tf.cast(step, tf.float32)
    if steps is None:
        steps = settings.steps
        warmup = min(settings.warmup_steps, steps // 4)
        warm = tf.minimum(1.0, (step + 1.0) / max(warmup, 1))
    else:
        steps = tf.cast(steps, tf.float32)
        warmup = tf.minimum(float(settings.warmup_steps), steps // 4)
        warm = tf.minimum(1.0, (step + 1.0) / tf.maximum(warmup, 1.0))
    done = tf.clip_by_value((step - warmup) / (steps - warmup), 0.0, 1.0)
    floor = settings.final_fraction
    if settings.schedule == "exponential":
        decay = tf.exp(done * math.log(floor))
    elif settings.schedule == "cosine":
        decay = floor + (1 - floor) * 0.5 * (1 + tf.cos(math.pi * done))
    else:
        decay = tf.ones_like(step)
    return settings.learning_rate * warm * decay


def initial_moments(weights: list[tf.Tensor]) -> dict[str, list[tf.Tensor]]:
    """First and second moments at zero, and the average of the weights at their values."""
    return {
        "first": [tf.zeros_like(w) for w in weights],
        "second": [tf.zeros_like(w) for w in weights],
        "average": [tf.identity(w) for w in weights],
    }


def adam(
    settings, step: tf.Tensor, weights: list, gradients: list, moments: dict, steps=None
) -> tuple[list, dict, tf.Tensor]:
    """One step of Adam (Kingma and Ba 2015) with clipping by global norm and decoupled weight decay
    (Loshchilov and Hutter 2019); also averages the weights (EMA).

    `steps` is that of `learning_rate`. The average's decay is min(ema, (1 + t) / (10 + t)), so that
    it forgets the start.

    Returns:
      New weights, new moments, and the norm of the gradient before clipping.
    """
    norm = tf.cast(global_norm(gradients), tf.float32)
    factor = tf.minimum(1.0, settings.clip_norm / (norm + 1e-12)) if settings.clip_norm > 0 else 1.0
    t = tf.cast(step, tf.float32) + 1.0
    beta1, beta2 = settings.beta1, settings.beta2
    scheduled = learning_rate(settings, step, steps)
    rate = scheduled * tf.sqrt(1 - tf.pow(beta2, t)) / (1 - tf.pow(beta1, t))
    keep = tf.minimum(settings.ema, (1.0 + t) / (10.0 + t))
    new_weights: list[tf.Tensor] = []
    new: dict[str, list[tf.Tensor]] = {"first": [], "second": [], "average": []}
    for w, g, m, v, a in zip(
        weights, gradients, moments["first"], moments["second"], moments["average"]
    ):
        factor_, rate_, keep_ = (tf.cast(value, w.dtype) for value in (factor, rate, keep))
        g = g * factor_
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        if settings.weight_decay:
            w -= tf.cast(scheduled * settings.weight_decay, w.dtype) * w
        w = w - rate_ * m / (tf.sqrt(v) + 1e-8)
        new_weights.append(w)
        new["first"].append(m)
        new["second"].append(v)
        new["average"].append(keep_ * a + (1 - keep_) * w)
    return new_weights, new, norm
