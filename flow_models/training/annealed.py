"""Draws of a density by annealing, and a buffer of them to train on: the forward
Kullback-Leibler divergence without data.

Flow Annealed Importance Sampling Bootstrap (Midgley, Stimper, Simm, Scholkopf and
Hernandez-Lobato 2023): draws of the flow q are annealed towards p^2 / q, which has most mass where
the flow has too little. They enter a buffer with weights for p, and the flow is trained on rows
that are drawn from it in proportion to these.

Annealing runs in the latent space, where the flow is N(0, I) and Hamiltonian Monte Carlo finds one
scale in all directions (NeuTra, Hoffman et al. 2019):

    log p_b(z) = (1 - b) log N(z) + b (a log p(z) + (1 - a) log N(z)),   p(z) = p(x) |det dx/dz|

with a = 2 for p^2 / q. It is adaptive and resamples (Del Moral, Doucet and Jasra 2012): the next
power b is the one that leaves half of the draws effective, so a good flow needs one round.

Of `tfp.mcmc`, `sample_annealed_importance_chain` has fixed powers and one step size,
`sample_sequential_monte_carlo` uses one seed in all its rounds, and both evaluate the network anew
for each power and each transition; here log p(z) and its gradient are carried along, which halves
what is computed and quarters what is compiled.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from flow_models.models.weighted import target

EFFECTIVE = 0.5  # share of the draws that stays effective from one power to the next
ROUNDS, ROUNDS_OF_FLOW = 200, 5  # of annealing at most, from the Gaussian and from the flow
MOVES, LEAPFROGS = 3, 5  # transitions a round, and steps of each
ACCEPTANCE = 0.7  # that the step size aims at
FIRST_STEP = 0.3  # of the leapfrogs
LEAST = -1e30  # log density of points that have none


class Buffer:
    """Draws of a density for `fit`, in place of data: a function draw(n, seed), and `refresh`,
    which the trainer calls with the weights after each row of its history.

    At first it holds draws that are annealed from the Gaussian which a new model starts from. A
    resumed training fills it anew.

    Args:
      model: the `Model` that is trained.
      log_density: log p(x) up to a constant, tensors [B, D] -> [B].
      location, scale: of the Gaussian.
      rows: of one annealing.
      kept: annealings that are kept.

    Attributes:
      log_z: log Z as the last annealing estimates it.
    """

    def __init__(self, model, log_density, location=0.0, scale=1.0, *, rows=2048, kept=16, seed=0):
        self._model, self._log_p = model, target(model, log_density)
        self._rows, self._kept, self._seed, self._count = rows, kept, seed, 0
        self._log_weights = np.full(rows * kept, -np.inf)
        self._x = tf.Variable(tf.zeros([rows * kept, model.partition.size], model.dtype))
        self._below = tf.Variable(tf.ones([rows * kept], model.dtype))  # distribution function
        self.identity = {"buffer": [location, scale, rows, kept, seed]}
        self._compiled = tf.function(self._of_flow, jit_compile=model.jit, autograph=False)
        options = {"rows": rows, "seed": seed, "dtype": model.dtype, "jit": model.jit}
        found = explore(log_density, model.event_size, location, scale, **options)
        self._take(self._with_noise(found.x, self._next_seed()), *found[1:])

    def __call__(self, n: int, seed):
        """n rows, drawn in proportion to their weights, in blocks of the inputs."""
        u = tf.random.stateless_uniform([n], seed, dtype=self._below.dtype)
        index = tf.minimum(tf.searchsorted(self._below, u), self._below.shape[0] - 1)
        return self._model.partition.split("inputs", tf.gather(self._x, index))

    def refresh(self, weights) -> None:
        """Replaces the oldest rows by draws of the flow that are annealed to p^2 / q."""
        self._take(*self._compiled(weights, self._step, self._next_seed()))

    def _next_seed(self):
        self._count += 1
        return tf.constant([self._seed, self._count * 2 * ROUNDS], tf.int32)

    def _take(self, x, log_weights, step):
        place = (self._count - 1) % self._kept * self._rows
        self._step = step
        self._log_weights[place : place + self._rows] = log_weights
        self.log_z = float(np.logaddexp.reduce(log_weights) - np.log(self._rows))
        self._x[place : place + self._rows].assign(x)
        shares = np.exp(self._log_weights - self._log_weights.max())
        self._below.assign(np.cumsum(shares) / shares.sum())

    def _with_noise(self, x, seed):
        """Inputs of the network of which x is one block, and the others are N(0, I)."""
        partition = self._model.partition
        noise = partition.standard_sample(self._rows, seed, self._model.dtype)
        return partition.join("inputs", **{**partition.split("inputs", noise), "x": x})

    def _of_flow(self, weights, step, seed):
        """Draws of the flow, annealed to p^2 / q, with weights for p."""
        layer = self._model.layer
        invert = lambda z: layer.inverse_and_log_det(weights, z, None)
        z = self._model.partition.standard_sample(self._rows, seed, self._model.dtype)
        return _annealed(self._log_p, invert, z, 2.0, ROUNDS_OF_FLOW, step, seed)


class Draws(NamedTuple):
    """Draws x [n, N], their log weights [n] for p, and the size of the last leapfrog step."""

    x: tf.Tensor
    log_weights: tf.Tensor
    step: tf.Tensor


def explore(
    log_density: Callable,
    size: int,
    location: float = 0.0,
    scale: float = 1.0,
    *,
    rows: int = 2048,
    seed: int = 0,
    dtype: tf.DType = tf.float32,
    jit: bool = True,
) -> Draws:
    """Draws of N(location, scale^2 I) that are annealed to the density, tensors [B, D] -> [B]."""
    log_det = size * math.log(scale)

    def run(step, seed):
        z = tf.random.stateless_normal([rows, size], seed, dtype=dtype)
        invert = lambda z: (location + scale * z, log_det)
        return _annealed(log_density, invert, z, 1.0, ROUNDS, step, seed)

    compiled = tf.function(run, jit_compile=jit, autograph=False)
    return compiled(tf.constant(FIRST_STEP, dtype), tf.constant([seed, 0], tf.int32))


def _annealed(log_density, invert, z, power, rounds, step, seed) -> Draws:
    """Weights are exact for p also where the rounds end before the power is reached."""

    def log_p(z):
        x, log_det = invert(z)
        return x, _floored(log_density(x)) + log_det

    z, end, log_z, reached, step = anneal(log_p, z, power, rounds, step, seed)
    return Draws(end.x, log_z + (1 - reached) * (end.log_p - _log_normal(z)), step)


class Point(NamedTuple):
    """What is known at latents z [n, N]: x, log p(z) [n] and its gradient [n, N]."""

    x: tf.Tensor
    log_p: tf.Tensor
    gradient: tf.Tensor


def anneal(log_p: Callable, z: tf.Tensor, power: float, rounds: int, step: tf.Tensor, seed):
    """Draws z [n, N] of N(0, I) as draws of p(z)^power N(z)^(1 - power), compilable.

    Args:
      log_p: z -> x and log p(z).
      rounds: at most; the power that is reached then is the end.
      step: size of the leapfrog steps; it follows the acceptance.

    Returns:
      z; the `Point` there; log of the integral of the end; its power; the step at the end.
    """
    count = math.log(z.shape[0])

    def at(z):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            x, value = log_p(z)
        gradient = tape.gradient(value, z)
        return Point(x, value, tf.where(tf.math.is_finite(gradient), gradient, 0.0))

    def body(k, beta, z, point, log_z, step):
        seeds = tf.random.split(tf.stack([seed[0], seed[1] + 1 + k]), 1 + MOVES)
        gain = power * (point.log_p - _log_normal(z))
        new = _next_power(beta, gain)
        log_weights = (new - beta) * gain
        log_z += tf.reduce_logsumexp(log_weights) - count
        chosen = _systematic(log_weights, seeds[0])
        z, point = tf.nest.map_structure(lambda a: tf.gather(a, chosen), (z, point))
        z, point, step = _moves(at, new * power, z, point, step, seeds[1:])
        return k + 1, new, z, point, log_z, step

    zero = tf.zeros([], z.dtype)
    going = lambda k, beta, *_: (beta < 1) & (k < rounds)
    start = (0, zero, z, at(z), zero, step)
    _, beta, z, point, log_z, step = tf.while_loop(going, body, start)
    return z, point, log_z, power * beta, step


def _moves(at, power, z, point, step, seeds):
    """Transitions of Hamiltonian Monte Carlo (Neal 2011) that keep p(z)^power N(z)^(1 - power);
    the acceptance of each changes the step of the next.

    All are loops around one leapfrog step, so the gradient is compiled once.
    """
    energy = lambda z, point, momentum: (
        power * point.log_p + (1 - power) * _log_normal(z) + _log_normal(momentum)
    )
    force = lambda z, point: power * point.gradient - (1 - power) * z

    def move(i, z, point, step):
        seeds_of_move = tf.random.split(seeds[i], 2)
        drawn = tf.random.stateless_normal(tf.shape(z), seeds_of_move[0], dtype=z.dtype)

        def leap(j, z, point, momentum):
            momentum += 0.5 * step * force(z, point)
            z += step * momentum
            point = at(z)
            return j + 1, z, point, momentum + 0.5 * step * force(z, point)

        state = (0, z, point, drawn)
        _, trial, found, momentum = tf.while_loop(lambda j, *_: j < LEAPFROGS, leap, state)
        ratio = _floored(energy(trial, found, momentum) - energy(z, point, drawn))
        uniform = tf.random.stateless_uniform(ratio.shape, seeds_of_move[1], dtype=z.dtype)
        taken = tf.math.log(uniform) < ratio
        choose = lambda new, old: tf.where(
            taken if new.shape.rank == 1 else taken[:, None], new, old
        )
        z, point = tf.nest.map_structure(choose, (trial, found), (z, point))
        accepted = tf.reduce_mean(tf.exp(tf.minimum(ratio, 0.0)))
        return i + 1, z, point, step * tf.exp(0.5 * (accepted - ACCEPTANCE))

    return tf.while_loop(lambda i, *_: i < MOVES, move, (0, z, point, step))[1:]


def _next_power(beta, gain):
    """The largest power up to 1 that leaves EFFECTIVE of the rows effective, by bisection."""

    def enough(new):
        w = tf.nn.softmax((new - beta) * gain)
        return 1 > EFFECTIVE * w.shape[0] * tf.reduce_sum(w * w)

    def halve(_, low, high):
        middle = 0.5 * (low + high)
        good = enough(middle)
        return _ + 1, tf.where(good, middle, low), tf.where(good, high, middle)

    end = tf.ones_like(beta)
    high = tf.while_loop(lambda i, *_: i < 24, halve, (0, beta, end))[2]
    return tf.where(enough(end), end, high)


def _systematic(log_weights, seed):
    """Row numbers [n] in proportion to the weights, by one uniform number."""
    n = log_weights.shape[0]
    below = tf.cumsum(tf.nn.softmax(log_weights))
    u = (tf.range(n, dtype=below.dtype) + tf.random.stateless_uniform([], seed)) / n
    return tf.minimum(tf.searchsorted(below, u), n - 1)


def _floored(log_p):
    """A log density with a floor, so that differences are numbers; NaN is none."""
    return tf.where(log_p > LEAST, log_p, LEAST)


def _log_normal(z):
    return -0.5 * tf.reduce_sum(z * z + math.log(2 * math.pi), -1)
