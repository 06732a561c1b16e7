"""Pairs of parameters and data, drawn ahead: what the networks of inverse problems are trained and
judged on."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models.applications.inverse.posterior_config import PosteriorConfig
from flow_models.core.errors import UserError
from flow_models.simulators.simulator import Simulator

BATCH = 1000  # pairs simulated in one go
PART = 2**24  # batches a part


class Clock:
    """Seconds of the parts of a run, for the table of costs."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def time(self, name: str, action):
        """What `action()` gives; its wall-clock time is kept under `name`."""
        began = time.perf_counter()
        result = action()
        self.seconds[name] = time.perf_counter() - began
        return result


@dataclasses.dataclass(frozen=True)
class Pairs:
    """theta [N, P] of the prior, data without noise [N, M'], and data y [N, M]; `left_out` draws
    could not be simulated."""

    theta: np.ndarray
    clean: np.ndarray
    y: np.ndarray
    left_out: int = 0


def draw(simulator: Simulator, n: int, seed: int, part: int = 0, what: str = "simulating") -> Pairs:
    """n pairs, simulated in compiled batches; the same seed gives the same pairs, and other parts
    are other pairs.

    Raises:
      UserError: of a whole batch of draws no one can be simulated.
    """
    batch, drawn, count, left_out = _compiled_batch(simulator), [], 0, 0
    with tqdm(
        total=n, desc=what, disable=not sys.stderr.isatty(), unit_scale=True, leave=False
    ) as bar:
        while count < n:
            rows = [
                np.asarray(each) for each in batch(tf.constant([seed, part * PART + len(drawn)]))
            ]
            usable = np.isfinite(rows[1]).all(1)
            if not usable.any():
                raise UserError(f"none of {BATCH} draws of the prior can be simulated")
            left_out += int(np.sum(~usable))
            drawn.append(rows if usable.all() else [each[usable] for each in rows])
            count += len(drawn[-1][0])
            bar.update(len(drawn[-1][0]))
    return Pairs(*(np.concatenate(parts)[:n] for parts in zip(*drawn)), left_out)


def draw_parts(simulator: Simulator, config: PosteriorConfig) -> tuple[dict[str, Pairs], float]:
    """Pairs for training, validation and test, of these at least as many as `references`;
    simulations a second once compiled."""
    tests = max(config.test_draws, config.references)
    counts = {"train": config.simulations, "validation": config.validation_draws, "test": tests}
    parts, clock = {}, Clock()
    for number, (name, n) in enumerate(counts.items()):
        parts[name] = clock.time(
            name, lambda n=n, number=number: draw(simulator, n, config.seed, number)
        )
    return parts, -(-config.validation_draws // BATCH) * BATCH / clock.seconds["validation"]


@functools.lru_cache(maxsize=8)
def _compiled_batch(simulator: Simulator):
    def batch(seed):
        seeds = tf.random.split(seed, 2)
        theta = simulator.prior(BATCH, seeds[0])
        clean = simulator.forward(theta)
        return theta, clean, simulator.observe(clean, seeds[1])

    return tf.function(batch, jit_compile=simulator.by_xla, autograph=False)
