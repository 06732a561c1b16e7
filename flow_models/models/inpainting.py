"""Holes in pictures filled with what a model expects there, given the rest."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.models.editing import latents
from flow_models.models.model import Model

LAST = 12**-0.5  # levels: the standard deviation of a known pixel within its level
LEAPFROG = 5  # steps of a proposal
ACCEPTED = 0.7  # share of proposals that the step size aims at
ANNEALED = 0.7  # share of the proposals, after which nothing is adapted any more


def inpainted(
    model: Model,
    images: np.ndarray,
    hole: np.ndarray,
    draws: int = 4,
    steps: int = 300,
    *,
    label: str | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Pictures uint8 [n, draws, H, W, C] whose pixels in the hole are drawn given the others.

    Hamiltonian Monte Carlo in latent space, with g(z) the picture of z and sums over known pixels:

        log p(z | known) = -|z|^2 / 2 - sum (g(z) - x)^2 / (2 s^2) + const

    Chains start at z of N(0, I), with s as wide as the range of pixels, and s falls to 0.29 levels,
    what rounding leaves open; there the step size stays. Known pixels are put back at the end. With
    few steps draws are nearer to each other, or to the start, than the conditional density says.

    Args:
      images: uint8 [n, H, W, C]; what they have in the hole is not looked at.
      hole: bool [H, W], true where pixels are unknown.
      steps: proposals of each chain, of five leapfrog steps.
      label: the class, where the model has classes; by default the most probable one of the whole
        picture.

    Raises:
      UserError: the hole is empty, everything, or of another shape.
    """
    hole = np.asarray(hole, bool)
    if hole.shape != model.event_shape[:2] or not hole.any() or hole.all():
        raise UserError(
            f"a hole is [{', '.join(map(str, model.event_shape[:2]))}] with known and unknown"
            f" pixels; got {list(hole.shape)} with {hole.sum()} unknown"
        )
    if min(draws, steps) < 1:
        raise UserError(f"{draws} draws of {steps} steps: both must be at least 1")
    y = latents(model, images, label)[1]
    x = model.codec.encode(images, model.dtype.as_numpy_dtype)
    # the middle of each level
    rows = np.repeat(np.floor(x.rows) + 0.5, draws, 0)
    known = _padded(model, ~hole)
    z = _chains(model, rows, known, None if y is None else np.repeat(y, draws), steps, seed)
    found = model.decode(z, None if y is None else np.repeat(y, draws))
    found = model.codec.samples(found).reshape(len(images), draws, *model.event_shape)
    kept = model.codec.samples(x.rows)[:, None]
    return np.where(hole[:, :, None], found, kept)


def _padded(model, known):
    """Known pixels [1, H, W, 1] of the padded picture; padding is not known."""
    more = [full - side for full, side in zip(model.codec.padded_shape, known.shape)]
    return np.pad(known, [(0, each) for each in more])[None, :, :, None]


def _chains(model, rows, known, y, steps, seed):
    """The last latents [B, N] of a chain for each of rows [B, *padded_shape]."""
    of_rows = model.codec.encode(np.zeros((len(rows), *model.event_shape), np.uint8), rows.dtype)
    _, blocks, number, _ = model.together(of_rows, y)
    given = model.given_rows(blocks)
    seen = [] if given is None else [tf.constant(given[number])]
    of_y = [tf.constant(blocks["y"][number])] if "y" in model.partition.outputs else []
    first = model.codec.levels / 2
    falling = max(int(steps * ANNEALED), 1)
    widths = np.concatenate(
        [np.geomspace(first, LAST, falling), np.full(steps - falling, LAST)]
    ).astype(rows.dtype)
    name = f"inpainting {len(seen)} {len(of_y)}"
    if name not in model.compiled:
        model.compiled[name] = tf.function(_run(model, len(seen)), jit_compile=model.jit)
    return model.compiled[name](
        tf.constant(rows), tf.cast(known, rows.dtype), widths, falling, (seed, 1), *seen, *of_y
    ).numpy()


def _run(model, count):
    """The chains of rows, known pixels, widths of each proposal, how many of them adapt, a seed,
    `count` arrays that are given, and y among the outputs."""
    layer, partition, weights = model.layer, model.partition, model.weights

    def run(x, known, widths, falling, seed, *others):
        given, of_y = others[:count], others[count:]
        prepared = [layer.prepare(weights, each) for each in given]

        def energy(z, s):
            """-log density [B] and its gradient."""
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(z)
                v = partition.from_standardised(z, *of_y)
                picture = layer.inverse_and_log_det(weights, v, *prepared)[0]
                away = tf.reduce_sum(known * tf.square(picture - x), [1, 2, 3])
                value = 0.5 * tf.reduce_sum(z * z, 1) + 0.5 * away / s**2
            return value, tape.gradient(value, z)

        def step(i, z, size):
            s, seeds = widths[i], [tf.random.fold_in(seed, 2 * i + k) for k in (0, 1)]
            p = tf.random.stateless_normal(z.shape, seeds[0], dtype=z.dtype)
            chance = tf.random.stateless_uniform(size.shape, seeds[1], dtype=z.dtype)
            e = (size * s)[:, None]

            def leap(k, z, p, _, slope):
                p -= 0.5 * e * slope
                z += e * p
                value, slope = energy(z, s)
                return k + 1, z, p - 0.5 * e * slope, value, slope

            start = energy(z, s)
            state = (0, z, p, *start)
            _, to, q, after, _ = tf.while_loop(lambda k, *_: k < LEAPFROG, leap, state)
            gain = start[0] - after + 0.5 * tf.reduce_sum(p * p - q * q, 1)
            ratio = tf.exp(tf.minimum(gain, 0.0))
            ratio = tf.where(tf.math.is_finite(ratio), ratio, 0.0)
            z = tf.where((chance < ratio)[:, None], to, z)
            return i + 1, z, tf.where(i < falling, size * tf.exp(0.3 * (ratio - ACCEPTED)), size)

        z = tf.random.stateless_normal([x.shape[0], partition.size], seed, dtype=x.dtype)
        size = tf.fill([x.shape[0]], tf.constant(0.05, x.dtype))
        return tf.while_loop(
            lambda i, *_: i < widths.shape[0],
            step,
            (0, z, size),
            maximum_iterations=widths.shape[0],
        )[1]

    return run
