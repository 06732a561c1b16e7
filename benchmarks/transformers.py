"""Image flows with transformers beside Glow: bits per dimension after equal seconds of training, in
turns, and the time of both directions. Its table is in doc/families.md.

    python benchmarks/transformers.py                     # about 20 minutes of one core
    python benchmarks/transformers.py --clock perf_counter --threads 0   # on a quiet machine

Silhouettes of 8 bits, 28x28, uniform dequantisation, batches of 64, everything as in the comparison
of `bench_images.py`: each model trains in a process of its own, one at a time, in turns of some
seconds. Of several rates that of each is chosen on validation pictures after a quarter of the time;
the test pictures are scored once. Seconds include compilation. By default they are processor
seconds of one core, which other work on the machine changes little. After every turn
results/transformers.json holds what is known: seconds, steps and bits of the pictures just trained
on.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from bench_flows import RESULTS, machine, run_in_project  # noqa: E402
from flows.plan import Results  # noqa: E402
from images import quality  # noqa: E402
from images.plan import FORMS, OF_PATCHES, PROBLEMS, Plan, QualityPlan  # noqa: E402

PAGE = HERE.parent / "doc" / "families.md"
START, END = "<!-- transformers -->", "<!-- end of transformers -->"
COMPARED = (("ours", "default"), *OF_PATCHES)
PICTURES = 64  # whose directions are timed


def main() -> None:
    told = arguments()
    began, here = time.perf_counter(), machine()
    results = Results(
        lambda text: print(f"{time.perf_counter() - began:6.0f} s {text}", flush=True)
    )
    asked = QualityPlan(
        forms=COMPARED,
        budget=told.seconds,
        trial=told.seconds / 4,
        rates=told.rates,
        seeds=1,
        clock=told.clock,
    )
    plan = Plan(RESULTS / "images", cores=told.threads, quality=asked)
    run_in_project("images.data", str(plan.folder.resolve()), "silhouettes")
    found = {"machine": here, "seconds": told.seconds, "turns": []}
    found["finals"] = finals(plan, results, lambda run: keep(found, run))
    write(found)
    for _, form in COMPARED:
        found["milliseconds"] = found.get("milliseconds", {}) | {form: directions(form)}
    write(found)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=160, help="of training, each")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1e-3, 3e-3], help="to choose from"
    )
    parser.add_argument("--threads", type=int, default=1, help="cores of each process; 0: all")
    parser.add_argument("--clock", choices=("perf_counter", "process_time"), default="process_time")
    return parser.parse_args()


def finals(plan: Plan, results: Results, on_turn: Callable) -> list[dict]:
    """What the runs report; a single rate needs no choice."""
    asked = plan.quality
    if len(asked.rates) > 1:
        return quality.quality(plan, results, on_turn)["finals"]
    rates = {" ".join(form): asked.rates[0] for form in COMPARED}
    runs = quality.train(plan, results, rates, asked.budget, {}, 0, "test", on_turn)
    return [run.report(0) for run in runs]


def keep(found: dict, run) -> None:
    """Adds the turn that has ended to the file."""
    about = {"form": run.form[1], "rate": run.rate, "steps": run.done, "seconds": run.seconds}
    nats = run.worker.ask("trained")["nats"]
    bits = nats / math.log(2) / math.prod(PROBLEMS["silhouettes"]["shape"])
    found["turns"].append(about | {"bits_in_training": bits})
    (RESULTS / "transformers.json").write_text(json.dumps(found))


def directions(form: str) -> list[float]:
    """Processor milliseconds a picture of log p and of samples, compiled, the least of five."""
    from images.ours import OurImages

    problem = PROBLEMS["silhouettes"] | (FORMS | OF_PATCHES)["ours", form]
    model = OurImages(str(RESULTS)).model_of({**problem, "seed": 0})
    x = np.zeros((PICTURES, *problem["shape"]), np.uint8)
    return [least(lambda: model.log_prob(x)), least(lambda: model.sample(PICTURES))]


def least(call) -> float:
    call()
    taken = []
    for _ in range(5):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return 1000 * min(taken) / PICTURES


def write(found: dict) -> None:
    """The file, and the table between its two marks in doc/families.md; times may be missing."""
    (RESULTS / "transformers.json").write_text(json.dumps(found))
    rows = [
        "| | parameters | rate | steps | seconds | bits per dimension | log p, ms | sample, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in found["finals"]:
        bits, times = np.asarray(run["bits"]), found.get("milliseconds", {}).get(run["form"], [])
        mean = f"{bits.mean():.3f} ± {bits.std() / math.sqrt(len(bits)):.3f}"
        name = "glow" if run["form"] == "default" else run["form"]
        rows.append(
            f"| {name} | {run['parameters']:,} | {run['rate']:g} | {run['steps']:,} |"
            f" {run['seconds']:.0f} | {mean} | {' | '.join(f'{t:.2f}' for t in times) or '|'} |"
        )
    text = PAGE.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n" + "\n".join(rows) + f"\n{END}{after}")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
