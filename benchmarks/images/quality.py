"""Bits per dimension of both libraries on the same held-out images, after the same seconds of
training, in turns."""

import contextlib
import math
import tempfile
from collections.abc import Callable

import numpy as np
from flows.plan import Results
from flows.worker import Worker

from images.data import SET
from images.plan import PROBLEMS, Plan, spec

FAIR = 0.02  # most relative difference in numbers of parameters


def quality(plan: Plan, results: Results, on_turn: Callable | None = None) -> dict:
    """Chooses each library's learning rate on validation images, then trains for the whole budget
    and tests.

    Args:
      on_turn: called with each run after each of its turns.

    Returns:
      What the page reports: bits per dimension of every trial and of every test image,
      parameters, steps, seconds.
    """
    wanted, paces = plan.quality, {}
    trials = {" ".join(form): {} for form in wanted.forms}
    for rate in wanted.rates:
        results.progress(f"  quality: {wanted.trial:g} s each at a rate of {rate:g}")
        rates = dict.fromkeys(trials, rate)
        for run in train(plan, results, rates, wanted.trial, paces, 0, "validation", on_turn):
            trials[run.name][f"{rate:g}"] = _mean(run.bits)
            paces[run.form] = run.pace()
    chosen = choose(trials)
    finals = []
    for seed in range(wanted.seeds):
        results.progress(f"  quality: {wanted.budget:g} s each, seed {seed}, rates {chosen}")
        for run in train(plan, results, chosen, wanted.budget, paces, seed, "test", on_turn):
            finals.append(run.report(seed))
    return {"trials": trials, "chosen": chosen, "finals": finals, "fair": _fair(finals)}


def choose(trials: dict[str, dict[str, float]]) -> dict[str, float]:
    """Rate with the lowest bits per dimension for each library; diverged runs do not count."""
    finite = {
        name: {rate: bits for rate, bits in each.items() if math.isfinite(bits)}
        for name, each in trials.items()
    }
    return {name: float(min(each, key=each.get)) for name, each in finite.items() if each}


def train(plan, results, rates, seconds, paces, seed, part, on_turn=None):
    """One run per form, in turns of some seconds; the finished runs, tested on a part of the
    images."""
    with contextlib.ExitStack() as stack:
        cache, runs = stack.enter_context(tempfile.TemporaryDirectory()), {}
        for form in [form for form in plan.quality.forms if " ".join(form) in rates]:
            worker = stack.enter_context(Worker(*form, plan.folder, cache, "images", plan.cores))
            runs[worker] = _Run(plan.quality, worker, form)
            with results.survive(runs, worker):
                runs[worker].build(rates[" ".join(form)], seconds, paces.get(form), seed)
                results.about(worker)
        while not all(run.over for run in runs.values()):
            for worker, run in list(runs.items()):
                with results.survive(runs, worker):
                    run.advance()
                    if on_turn:
                        on_turn(run)
        for worker, run in list(runs.items()):
            with results.survive(runs, worker):
                run.test(part)
                bits = f"{_mean(run.bits):.4f} bits/dim"
                results.progress(f"    {run.name}: {bits}, {run.done} steps, {run.seconds:.0f} s")
        return list(runs.values())


class _Run:
    """One training run of a given length in seconds; its number of steps follows from the pace of
    an earlier run."""

    def __init__(self, plan, worker: Worker, form):
        self.plan, self.worker, self.form, self.name = plan, worker, form, " ".join(form)
        self.done, self.seconds, self.over, self.bits, self.first = 0, 0.0, False, [], 0.0
        self.rate = 0.0

    def build(self, rate, seconds, pace, seed):
        self.rate = rate
        self.worker.ask("load", images=PROBLEMS[self.plan.problem]["images"])
        chunk = self.plan.chunk
        if pace is None:
            pace = self._try_pace(rate)
        start, step = pace
        self.steps = max(round((seconds - start) / step / chunk), 2) * chunk
        self.parameters = self.worker.ask("build", spec=self._spec(rate, self.steps, seed))[
            "parameters"
        ]
        self.turn = max(round(self.plan.slice_seconds / step / chunk), 1) * chunk

    def _try_pace(self, rate):
        """Seconds of the start and of a step, from a short run before the first trial."""
        chunk = self.plan.chunk
        self.worker.ask("build", spec=self._spec(rate, 100 * chunk, 0))
        start, rest = (self.worker.ask("train", steps=chunk)["seconds"] for _ in range(2))
        return max(start - rest, 0.0), rest / chunk

    def _spec(self, rate, steps, seed):
        plan = self.plan
        changes = {
            "recipe": plan.recipe(rate, steps),
            "seed": seed,
            "ema": plan.ema,
            "chunk": plan.chunk,
            "clock": plan.clock,
        }
        return spec(plan.problem, self.worker, **changes)

    def advance(self):
        """One turn; the first is a single compiled call, which separates the start from the
        rest."""
        steps = min(self.turn if self.done else self.plan.chunk, self.steps - self.done)
        if steps:
            seconds = self.worker.ask("train", steps=steps)["seconds"]
            self.done, self.seconds = self.done + steps, self.seconds + seconds
            self.first = self.first or seconds
        self.over = self.done == self.steps

    def pace(self):
        step = (self.seconds - self.first) / (self.done - self.plan.chunk)
        return max(self.first - step * self.plan.chunk, 0.0), step

    def test(self, part):
        self.bits = self.worker.ask("bits_per_dim", levels=f"{SET}_{part}")["bits_per_dim"]

    def report(self, seed):
        library, form = self.form
        return {
            "library": library,
            "form": form,
            "seed": seed,
            "rate": self.rate,
            "bits": self.bits,
            "steps": self.done,
            "seconds": self.seconds,
            "start": self.pace()[0],
            "parameters": self.parameters,
        }


def _mean(bits):
    return float(np.mean(bits))


def _fair(finals):
    """Whether the numbers of parameters agree."""
    counts = [run["parameters"] for run in finals]
    return bool(counts) and max(counts) <= (1 + FAIR) * min(counts)
