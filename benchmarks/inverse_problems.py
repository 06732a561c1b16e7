"""Posteriors from pairs beside sbi (NPE with NSF and MAF, FMPE) and BayesFlow, as they come.

    make bench-inverse                                     # ours: writes doc/benchmarks_inverse.md
    make bench-inverse ARGS="--methods ours sbi:nsf sbi:maf sbi:fmpe bayesflow:default"
    make bench-inverse ARGS="--problems slcp --pairs 1000 --render"
    make bench-inverse ARGS="--problems gravity --pairs 3000 --methods ours:frame sbi:nsf"

Each training is a process of its own with one thread, one at a time, with the same pairs, held-out
pairs and observations; seconds are those of the processor, so other work beside it does not matter.
The peers get their own environment, benchmarks/.venv_inverse, at the first run. Every cell is on
disk, in benchmarks/results/inverse, as soon as it is measured; a run leaves out what is there, and
the page is made of all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from flows import environment  # noqa: E402
from inverse.applications import ALL  # noqa: E402
from inverse.problems import PROBLEMS  # noqa: E402

from flow_models.diagnostics.two_sample import c2st  # noqa: E402

METHODS = (
    "ours:default",
    "ours:members",
    "ours:trials",
    "ours:frame",
    "sbi:nsf",
    "sbi:maf",
    "sbi:fmpe",
    "bayesflow:default",
)
PUBLISHED = {  # C2ST of NPE at 1,000, 10,000 and 100,000 pairs (Lueckmann et al. 2021)
    "two_moons": (0.725, 0.606, 0.542),
    "gaussian_linear": (0.694, 0.552, 0.506),
    "slcp": (0.975, 0.901, 0.831),
}
PAIRS = (1_000, 10_000, 100_000)
OBSERVATIONS, SAMPLES, TEST = 10, 2_000, 2_000
RESULTS = HERE / "results" / "inverse"
PAGE = HERE.parent / "doc" / "benchmarks_inverse.md"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--methods", nargs="+", choices=METHODS, default=["ours:default"])
    p.add_argument("--problems", nargs="+", choices=ALL, default=list(PROBLEMS))
    p.add_argument("--pairs", nargs="+", type=int, default=[1_000, 10_000])
    p.add_argument("--again", action="store_true", help="train what has a result, too")
    p.add_argument("--render", action="store_true", help="only write the page")
    p.add_argument("--limit", type=int, default=3600, help="processor seconds of a cell (3600)")
    p.add_argument("--peers", help="Python of an environment with sbi and bayesflow")
    p.add_argument("--page", type=Path, default=PAGE)
    return p


def data_of(name: str, pairs: int) -> Path:
    """The file of pairs, held-out pairs, observations and reference samples of a row."""
    path = RESULTS / f"{name}_{pairs}.npz"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    problem, seed = ALL[name], zlib.crc32(name.encode())
    x, y = problem.pairs(pairs, (seed, pairs))
    x_test, y_test = problem.pairs(TEST, (seed, 1))
    truths, observed = problem.pairs(OBSERVATIONS, (seed, 2))
    rng = np.random.default_rng((seed, 3))
    both = problem.references(observed, SAMPLES, rng)
    arrays = {"x": x, "y": y, "x_test": x_test, "y_test": y_test, "observed": observed}
    np.savez(path, **arrays, truths=truths, reference=both[0], again=both[1], n=SAMPLES)
    return path


def trained(method: str, name: str, pairs: int, arguments) -> dict:
    """Trains in a process of its own; what came of it, with its C2ST."""
    data = data_of(name, pairs)
    out = RESULTS / f"{name}_{pairs}_{method.replace(':', '_')}.npz"
    library, _, form = method.partition(":")
    python = sys.executable
    if library != "ours":
        python = arguments.peers or environment.python(
            HERE / ".venv_inverse", HERE / "inverse" / "requirements.txt"
        )
    command = [python, str(HERE / "inverse" / "worker.py"), library, form, name, data, out]
    done = subprocess.run(
        list(map(str, command)),
        cwd=RESULTS,  # for what sbi logs
        env={**os.environ, **THREADS},
        capture_output=True,
        text=True,
        preexec_fn=lambda: _limit(arguments.limit),
    )
    if done.returncode < 0:
        return {"failed": f"no end in {arguments.limit} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return {"failed": lines[-1]}
    with np.load(data) as given, np.load(out) as drawn:
        found = json.loads(str(drawn["found"]))
        each = [classified(*pair) for pair in zip(given["reference"], drawn["samples"])]
    return {**found, "c2st": float(np.mean(each)), "c2st_each": each}


def _limit(seconds: int) -> None:
    """Of this process: nicer than others, and no more processor seconds than these."""
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def classified(a: np.ndarray, b: np.ndarray) -> float:
    """C2ST of a network on standardised samples, 0.5 for equal distributions."""
    return c2st(a, b, classifiers=("network",))


def null(name: str, pairs: int) -> float:
    """The C2ST of the reference with itself."""
    with np.load(data_of(name, pairs)) as given:
        each = [classified(*both) for both in zip(given["reference"], given["again"])]
    return float(np.mean(each))


def measured(arguments) -> dict:
    """Results of all rows so far, with those of this run."""
    for pairs in arguments.pairs:
        for name in arguments.problems:
            key = f"{name} {pairs}"
            for method in arguments.methods:
                if not fits(method, ALL[name]):
                    continue
                if method in kept().get(key, {}) and not arguments.again:
                    continue
                found = trained(method, name, pairs, arguments)
                print(name, pairs, method, shown(found), file=sys.stderr, flush=True)
                keep(key, method, found)
            if "null" not in kept()[key]:
                keep(key, "null", null(name, pairs))
    return kept()


def fits(method: str, problem) -> bool:
    """Whether the problem has what the method is of: trials, or a frame."""
    form = method.partition(":")[2]
    return {"trials": bool(problem.trials), "frame": bool(problem.components)}.get(form, True)


def kept() -> dict:
    """All that was measured so far."""
    path = RESULTS / "results.json"
    return json.loads(path.read_text()) if path.exists() else {}


def keep(key: str, what: str, found) -> None:
    """Puts a cell on disk, beside what is there by now."""
    results, path = kept(), RESULTS / "results.json"
    results.setdefault(key, {})[what] = found
    path.with_suffix(".new").write_text(json.dumps(results, indent=1))
    path.with_suffix(".new").replace(path)


def shown(found: dict) -> str:
    """A cell: C2ST (nll, seconds; samples a second; share outside)."""
    if "failed" in found:
        return f"failed: {found['failed'][:80]}"
    outside = f"; {found['outside']:.1%} outside" if found["outside"] else ""
    return (
        f"{found['c2st']:.3f} ({found['nll']:.2f}, {found['cpu_seconds']:.0f} s;"
        f" {found['samples_per_second']:,.0f}/s{outside})"
    )


def markdown(results: dict) -> str:
    """The table of all rows and methods that there are."""
    methods = [each for each in METHODS if any(each in row for row in results.values())]
    lines = [
        f"| problem, pairs | null | {' | '.join(methods)} | NPE, published |",
        "|---" * (len(methods) + 3) + "|",
    ]
    ordered = sorted(results, key=lambda key: (key.split()[0], int(key.split()[1])))
    for problem, pairs in (key.split() for key in ordered):
        row = results[f"{problem} {pairs}"]
        cells = [shown(row[each]) if each in row else "" for each in methods]
        told = dict(zip(PAIRS, PUBLISHED.get(problem, ()))).get(int(pairs))
        cells += ["" if told is None else f"{told:.3f}"]
        of_null = f"{row['null']:.3f}" if "null" in row else ""
        lines.append(f"| {problem} {int(pairs):,} | {of_null} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(page: Path, table: str) -> None:
    """Puts the table between the marks of the page."""
    text = page.read_text()
    begin, end = "<!-- table -->\n", "<!-- end of table -->"
    head, tail = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    page.write_text(head + table + tail)


def main() -> None:
    arguments = parser().parse_args()
    results = kept() if arguments.render else measured(arguments)
    table = markdown(results)
    write(arguments.page, table)
    print(table)


if __name__ == "__main__":
    main()
