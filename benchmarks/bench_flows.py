"""Speed and time to quality beside zuko, normflows, nflows (PyTorch) and flowjax (JAX) on this
machine.

    make bench-flows                     # all: a quarter of an hour; writes doc/benchmarks_flows.md
    make bench-flows ARGS="--quick"      # about three minutes
    make bench-flows ARGS="--models spline --rows quality"
    make bench-flows ARGS="--render benchmarks/results/latest.json"

The other libraries get their own environment, benchmarks/.venv, at the first run. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from flows import environment, table  # noqa: E402
from flows.plan import DEPTHS, Plan, QualityPlan, Results  # noqa: E402
from flows.quality import quality  # noqa: E402
from flows.throughput import first_step, throughput  # noqa: E402
from flows.worker import MODULES  # noqa: E402

from flow_models.core.errors import UserError  # noqa: E402

ROWS = ("train", "log_prob", "sample", "first_step", "quality")
FORMS = (
    ("ours", "unrolled"),
    ("ours", "looped"),
    ("flowjax", "scan"),
    ("flowjax", "step"),
    ("zuko", "eager"),
    ("normflows", "eager"),
    ("nflows", "eager"),
    ("zuko", "compiled"),
    ("normflows", "compiled"),
    ("nflows", "compiled"),
)
QUICK_FORMS = tuple(form for form in FORMS if form[1] in ("unrolled", "scan", "eager"))
TRAIN_ROWS, VALIDATION_ROWS = 1_000_000, 10_000
RESULTS = HERE / "results"
PAGE = HERE.parent / "doc" / "benchmarks_flows.md"


CACHES = "/sys/devices/system/cpu/cpu0/cache"


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message):
        raise UserError(f"{message}; --help lists all")


def parser() -> Parser:
    p = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--quick",
        action="store_true",
        help="two models, one batch size, the usual forms, few rounds",
    )
    p.add_argument("--models", nargs="+", choices=DEPTHS, help="only these")
    p.add_argument("--rows", nargs="+", choices=ROWS, help="only these")
    p.add_argument("--libraries", nargs="+", choices=MODULES, help="only these")
    p.add_argument("--rounds", type=int, help="turns of each library in each row of training (5)")
    p.add_argument("--seeds", type=int, help="seeds of time to quality (2)")
    p.add_argument(
        "--quality-models",
        nargs="+",
        choices=("spline", "realnvp"),
        default=["spline"],
        help="models of time to quality (spline)",
    )
    p.add_argument(
        "--quality-steps",
        type=int,
        default=1000,
        help="steps of the recipe of time to quality (1000)",
    )
    p.add_argument("--cap", type=float, help="longest training waited for a gap, seconds (60)")
    p.add_argument(
        "--page", type=Path, help="file of the tables; after a full run doc/benchmarks_flows.md"
    )
    p.add_argument(
        "--render", type=Path, metavar="RESULT", help="only write the tables of a recorded result"
    )
    return p


def draw_points(folder: Path) -> dict:
    """Draws the points of all libraries, once; returns their truth."""
    truth = folder / "truth.json"
    if truth.exists():
        found = json.loads(truth.read_text())
        if (found["rows"], found["validation"]) == (TRAIN_ROWS, VALIDATION_ROWS):
            return found
    run_in_project("flows.data", str(folder.resolve()), str(TRAIN_ROWS), str(VALIDATION_ROWS))
    return json.loads(truth.read_text())


def make_plan(arguments: argparse.Namespace, truth: dict) -> Plan:
    quick, wanted = arguments.quick, arguments.libraries or list(MODULES)
    forms = tuple(form for form in (QUICK_FORMS if quick else FORMS) if form[0] in wanted)
    models = tuple(arguments.models or (("realnvp", "spline") if quick else DEPTHS))
    plan = Plan(RESULTS / "points", models, forms=forms, quality=make_quality(arguments, truth))
    if quick:
        plan.batches, plan.rounds, plan.round_seconds, plan.points, plan.repeats = (
            (256,),
            3,
            0.4,
            20_000,
            1,
        )
    plan.rounds = arguments.rounds or plan.rounds
    return plan


def make_quality(arguments: argparse.Namespace, truth: dict) -> QualityPlan:
    """Sizes and recipe of application 1, over fewer steps; ours also without what the others
    lack."""
    from train_flowmodels1 import Config

    fit, network = Config().fit, Config().network
    recipe = {
        "learning_rate": fit.learning_rate,
        "beta1": fit.beta1,
        "beta2": fit.beta2,
        "warmup": fit.warmup_steps,
        "steps": arguments.quality_steps,
        "clip": fit.clip_norm,
    }
    common = {
        "hidden": list(network.hidden),
        "activation": network.activation or "relu",  # of spline_coupling
        "bins": network.bins,
        "bound": network.bound,
        "batch": fit.batch_size,
        "recipe": recipe,
    }
    plain = {"layers_per_loop_body": network.layers_per_loop_body}
    preset = plain | {"affine": network.affine, "linear": network.linear, "ema": fit.ema}
    forms = {
        ("ours", "preset"): preset,
        ("ours", "plain"): plain,
        ("flowjax", "scan"): {},
        ("zuko", "eager"): {},
        ("normflows", "eager"): {},
        ("nflows", "eager"): {},
    }
    wanted = arguments.libraries or (("ours", "flowjax") if arguments.quick else MODULES)
    plan = QualityPlan(
        {"spline": common | {"depth": network.depth or 5}, "realnvp": common},
        {form: changes for form, changes in forms.items() if form[0] in wanted},
        truth["nll"],
        truth["validation"],
        tuple(arguments.quality_models),
    )
    if arguments.quick:
        plan.seeds, plan.cap = 1, 25.0
    plan.seeds, plan.cap = arguments.seeds or plan.seeds, arguments.cap or plan.cap
    return plan


def measure(plan: Plan, rows: set[str], results: Results) -> None:
    for model in plan.models:
        if rows - {"first_step", "quality"}:
            throughput(plan, results, model, rows)
    for model in plan.models[:1] if plan.repeats == 1 else plan.models:
        if "first_step" in rows:
            first_step(plan, results, model)
    for model in plan.quality.models:
        if "quality" in rows:
            quality(plan, results, model)


def machine() -> dict:
    """What the numbers were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": processor(Path("/proc/cpuinfo").read_text(), Path(CACHES)),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": memory,
        "load": os.getloadavg()[0],
    }


