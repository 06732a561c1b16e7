"""Image flows beside normflows (PyTorch) on this machine: speed, memory, accuracy of inversion,
bits per dimension.

    make bench-images                    # all: about an hour; writes doc/benchmarks_images.md
    make bench-images ARGS="--quick"     # about two minutes
    make bench-images ARGS="--sections speed --threads 1"
    make bench-images ARGS="--render benchmarks/results/latest_images.json"

normflows gets its own environment, benchmarks/.venv, at the first run. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from bench_flows import RESULTS, Parser, machine, run_in_project, write, write_page  # noqa: E402
from flows import environment  # noqa: E402
from flows.plan import Results  # noqa: E402
from images import drift, quality, speed, table  # noqa: E402
from images.plan import SPEED, Plan, QualityPlan  # noqa: E402

from flow_models.core.errors import UserError  # noqa: E402

SECTIONS = ("speed", "first", "memory", "drift", "quality")
PAGE = HERE.parent / "doc" / "benchmarks_images.md"


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="one problem, few rounds, short training")
    p.add_argument(
        "--sections",
        type=lambda text: text.split(","),
        metavar="LIST",
        help=f"only these of {','.join(SECTIONS)}",
    )
    p.add_argument("--problems", nargs="+", choices=SPEED, help="only these in speed and first")
    p.add_argument(
        "--threads", type=int, default=0, metavar="N", help="keep every process on N cores (0: all)"
    )
    p.add_argument(
        "--rounds", type=int, help="turns of each library in each row of speed and memory (7)"
    )
    p.add_argument("--depths", type=int, nargs="+", help="steps a level in memory (4 16 64)")
    p.add_argument(
        "--budget",
        type=float,
        help="seconds of training in quality (240); a quarter for each trial",
    )
    p.add_argument(
        "--rates",
        type=float,
        nargs="+",
        help="learning rates tried in quality (5e-4 1e-3 2e-3 4e-3)",
    )
    p.add_argument("--seeds", type=int, help="seeds of quality (2)")
    p.add_argument(
        "--page", type=Path, help="file of the tables; after a full run doc/benchmarks_images.md"
    )
    p.add_argument(
        "--render", type=Path, metavar="RESULT", help="only write the tables of a recorded result"
    )
    return p


def check(arguments: argparse.Namespace) -> None:
    """Refuses numbers and names that make no sense, before anything starts."""
    unknown = [name for name in arguments.sections or () if name not in SECTIONS]
    if unknown:
        raise UserError(f"--sections: no section {unknown[0]!r}; there are {','.join(SECTIONS)}")
    for name in ("rounds", "budget", "seeds", "depths", "rates"):
        value = getattr(arguments, name)
        if value is not None and min(value if isinstance(value, list) else [value]) <= 0:
            raise UserError(f"--{name} must be above 0, got {value}")
    cores = len(os.sched_getaffinity(0))
    if not 0 <= arguments.threads <= cores:
        raise UserError(f"--threads is {arguments.threads}, this machine has {cores} cores")


def make_plan(arguments: argparse.Namespace) -> Plan:
    plan = Plan(RESULTS / "images", cores=arguments.threads, quality=QualityPlan())
    if arguments.quick:
        plan.problems, plan.rounds, plan.round_seconds, plan.repeats = SPEED[:1], 3, 0.5, 1
        plan.depths, plan.drift_depths, plan.drift_steps = (4,), (4,), (0,)
        plan.quality.budget, plan.quality.rates, plan.quality.seeds = 16.0, (2e-3,), 1
    for name in ("problems", "depths"):
        setattr(plan, name, tuple(getattr(arguments, name) or getattr(plan, name)))
    plan.rounds = arguments.rounds or plan.rounds
    q = plan.quality
    q.budget, q.seeds = arguments.budget or q.budget, arguments.seeds or q.seeds
    q.trial, q.rates = q.budget / 4, tuple(arguments.rates or q.rates)
    return plan


def draw_images(folder: Path, sections: list[str]) -> dict | None:
    """Draws the images of both libraries, once; returns a description of those of quality."""
    about = folder / "images.json"
    if "quality" not in sections:
        run_in_project("images.data", str(folder.resolve()))
        return None
    if not about.exists():
        run_in_project("images.data", str(folder.resolve()), "silhouettes")
    return json.loads(about.read_text())


def measure(plan: Plan, sections: list[str], results: Results) -> dict:
    """Runs the sections; returns the results of drift and quality."""
    for name, section in (
        ("speed", speed.speed),
        ("first", speed.first_step),
        ("memory", speed.depth),
    ):
        if name in sections:
            section(plan, results)
    return {
        name: section(plan, results)
        for name, section in (("drift", drift.drift), ("quality", quality.quality))
        if name in sections
    }


def main(argv: list[str]) -> None:
    arguments = parser().parse_args(argv)
    if arguments.render:
        if not arguments.render.is_file():
            raise UserError(f"no file {arguments.render}: give a JSON file of benchmarks/results")
        return write_page(
            json.loads(arguments.render.read_text()), arguments.page or PAGE, table.markdown
        )
    check(arguments)
    began, here = time.perf_counter(), machine()

    def progress(text):
        print(f"{time.perf_counter() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    environment.python()
    if here["load"] > 0.7:
        progress(f"the machine is busy (load {here['load']:.1f}): expect noise")
    sections = arguments.sections or list(SECTIONS)
    images = draw_images(RESULTS / "images", sections)
    plan, results = make_plan(arguments), Results(progress)
    found = measure(plan, sections, results)
    result = {
        "format": 1,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "minutes": (time.perf_counter() - began) / 60,
        "command": " ".join(
            ["make bench-images", *(['ARGS="' + " ".join(argv) + '"'] if argv else [])]
        ),
        "machine": here | {"load_after": os.getloadavg()[0]},
        "threads": plan.cores,
        "images": images,
        **found,
        "plan": {"rounds": plan.rounds, "budget": plan.quality.budget, "trial": plan.quality.trial},
        "facts": results.facts,
        "measurements": results.measurements,
        "failures": results.failures,
    }
    print(table.markdown(result))
    write(
        result,
        arguments.page or (None if argv else PAGE),
        "images",
        "latest_images",
        table.markdown,
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
