"""Application 1 on every set of known density and every embedded set, `default` preset: the table
in doc/results_flowmodels1.md.

    make bench-mapping                     # about a minute and a half per set
    make bench-mapping ARGS="moons banana"

Each row is one run of its command with seed 0. The test points are drawn once and used once.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mapping"
TABLE = ROOT / "doc" / "results_flowmodels1.md"
TARGETS = {
    "moons": 0.003,
    "eight_gaussians": 0.003,
    "banana": 0.002,
    "rosenbrock": 0.002,
    "checkerboard": 0.03,
}
HEAD = """# Application 1: measured

`make bench-mapping`: each row is one run of `python train_flowmodels1.py --data <name>`, `default`
preset, seed 0, on {machine}. `kl_to_truth` is the Kullback-Leibler divergence of the model from the
true density, in nats, over 50,000 fresh points, with its standard error; training seconds include
compilation and validation. Real tables have no known density: their rows compare the held-out
negative log-likelihood with that of a Gaussian.

| data | kl_to_truth | target | nll_test | entropy | train s | compile s | steps/s |
|---|---|---|---|---|---|---|---|
"""
REAL = """
| data | nll_test | of a Gaussian | train s | compile s | steps/s |
|---|---|---|---|---|---|
"""


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from flow_models.data import points
    from flow_models.data.tables import embedded

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="sets to run anew; all by default; others keep their last result"
    )
    names = parser.parse_args().names or [*points.names(), *embedded.names()]
    for name in names:
        print(f"== {name}", flush=True)
        command = [
            sys.executable,
            "train_flowmodels1.py",
            "--data",
            name,
            "--output-dir",
            str(RESULTS / name),
            "--overwrite",
            "--mlflow",
            "false",
        ]
        subprocess.run(command, cwd=ROOT, check=True)
    TABLE.write_text(table(points.names(), embedded.names()))
    print(f"wrote {TABLE.relative_to(ROOT)}")


def table(known: list[str], real: list[str]) -> str:
    """Markdown table of all results."""
    found = {
        name: json.loads(file.read_text())
        for name in [*known, *real]
        if (file := RESULTS / name / "metrics.json").exists()
    }
    speed = "{train_seconds:.0f} | {compile_seconds:.1f} | {steps_per_second:.0f} |\n"
    text = HEAD.format(machine=machine())
    for name in (n for n in known if n in found):
        row = (
            "| {name} | {kl_to_truth:.5f} +- {kl_to_truth_se:.5f} | {target} | {nll_test:.4f} |"
            " {entropy:.4f} | " + speed
        )
        text += row.format(name=name, target=TARGETS.get(name, ""), **found[name])
    text += REAL
    for name in (n for n in real if n in found):
        row = "| {name} | {nll_test:.4f} +- {nll_test_se:.4f} | {nll_test_gaussian:.4f} | " + speed
        text += row.format(name=name, **found[name])
    return text


def machine() -> str:
    """Name of the processor and number of cores."""
    import os

    cpu = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{os.cpu_count()} cores of {cpu[0] if cpu else 'an unknown processor'}, no GPU"


if __name__ == "__main__":
    main()
