"""Time to quality: how long until the density is good, with compilation and without the
evaluations."""

import contextlib
import math
import tempfile

from flows.plan import GAPS, Plan, Results, spec
from flows.worker import PYTORCH, Worker

HOPELESS = 3  # a library so many times slower than the fastest is not run on the next seed


def quality(plan: Plan, results: Results, model: str) -> None:
    """Seconds until the validation gap first falls below each of `GAPS`: one recipe, several seeds,
    in turns."""
    forms = list(plan.quality.forms)
    for seed in range(plan.quality.seeds):
        reached = _one_seed(plan, results, model, seed, forms)
        best = min(
            [seconds for seconds in reached.values() if seconds is not None], default=math.inf
        )
        forms = [form for form in reached if (reached[form] or plan.quality.cap) <= HOPELESS * best]


def _one_seed(plan, results, model, seed, forms):
    """Seconds to the smallest gap by form, None if it was not reached."""
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        runs: dict[Worker, _Run] = {}
        for library, form in forms:
            results.progress(f"  {model}, quality, seed {seed}: {library} ({form})")
            worker = stack.enter_context(Worker(library, form, plan.folder, cache))
            runs[worker] = _Run(plan.quality, model, seed, worker)
            with results.survive(runs, worker):
                runs[worker].build()
                results.about(worker)
        while not all(run.over for run in runs.values()):
            for worker, run in list(runs.items()):
                if not run.over:
                    with results.survive(runs, worker):
                        run.advance()
        for run in runs.values():
            run.report(results)
        return {
            (worker.library, worker.form): run.reached[GAPS[-1]] for worker, run in runs.items()
        }


class _Run:
    """One training run towards the gaps."""

    def __init__(self, plan, model, seed, worker):
        self.plan, self.model, self.worker = plan, model, worker
        changes = {"seed": seed, "chunk": plan.every, "validate": True, **plan.sizes[model]}
        self.spec = spec(
            model,
            changes.pop("batch"),
            worker,
            **changes,
            **plan.forms[worker.library, worker.form],
        )
        self.before = math.nan  # seconds of process start, import and building
        self.seconds, self.steps, self.over = 0.0, 0, False
        self.curve: list[tuple[int, float, float]] = []
        self.reached: dict[float, float | None] = dict.fromkeys(GAPS)

    def build(self):
        self.worker.ask("build", spec=self.spec)
        self.before = self.worker.age()
        if self.worker.library in PYTORCH:
            threads = self.worker.ask("tune", points=self.plan.validation)["threads"]
            self.worker.ask("build", spec=self.spec | {"threads": threads})

    def advance(self):
        self.seconds += self.worker.ask("train", steps=self.plan.every)["seconds"]
        self.steps += self.plan.every
        gap = self.worker.ask("nll")["nll"] - self.plan.truth
        self.curve.append((self.steps, self.seconds, gap))
        for threshold, at in self.reached.items():
            if at is None and gap < threshold:
                self.reached[threshold] = self.seconds
        late = (
            self.seconds > self.plan.cap
            or self.steps + self.plan.every > self.spec["recipe"]["steps"]
        )
        self.over = late or None not in self.reached.values() or not math.isfinite(gap)

    def report(self, results):
        for threshold, at in self.reached.items():
            results.add(f"gap_{threshold:g}", self.model, self.worker, at)
            from_start = None if at is None else at + self.before
            results.add(f"gap_{threshold:g}_from_start", self.model, self.worker, from_start)
        steps, seconds, gap = self.curve[-1]
        results.progress(
            f"    {self.worker.name}: gap {gap:.4f} after {steps} steps, {seconds:.1f} s"
        )
        curves = results.facts[self.worker.library].setdefault("curves", {})
        curves.setdefault(f"{self.model} {self.worker.form}", []).append(self.curve)
