"""Speed and memory. Workers take turns, round by round, so that all see the same machine; one runs
at a time."""

import contextlib
import tempfile

from flows.plan import Plan, Results, spec
from flows.worker import Worker

# and zuko compiled; step evaluates like scan
EVALUATED = ("unrolled", "looped", "scan", "eager")


def throughput(plan: Plan, results: Results, model: str, quantities: set[str]) -> None:
    """Training steps/s of every batch size, log_prob and sample points/s, and peak memory."""
    # torch.compile splits the splines of nflows and normflows: slower than eager or than zuko
    forms = [
        form
        for form in plan.forms
        if model != "spline" or form[1] != "compiled" or form[0] == "zuko"
    ]
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory())
        sizes: dict[Worker, int] = {}  # steps of a round
        threads: dict[str, dict] = {}
        for form in forms:
            worker = stack.enter_context(Worker(*form, plan.folder, cache))
            sizes[worker] = 0
            with results.survive(sizes, worker):
                results.add("memory_import", model, worker, worker.ask("memory")["peak_mb"])
                sizes[worker] = _prepare(plan, results, model, plan.batches[0], worker, threads)
        for batch in plan.batches:
            for worker in list(sizes) if batch != plan.batches[0] else []:
                with results.survive(sizes, worker):
                    sizes[worker] = _prepare(plan, results, model, batch, worker, threads)
            if "train" in quantities:
                _train_rounds(plan, results, model, batch, sizes)
            if batch == plan.batches[0]:
                _evaluations(plan, results, model, sizes, quantities)


def _prepare(plan, results, model, batch, worker, threads):
    """Builds, compiles and warms up; returns the steps of a round. Compiled forms use the threads
    of the eager form."""
    results.progress(f"  {model}, batch {batch}: {worker.name}")
    changes = {"threads": threads.get(worker.library, {})} if worker.form == "compiled" else {}
    built = worker.ask("build", spec=spec(model, batch, worker, **changes))
    chunk = built["chunk"]
    worker.ask("train", steps=max(chunk, 3))
    facts = results.about(worker)
    facts.setdefault("parameters", {})[model] = built["parameters"]
    if batch == plan.batches[0]:
        results.add("memory_train", model, worker, worker.ask("memory")["peak_mb"])
    if worker.form == "eager":
        threads[worker.library] = worker.ask("tune", points=min(plan.points, 20_000))["threads"]
        facts.setdefault("threads", {})[f"{model} {batch}"] = threads[worker.library]
    steps = max(chunk, 5)
    seconds = worker.ask("train", steps=steps)["seconds"]
    return max(round(plan.round_seconds / seconds * steps / chunk), 1) * chunk


def _train_rounds(plan, results, model, batch, sizes):
    results.progress(f"  {model}, batch {batch}: {plan.rounds} rounds of training")
    for _ in range(plan.rounds):
        for worker, steps in list(sizes.items()):
            with results.survive(sizes, worker):
                seconds = worker.ask("train", steps=steps)["seconds"]
                results.add(f"train_{batch}", model, worker, steps / seconds)


def _evaluations(plan, results, model, sizes, quantities):
    """log_prob and sample (the first call compiles and is not counted), then memory."""
    tasks = [task for task in ("log_prob", "sample") if task in quantities]
    for task in tasks:
        results.progress(f"  {model}: {task} of {plan.points:,} points")
        for turn in range(1 + (plan.rounds + 1) // 2):
            for worker in [
                worker for worker in sizes if worker.form in EVALUATED or worker.library == "zuko"
            ]:
                with results.survive(sizes, worker):
                    seconds = worker.ask(task, points=plan.points)["seconds"]
                    if turn:
                        results.add(task, model, worker, plan.points / seconds)
    for worker in list(sizes) if tasks else []:
        with results.survive(sizes, worker):
            results.add("memory_evaluate", model, worker, worker.ask("memory")["peak_mb"])


def first_step(plan: Plan, results: Results, model: str) -> None:
    """Seconds from the start of a fresh process to the end of its first step; torch.compile has an
    empty cache."""
    for repeat in range(plan.repeats):
        for library, form in plan.forms:
            once = library == "zuko" and not repeat and model == plan.models[0]
            # eager forms are faster by minutes
            if form == "step" or (form == "compiled" and not once):
                continue
            results.progress(
                f"  {model}, first step {repeat + 1} of {plan.repeats}: {library} ({form})"
            )
            with (
                tempfile.TemporaryDirectory() as cache,
                Worker(library, form, plan.folder, cache) as worker,
            ):
                with results.survive({worker: None}, worker):
                    worker.ask("build", spec=spec(model, plan.batches[0], worker, chunk=1))
                    worker.ask("train", steps=1)
                    results.add("first_step", model, worker, worker.age())
                    results.about(worker)
