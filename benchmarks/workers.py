"""Steps a second of one and two workers with a core each, what they exchange, and whether 1, 2 and 4 have one loss
curve.

    python benchmarks/workers.py                # about six minutes on two idle cores; writes the table of doc/scaling.md
    python benchmarks/workers.py --rounds 1 --seconds 3 --no-page

Worker k runs on core k alone. A round measures each case once, in turn; of the rounds the best one counts, as
whatever else the machine does can only slow a case down. Steps are timed after compilation, by the clock and by the
processor time of the process. The projection for more workers is arithmetic: the step of one worker with its own
batch, what two workers add to it here, and what the ring and its 2 (W - 1) messages add at the bandwidth and latency
that are stated.
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
NAMES = {"points": "RealNVP, 8 couplings of 2x128, points", "pictures": "Glow, 32x32 in colour, 2 levels of 2 steps"}
GIGABIT, LATENCY = 5.0, 1e-4  # of the projection: Gbit/s, seconds a message
CURVE = ("train_objective", "val_objective")


def model_and_data(kind: str):
    """What is trained: a flow of points or of pictures, and rows of the right shape."""
    import numpy as np

    import flow_models as fm

    chance = np.random.default_rng(0)
    if kind == "pictures":
        event = fm.Images(32, 32, 3)
        model = fm.FlowModel(fm.glow_image(event.canvas, levels=2, depth=2, hidden=(64, 64)), event=event)
        return model, chance.integers(0, 256, (256, 32, 32, 3)).astype(np.uint8)
    size = {"depth": 8, "hidden": (128, 128)} if kind == "points" else {"depth": 2, "hidden": (16, 16)}
    return fm.FlowModel(fm.realnvp(2, **size)), chance.normal(size=(20_000, 2)).astype("f") ** 3


def work(kind: str, batch: int, seconds: float, core: int) -> None:
    """One worker: trains for about so many seconds after compilation, or 200 steps of the curve, and prints what it has
