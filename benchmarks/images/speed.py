"""Step time, time to first step and memory. Workers take turns, round by round, so that all see the
same machine."""

import contextlib
import tempfile

from flows.plan import Results
from flows.worker import Worker

from images.plan import DEEP, FRESH, PROBLEMS, Plan, spec

SETTLE = 3  # compiled calls before the timed ones, besides the call that compiles


def speed(plan: Plan, results: Results) -> None:
    """Seconds a step of every problem and form."""
    for problem in plan.problems:
        results.progress(f"  {problem}: {plan.rounds} rounds of training")
        _rounds(
            plan,
            results,
            problem,
            [form for form in plan.forms if _applies(form, problem)],
            problem,
        )


def depth(plan: Plan, results: Results) -> None:
    """Seconds a step and memory of `glow_32` against the number of steps a level."""
    for steps in plan.depths:
        results.progress(f"  glow_32 with {steps} steps a level")
        forms = [form for form in DEEP if form in plan.forms]
        _rounds(plan, results, "glow_32", forms, f"glow_32_depth_{steps}", depth=steps)


def first_step(plan: Plan, results: Results) -> None:
    """Seconds from the start of a fresh process to the end of its first step."""
    for problem in plan.problems:
        for repeat in range(plan.repeats):
            for form in [form for form in FRESH if form in plan.forms and _applies(form, problem)]:
                results.progress(
                    f"  {problem}, first step {repeat + 1} of {plan.repeats}: {' '.join(form)}"
                )
                with tempfile.TemporaryDirectory() as cache, _worker(plan, form, cache) as worker:
                    with results.survive({worker: None}, worker):
                        worker.ask("load", images=PROBLEMS[problem]["images"])
                        worker.ask("build", spec=spec(problem, worker, chunk=1))
                        worker.ask("train", steps=1)
                        results.add("first_step", problem, worker, worker.age())
                        results.about(worker)


def _applies(form, problem):
    return PROBLEMS[problem]["model"] == "glow" or form[1] not in (
        "channels_last",
        "plain",
        "reversible",
    )


def _worker(plan, form, cache):
    return Worker(*form, plan.folder, cache, "images", plan.cores)


def _rounds(plan, results, problem, forms, name, **changes):
    """Builds all workers, measures their memory one by one, and lets them train in turns."""
    with contextlib.ExitStack() as stack:
        cache, sizes = stack.enter_context(tempfile.TemporaryDirectory()), {}
        for form in forms:
            worker = stack.enter_context(_worker(plan, form, cache))
            sizes[worker] = 0
            with results.survive(sizes, worker):
                sizes[worker] = _prepare(
                    plan, results, spec(problem, worker, **changes), worker, name
                )
        for _ in range(plan.rounds):
            for worker, steps in list(sizes.items()):
                with results.survive(sizes, worker):
                    results.add(
                        "step", name, worker, worker.ask("train", steps=steps)["seconds"] / steps
                    )


def _prepare(plan, results, wanted, worker, name):
    """Builds, compiles, measures memory; returns the steps of a round.

    Memory is resident memory, MB, minus that with the library imported and the images loaded:
    `memory_train`, the highest in a few steps after the first; `memory_highest`, the highest so
    far, compilation included. There is no value for a step alone: XLA keeps the working memory of a
    step, PyTorch returns it.
    """
    worker.ask("load", images=wanted["images"])
    idle = worker.ask("resident")["resident_mb"]
    facts = results.about(worker)
    facts.setdefault("parameters", {})[name] = worker.ask("build", spec=wanted)["parameters"]
    chunk = wanted["chunk"]
    results.add("start", name, worker, worker.ask("train", steps=chunk)["seconds"])
    highest = worker.ask("memory")["peak_mb"]
    worker.ask("resident")
    seconds = worker.ask("train", steps=SETTLE * chunk)["seconds"] / SETTLE
    training = worker.ask("memory")["peak_mb"]
    results.add("memory_train", name, worker, training - idle)
    results.add("memory_highest", name, worker, max(highest, training) - idle)
    results.progress(f"    {worker.name}: {seconds / chunk:.3f} s a step, {training - idle:.0f} MB")
    return max(round(plan.round_seconds / seconds), 1) * chunk
