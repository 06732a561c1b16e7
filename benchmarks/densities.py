"""Densities without data: the table in doc/results_targets.md.

    make bench-targets                          # all of them, about ten minutes on two idle cores
    make bench-targets ARGS="funnel --plain"    # one, and plain reverse KL beside it

Each flow has the network of `train_flowmodels1.py --target <name>` and is trained once, with seed
0; log Z is estimated five times, with five seeds, from 2,000 draws each.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "targets"
TABLE = ROOT / "doc" / "results_targets.md"
STEPS = {"mixture_3x3": 4000, "funnel": 6000, "many_well": 1500, "two_moons_ring": 2000}
PUBLISHED = {"mixture_3x3": "0.0027", "funnel": "0.0022", "many_well": "0.0316"}
KINDS = {"": "as application 1 does", "_plain": "plain reverse KL"}
HEAD = """# Densities without data: measured

`make bench-targets` (`benchmarks/densities.py`), {machine}. Each flow is trained once, with seed 0.
"error of log Z" is the mean absolute error of five estimates, five seeds, from 2,000 draws each;
"published" is that of fab-jax (Midgley et al. 2023), 2,000 draws. "effective" is the effective
share of the draws; "mass" the largest error of the mass of a mode, of draws without weights
(mixture_3x3: nine modes; many_well: the wells of 16 pairs; funnel: x0 < -3). Seconds are processor
time of the training, all cores together, compilation included.

| target | training | steps | error of log Z | published | effective | mass | KL, nats | CPU s |
|---|---|---|---|---|---|---|---|---|
"""
ROW = (
    "| {name} | {title} | {steps} | {log_z_mae:.4f} | {published} | {ess_fraction:.1%} |"
    " {mass_error:.4f} | {kl_to_truth:.4f} | {cpu_seconds:.0f} |\n"
)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from flow_models.data import targets

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="targets to run anew; all by default")
    parser.add_argument("--plain", action="store_true", help="also plain reverse KL")
    parser.add_argument("--steps", type=int, help="of the training, instead of those of the table")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in given.names or targets.names():
        for kind in KINDS if given.plain else [""]:
            found = measure(name, kind, given.steps or STEPS[name])
            print(name, kind, found, flush=True)
            (RESULTS / f"{name}{kind}.json").write_text(json.dumps(found, indent=1))
    TABLE.write_text(table(targets.names()))


def measure(name: str, kind: str, steps: int) -> dict[str, float]:
    """Trains a flow and gives what application 1 measures of it."""
    import flow_models as fm
    from flow_models.applications import targets
    from train_flowmodels1 import PRESETS, Config

    problem = targets.load(name, None, 0.0)
    size, target = problem.target.size, problem.target
    model = targets.build_model(Config(), problem, fm.Partition({"x": size}, {"z": size}), PRESETS)
    method = "reverse_kl" if kind else targets.method_of(Config(), problem)
    plain = {"method": method, "forward_share": 0.0 if kind else None}
    begin = time.process_time()
    settings = fm.FitSettings(steps=steps)
    fm.fit_density(target.log_density, model, settings, scale=target.scale, progress=False, **plain)
    seconds = time.process_time() - begin
    return {**targets.measured(model, target), "cpu_seconds": seconds, "steps": steps}


def table(names: list[str]) -> str:
    """Markdown table of all results."""
    text = HEAD.format(machine=f"{os.cpu_count()} cores, no GPU")
    for name in names:
        for kind, title in KINDS.items():
            if not (file := RESULTS / f"{name}{kind}.json").exists():
                continue
            found = json.loads(file.read_text())
            text += ROW.format(name=name, title=title, published=PUBLISHED.get(name, ""), **found)
    return text


if __name__ == "__main__":
    main()
