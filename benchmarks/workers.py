"""Steps per second of one and two workers with a core each, the cost of their exchange, and the
loss curves of 1, 2 and 4.

    python benchmarks/workers.py      # at most 15 min; writes the tables of doc/scaling.md
    python benchmarks/workers.py --rounds 1 --seconds 3 --no-page

Worker k runs on core k alone. A round measures each case once, in turn. The best round counts,
because anything else on the machine can only slow a case down. Steps are timed after compilation,
in wall-clock and in processor time. The projection for more workers is arithmetic: the step of one
worker with its own batch, what two workers add to it here, and what the ring and its 2 (W - 1)
messages add at the stated bandwidth and latency.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

PAGE, BEGIN, END = ROOT / "doc" / "scaling.md", "<!-- workers -->", "<!-- /workers -->"
BATCH = {"points": 1024, "pictures": 16}  # of one worker
NAMES = {
    "points": "RealNVP, 8 couplings of 2x128, points",
    "pictures": "Glow, 32x32 in colour, 2 levels of 2 steps",
}
GIGABIT, LATENCY = 5.0, 1e-4  # of the projection: Gbit/s, seconds per message
CURVE = ("train_objective", "val_objective")


def model_and_data(kind: str):
    """What is trained: a flow of points or of images, and rows of the right shape."""
    import numpy as np

    import flow_models as fm

    chance = np.random.default_rng(0)
    if kind == "pictures":
        flow = fm.glow_image((32, 32, 3), levels=2, depth=2, hidden=(64, 64))
        model = fm.Model(flow, codecs={"x": fm.Pixels(32, 32, 3)})
        return model, chance.integers(0, 256, (256, 32, 32, 3)).astype(np.uint8)
    size = (
        {"depth": 8, "hidden": (128, 128)} if kind == "points" else {"depth": 2, "hidden": (16, 16)}
    )
    return fm.Model(fm.realnvp(2, **size)), chance.normal(size=(20_000, 2)).astype("f") ** 3


def work(kind: str, batch: int, seconds: float, core: int) -> None:
    """One worker: trains for about `seconds` after compilation, or 200 steps of the curve, and
    prints its results."""
    os.sched_setaffinity(0, {core})
    import resource
    import time

    from flow_models.core.startup import load_tensorflow

    load_tensorflow()
    import flow_models as fm
    from flow_models.training import devices

    workers = devices.get("auto").workers
    model, rows = model_and_data(kind)
    curve = kind == "curve"
    settings = fm.FitSettings(
        steps=200 if curve else 10**6,
        batch_size=batch,
        eval_every_steps=20 if curve else 10**6,
        learning_rate=1e-4,
        clip_norm=1.0,
        strategy="auto",
    )
    trainer = fm.Trainer(model, rows, rows[:200] if curve else None, settings)
    if curve:
        said = {"history": trainer.run(progress=False).history}
    else:
        said = timed(
            trainer, seconds, lambda: resource.getrusage(resource.RUSAGE_SELF), time.perf_counter
        )
    numbers = sum(v.shape.num_elements() for v in trainer.steps.trainable) + len(trainer.terms)
    print(json.dumps(said | {"numbers": numbers, "workers": workers}))
    sys.stdout.flush()
    os._exit(0)  # the others would report the first worker that leaves as lost


def timed(trainer, seconds: float, usage, clock) -> dict:
    """Steps per second, and processor milliseconds per step, over calls of equal size; all workers
    make the same number of calls."""
    import tensorflow as tf

    at, chunk = trainer.at, trainer.source.chunk(0, trainer.source.chunk_steps)
    trainer._join()

    def call(n):
        began, before = clock(), usage()
        done = trainer.steps.compiled(
            at.weights,
            at.moments,
            tf.constant(at.sums),
            chunk,
            tf.constant(0),
            tf.constant(n),
            tf.constant(at.total),
        )[0]
        assert int(done) == n
        after = usage()
        return clock() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    call(2)
    n = min(max(int(seconds / 6 / (call(4)[0] / 4)), 1), 100)
    n = int(trainer.devices.from_chief([n] if trainer.devices.is_chief else None, 1)[0])
    calls = [call(n) for _ in range(6)]
    return {
        "steps_per_second": n / min(wall for wall, _ in calls),
        "cpu_ms": 1000 * min(cpu for _, cpu in calls) / n,
    }


def measured(kind: str, workers: int, batch: int, seconds: float) -> list[dict]:
    """The output of each worker of one case."""
    import workers as processes

    cores = sorted(os.sched_getaffinity(0))
    command = [
        str(Path(__file__)),
        "--work",
        kind,
        "--batch",
        str(batch),
        "--seconds",
        str(seconds),
    ]
    environments = processes.by_tf_config(workers) if workers > 1 else [{}]
    started = [
        processes.start([*command, "--core", str(cores[k % len(cores)])], [environment])[0]
        for k, environment in enumerate(environments)
    ]
    ended = processes.finish(started, 500)
    for status, _, error in ended:
        assert status == 0, error
    return [json.loads(out.splitlines()[-1]) for _, out, _ in ended]


def cases(batch: int) -> dict[str, tuple[int, int]]:
    """(workers, global batch) by name."""
    return {
        "one": (1, batch),
        "equal global batch": (2, batch),
        "equal batch a worker": (2, 2 * batch),
    }


def race(rounds: int, seconds: float) -> dict[str, dict[str, dict]]:
    """The best round of every case of every kind; of several workers the slowest counts."""
    best: dict[str, dict[str, dict]] = {kind: {} for kind in BATCH}
    for number in range(rounds):
        for kind, batch in BATCH.items():
            for name, (workers, size) in cases(batch).items():
                seen = measured(kind, workers, size, seconds)
                rate, cpu = (
                    min(each["steps_per_second"] for each in seen),
                    max(each["cpu_ms"] for each in seen),
                )
                print(
                    f"round {number + 1} {kind} {name}: {rate:.1f} steps/s, {cpu:.2f} ms of a"
                    " processor",
                    flush=True,
                )
                kept = best[kind].setdefault(
                    name,
                    {"steps_per_second": 0.0, "cpu_ms": float("inf")}
                    | {"numbers": seen[0]["numbers"]},
                )
                kept |= {
                    "steps_per_second": max(kept["steps_per_second"], rate),
                    "cpu_ms": min(kept["cpu_ms"], cpu),
                }
    return best


def projected(of: dict[str, dict], workers: int) -> float:
    """Efficiency of W workers with a batch each: processor time of a step alone over that of a
    joint step."""
    from flow_models.training.devices import ring_bytes

    step, two = (of[name]["cpu_ms"] / 1000 for name in ("one", "equal batch a worker"))
    more = (
        ring_bytes(of["one"]["numbers"], workers) * 8 / (GIGABIT * 1e9)
        + 2 * (workers - 2) * LATENCY
    )
    return step / (max(two, step) + more)


def curves() -> dict[int, float]:
    """Largest relative difference from the curve of one worker, by number of workers."""
    import numpy as np

    one, *others = [measured("curve", workers, 64, 0)[0]["history"] for workers in (1, 2, 4)]
    found = {}
    for workers, other in zip((2, 4), others, strict=True):
        found[workers] = max(
            float(np.max(np.abs(np.array(other[name]) / np.array(one[name]) - 1))) for name in CURVE
        )
    return found


def page(best: dict, off: dict[int, float], load: float) -> str:
    """The tables of doc/scaling.md."""
    cells = [_row(kind, of, name) for kind, of in best.items() for name in of]
    measured_here = [
        "",
        "batch",
        "steps/s",
        "rows/s against one",
        "processor, ms a step",
        "efficiency by it",
        "bytes sent a step",
    ]
    paper = [
        [NAMES[kind], *(f"{projected(of, workers):.2f}" for workers in (4, 8, 16))]
        for kind, of in best.items()
    ]
    said = ", ".join(f"{workers} workers {value:.1e}" for workers, value in off.items())
    return "\n\n".join(
        [
            (
                f"`make bench-workers`, a core a worker. The load of the machine was {load:.1f}:"
                " where that is above two, others ran beside it, the clock says little, and the"
                " processor's time of the slower worker is what counts."
            ),
            _table([measured_here, *cells]),
            (
                "On paper for more workers with a batch each, from the processor's time of two, at"
                f" {GIGABIT:g} Gbit/s and {1000 * LATENCY:g} ms a message:"
            ),
            _table([["", "efficiency of 4", "of 8", "of 16"], *paper]),
            (
                "Loss curves over 200 steps, equal global batch and seed, largest relative"
                f" difference from that of one: {said}."
            ),
        ]
    )


def _row(kind: str, of: dict[str, dict], name: str) -> list[str]:
    """One case. Efficiency: the time of a worker's rows alone, over their time here."""
    from flow_models.training.devices import ring_bytes

    (workers, size), now, one = cases(BATCH[kind])[name], of[name], of["one"]
    rows = now["steps_per_second"] * size / (one["steps_per_second"] * BATCH[kind])
    efficiency = one["cpu_ms"] * size / (BATCH[kind] * workers) / now["cpu_ms"]
    words = NAMES[kind] if workers == 1 else f"two workers, {name}"
    return [
        words,
        f"{size}",
        f"{now['steps_per_second']:.1f}",
        f"{rows:.2f}",
        f"{now['cpu_ms']:.2f}",
        f"{efficiency:.2f}",
        f"{ring_bytes(now['numbers'], workers):,.0f}",
    ]


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of timed steps a case")
    parser.add_argument(
        "--no-page", action="store_true", help="print the table, and leave doc/scaling.md as it is"
    )
    for name, kind in (("work", str), ("batch", int), ("core", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.batch, given.seconds, given.core)
    off, best = curves(), race(given.rounds, given.seconds)
    text = page(best, off, os.getloadavg()[0])
    print(text)
    if not given.no_page:
        old = PAGE.read_text()
        PAGE.write_text(
            re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.DOTALL)
        )


if __name__ == "__main__":
    main()
