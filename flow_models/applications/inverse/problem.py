"""Pairs of parameters and data, drawn ahead: what the networks of inverse problems are trained and
judged on."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models.core.errors import UserError
from flow_models.models.problem import Components
from flow_models.references import cache
from flow_models.simulators.simulator import Simulator

MEASURED = 4000  # pairs that components are measured on
BATCH = 1000  # pairs simulated in one go
PART = 2**24  # batches a part
PHYSICAL = 2**17  # rows in the user's units at a time


class Clock:
    """Seconds of the parts of a run, for the table of costs."""

    def __init__(self) -> None:
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
    batch, count, left_out, number = _compiled_batch(simulator), 0, 0, 0
    drawn: list[np.ndarray] = []  # whole arrays, filled as draws come: parts would be held twice
    with tqdm(
        total=n, desc=what, disable=not sys.stderr.isatty(), unit_scale=True, leave=False
    ) as bar:
        while count < n:
            rows = [np.asarray(each) for each in batch(tf.constant([seed, part * PART + number]))]
            usable = np.isfinite(rows[1]).all(1)
            if not usable.any():
                raise UserError(f"none of {BATCH} draws of the prior can be simulated")
            left_out += int(np.sum(~usable))
            drawn = drawn or [np.empty((n, *each.shape[1:]), each.dtype) for each in rows]
            taken = min(int(usable.sum()), n - count)
            for whole, each in zip(drawn, rows):
                whole[count : count + taken] = each[usable][:taken]
            count, number = count + taken, number + 1
            bar.update(taken)
    return Pairs(drawn[0], drawn[1], drawn[2], left_out)


@dataclasses.dataclass
class InverseProblem:
    """An inverse problem of one run: the simulator, its frame, the user's data, and pairs.

    Attributes:
      name, summary: for the report.
      frame: of the conditional form.
      observed: the user's data [B, M], or None.
      side: what belongs to this problem alone: a module with `show(simulator, views)`, or an exact
        sampler.
      rate: simulations a second.
      observed_p_values: [B], of the user's data among simulated data, where they are known.
      reused: a model of this problem that an earlier run kept; pairs are then not drawn.
    """

    name: str
    simulator: Simulator
    frame: Any
    observed: np.ndarray | None = None
    side: Any = None
    parts: dict[str, Pairs] = dataclasses.field(default_factory=dict)
    rate: float = 0.0
    clock: Clock = dataclasses.field(default_factory=Clock)
    reused: Any = None
    components: Any = None
    observed_p_values: np.ndarray | None = None
    source: str = ""

    def draw(self, config) -> None:
        """Draws pairs for training, validation and test, of these at least `references`.

        Raises:
          UserError: nothing can be kept in the reference folder.
        """
        asked = config.inverse
        if asked.reference or asked.observed:
            cache.folder_of(asked.reference_folder)
        counts = {
            "train": asked.simulations,
            "validation": asked.validation_draws,
            "test": max(asked.test_draws, asked.references),
        }
        for number, (name, n) in enumerate(counts.items()):
            drawn = functools.partial(draw, self.simulator, n, config.fit.seed, number)
            self.parts[name] = self.clock.time(name, drawn)
        batches = -(-asked.validation_draws // BATCH)
        self.rate = batches * BATCH / self.clock.seconds["validation"]

    @property
    def train(self) -> Pairs:
        return self.parts["train"]

    @property
    def validation(self) -> Pairs:
        return self.parts["validation"]

    @property
    def test(self) -> Pairs:
        return self.parts["test"]

    @property
    def left_out(self) -> int:
        """Draws of the prior, of all parts, that the forward model could not simulate."""
        return sum(pairs.left_out for pairs in self.parts.values())

    def first_test(self, n: int) -> Pairs:
        """The first test pairs, those that the reference is run on."""
        test = self.test
        return Pairs(test.theta[:n], test.clean[:n], test.y[:n])

    def physical(self, theta: np.ndarray) -> np.ndarray:
        """Whitened parameters [..., P] in the user's units, in parts: what a simulator makes on its
        way is as large again."""
        rows = theta.reshape(-1, theta.shape[-1])
        found = np.empty_like(rows)
        for first in range(0, len(rows), PHYSICAL):
            part = slice(first, first + PHYSICAL)
            found[part] = self.simulator.physical(tf.constant(rows[part]))
        return found.reshape(theta.shape)

    def components_for(self, most: int, least_sd: float = 0.0):
        """The components of the data that a joint form sees, measured once; None where all of them
        vary by less than `least_sd` times the noise."""
        if self.components is None:
            y = self.train.y[:MEASURED]
            with contextlib.suppress(UserError):
                self.components = Components.measured(self.simulator, y, most, least_sd)
        return self.components


@functools.lru_cache(maxsize=8)
def _compiled_batch(simulator: Simulator):
    def batch(seed):
        seeds = tf.random.split(seed, 2)
        theta = simulator.prior(BATCH, seeds[0])
        clean = simulator.forward(theta)
        return theta, clean, simulator.observe(clean, seeds[1])

    return tf.function(batch, jit_compile=simulator.by_xla, autograph=False)