seen."""
    os.sched_setaffinity(0, {core})
    import resource
    import time

    from flow_models.startup import load_tensorflow

    load_tensorflow()
    import flow_models as fm
    from flow_models import devices

    workers = devices.get("auto").workers
    model, rows = model_and_data(kind)
    curve = kind == "curve"
    settings = fm.FitSettings(steps=200 if curve else 10**6, batch_size=batch, epoch_steps=20 if curve else 10**6, learning_rate=1e-4,
                              clip_norm=1.0, strategy="auto")  # fmt: skip
    trainer = fm.Trainer(model, rows, rows[:200] if curve else None, settings)
    if curve:
        said = {"history": trainer.run(progress=False).history}
    else:
        said = timed(trainer, seconds, lambda: resource.getrusage(resource.RUSAGE_SELF), time.perf_counter)
    numbers = sum(v.shape.num_elements() for v in trainer.trainable) + len(trainer.terms)
    print(json.dumps(said | {"numbers": numbers, "workers": workers}))
    sys.stdout.flush()
    os._exit(0)  # whoever is first to go would be mourned by the others


def timed(trainer, seconds: float, usage, clock) -> dict:
    """Steps a second, and processor milliseconds a step, over calls of equal size; all workers make equally many calls."""
    import tensorflow as tf

    at, chunk = trainer.at, trainer.source.chunk(0, trainer.source.chunk_steps)
    trainer._join()

    def call(n):
        began, before = clock(), usage()
        done = trainer._compiled(at.weights, at.moments, tf.constant(at.sums), chunk, tf.constant(0), tf.constant(n))[0]
        assert int(done) == n
        after = usage()
        return clock() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    call(2)
    n = min(max(int(seconds / 6 / (call(4)[0] / 4)), 1), 100)
    n = int(trainer.devices.from_chief([n] if trainer.devices.is_chief else None, 1)[0])
    calls = [call(n) for _ in range(6)]
    return {"steps_per_second": n / min(wall for wall, _ in calls), "cpu_ms": 1000 * min(cpu for _, cpu in calls) / n}


def measured(kind: str, workers: int, batch: int, seconds: float) -> list[dict]:
    """What each worker of one case says."""
    import workers as processes

    cores = sorted(os.sched_getaffinity(0))
    command = [str(Path(__file__)), "--work", kind, "--batch", str(batch), "--seconds", str(seconds)]
    environments = processes.by_tf_config(workers) if workers > 1 else [{}]
    started = [processes.start([*command, "--core", str(cores[k % len(cores)])], [environment])[0]
               for k, environment in enumerate(environments)]  # fmt: skip
    ended = processes.finish(started, 500)
    for status, _, error in ended:
        assert status == 0, error
    return [json.loads(out.splitlines()[-1]) for _, out, _ in ended]


def cases(batch: int) -> dict[str, tuple[int, int]]:
    """(workers, global batch) by name."""
    return {"one": (1, batch), "equal global batch": (2, batch), "equal batch a worker": (2, 2 * batch)}


def race(rounds: int, seconds: float) -> dict[str, dict[str, dict]]:
    """The best of the rounds of every case of every kind."""
    best: dict[str, dict[str, dict]] = {kind: {} for kind in BATCH}
    for number in range(rounds):
        for kind, batch in BATCH.items():
            for name, (workers, size) in cases(batch).items():
                seen = measured(kind, workers, size, seconds)
                one = {"steps_per_second": min(each["steps_per_second"] for each in seen), "cpu_ms": max(each["cpu_ms"] for each in seen),
                       "numbers": seen[0]["numbers"]}  # fmt: skip
                print(
                    f"round {number + 1} {kind} {name}: {one['steps_per_second']:.1f} steps/s, {one['cpu_ms']:.2f} ms of a processor",
                    flush=True,
                )
                kept = best[kind].setdefault(name, one)
                kept |= {
                    "steps_per_second": max(kept["steps_per_second"], one["steps_per_second"]),
                    "cpu_ms": min(kept["cpu_ms"], one["cpu_ms"]),
                }
    return best


def projected(step: float, added: float, numbers: int, workers: int) -> float:
    """Efficiency of W workers with a batch each: seconds of a step alone over those together."""
    from flow_models.devices import ring_bytes

    more = ring_bytes(numbers, workers) * 8 / (GIGABIT * 1e9) + 2 * (workers - 2) * LATENCY
    return step / (step + added + more)


def curves() -> dict[int, float]:
    """By the number of workers, the largest relative difference from the curve of one."""
    import numpy as np

    one, *others = [measured("curve", workers, 64, 0)[0]["history"] for workers in (1, 2, 4)]
    found = {}
    for workers, other in zip((2, 4), others):
        found[workers] = max(float(np.max(np.abs(np.array(other[name]) / np.array(one[name]) - 1))) for name in CURVE)
    return found


def page(best: dict, off: dict[int, float], load: float) -> str:
    """The table of doc/scaling.md."""
    from flow_models.devices import ring_bytes

    lines = [f"`make bench-workers`: a core a worker, best of the rounds, load of the machine at the end {load:.1f}.", "",
             "| | batch | steps/s | rows/s against one worker | ms of a processor a step | bytes sent a step |", "|---|---|---|---|---|---|"]  # fmt: skip
    for kind, of in best.items():
        rate = of["one"]["steps_per_second"] * BATCH[kind]
        for name, (workers, size) in cases(BATCH[kind]).items():
            now, sent = of[name], ring_bytes(of[name]["numbers"], workers)
            words = NAMES[kind] if workers == 1 else f"two workers, {name}"
            lines.append(f"| {words} | {size} | {now['steps_per_second']:.1f} | {now['steps_per_second'] * size / rate:.2f} | "
                         f"{now['cpu_ms']:.2f} | {sent:,.0f} |")  # fmt: skip
    lines += ["", f"On paper for more workers with a batch each, at {GIGABIT:g} Gbit/s and {1000 * LATENCY:g} ms a message, with what two added here:", "",
              "| | added by two, ms | efficiency of 4 | of 8 | of 16 |", "|---|---|---|---|---|"]  # fmt: skip
    for kind, of in best.items():
        step = 1 / of["one"]["steps_per_second"]
        added = max(1 / of["equal batch a worker"]["steps_per_second"] - step, 0.0)
        share = [projected(step, added, of["one"]["numbers"], workers) for workers in (4, 8, 16)]
        lines.append(f"| {NAMES[kind]} | {1000 * added:.2f} | {share[0]:.2f} | {share[1]:.2f} | {share[2]:.2f} |")
    said = ", ".join(f"{workers} workers {value:.1e}" for workers, value in off.items())
    return "\n".join(
        [
            *lines,
            "",
            f"Loss curves over 200 steps, equal global batch and seed, largest relative difference from one worker: {said}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of timed steps a case")
    parser.add_argument("--no-page", action="store_true", help="print the table, and leave doc/scaling.md as it is")
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
        PAGE.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.DOTALL))


if __name__ == "__main__":
    main()