def processor(info: str, caches: Path) -> str:
    """Name of the processor in /proc/cpuinfo, its widest vectors, and sizes of its data caches."""
    of = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", info.split("\n\n")[0], re.MULTILINE))
    known = {"avx512f": "AVX-512", "avx2": "AVX2"}
    vectors = [name for flag, name in known.items() if flag in of.get("flags", "").split()]
    kinds = {each: (each / "type").read_text().strip() for each in sorted(caches.glob("index*"))}
    data = [each for each, kind in kinds.items() if kind != "Instruction"]
    sizes = " + ".join((each / "size").read_text().strip() for each in data)
    parts = [of.get("model name", "unknown processor"), *vectors[:1]]
    return ", ".join([*parts, f"caches {sizes}"] if sizes else parts)


def write(
    result: dict,
    page: Path | None,
    kind: str = "flows",
    latest: str = "latest",
    markdown=table.markdown,
) -> None:
    """Writes the result as JSON, and its tables to the page or beside it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    for name in (
        f"{kind}_{result['date'].replace(' ', '_').replace(':', '')}.json",
        f"{latest}.json",
    ):
        (RESULTS / name).write_text(text)
    write_page(result, page or RESULTS / f"{latest}.md", markdown)


def write_page(result: dict, page: Path, markdown=table.markdown) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(markdown(result))
    print(f"tables: {page}", file=sys.stderr)


def run_in_project(module: str, *arguments: str) -> None:
    """Runs a module in its own process with the project's environment, which keeps this one
    small."""
    path = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=HERE,
        env=path,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise UserError(
            f"python -m {module} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        )


def main(argv: list[str]) -> None:
    arguments = parser().parse_args(argv)
    if arguments.render:
        if not arguments.render.is_file():
            raise UserError(f"no file {arguments.render}: give a JSON file of benchmarks/results")
        return write_page(json.loads(arguments.render.read_text()), arguments.page or PAGE)
    for name in ("rounds", "seeds", "quality_steps", "cap"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be above 0, got {value}")
    began, rows = time.perf_counter(), set(arguments.rows or ROWS)

    def progress(text):
        print(f"{time.perf_counter() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    environment.python()
    here = machine()
    if here["load"] > 0.7:
        progress(f"the machine is busy (load {here['load']:.1f}): expect noise")
    truth = draw_points(RESULTS / "points")
    plan, results = make_plan(arguments, truth), Results(progress)
    measure(plan, rows, results)
    shared = {name: getattr(plan.quality, name) for name in ("seeds", "cap", "every", "validation")}
    result = {
        "format": 1,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "minutes": (time.perf_counter() - began) / 60,
        "command": " ".join(
            ["make bench-flows", *(['ARGS="' + " ".join(argv) + '"'] if argv else [])]
        ),
        "machine": here | {"load_after": os.getloadavg()[0]},
        "truth": truth,
        "quality": plan.quality.sizes["spline"] | shared if "quality" in rows else None,
        "facts": results.facts,
        "measurements": results.measurements,
        "failures": results.failures,
    }
    print(table.markdown(result))
    write(result, arguments.page or (None if argv else PAGE))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
