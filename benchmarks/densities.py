"""Densities without data: the table in doc/results_targets.md.

    make bench-targets                            # all that is not there yet, seed by seed
    make bench-targets ARGS="funnel --seeds 0 1"  # these alone, anew

Each flow has the network and the training of `train_flowmodels1.py --target <name>`. Beside it
stands plain reverse KL: from the same wide Gaussian, as many steps, a base of one Gaussian, and no
annealing.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "targets"
TABLE = ROOT / "doc" / "results_targets.md"
SEEDS = range(5)
PUBLISHED = {
    "mixture_3x3": "0.0027 +- 0.0005",
    "funnel": "0.0022 +- 0.0005",
    "many_well": "0.0316 +- 0.0042",
}
KINDS = {"": "default", "_plain": "plain reverse KL"}
HEAD = """# Densities without data: measured

`make bench-targets` (`benchmarks/densities.py`), {machine}. Each row is of flows trained with
different seeds; +- is the standard error of the mean over them.

- error: mean absolute error of log Z from 2,000 draws, five estimates of each flow.
- published: that of fab-jax (Midgley et al. 2023), also from 2,000 draws.
- effective: effective share of the draws.
- mass: largest error of the mass of a mode, of draws without weights, in points, in the worst flow
  (mixture_3x3: nine modes; many_well: the wells of 16 pairs; two_moons_ring: two arcs; funnel:
  x0 < -3 and the rest).
- lost: modes that hold less than a tenth of their mass, in the worst flow.
- KL: Kullback-Leibler divergence from the target to the flow, nats, by exact draws.
- CPU s: processor time of the training, all cores together, compilation included.

| target | training | flows | steps | error | published | effective | mass | lost | KL | CPU s |
|---|---|---|---|---|---|---|---|---|---|---|
"""
ROW = (
    "| {name} | {title} | {flows} | {steps:.0f} | {error} | {published} | {ess_fraction:.1%} |"
    " {mass:.1f} | {lost:.0f} | {kl_to_truth:.4f} | {cpu_seconds:.0f} |\n"
)


def main() -> None:
    sys.path.insert(0, str(ROOT))
    import flow_models as fm
    from flow_models.data import targets

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="targets to measure anew; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        for kind in KINDS:
            for name in given.names or targets.names():
                file = RESULTS / f"{name}{kind}_{seed}.json"
                if given.names or not file.exists():
                    try:
                        found = measure(name, kind, seed)
                    except fm.TrainingDiverged as error:
                        print(name, kind, seed, error, flush=True)
                        continue
                    print(name, kind, seed, found, flush=True)
                    file.write_text(json.dumps(found, indent=1))
                    TABLE.write_text(table(targets.names()))


def measure(name: str, kind: str, seed: int) -> dict[str, float]:
    """Trains a flow and gives what application 1 measures of it."""
    import flow_models as fm
    from flow_models.applications import targets
    from train_flowmodels1 import APPLICATION, PRESETS, Config

    fit = fm.FitSettings(steps=PRESETS["default"]["steps"], seed=seed)
    config = Config(target=name, fit=fit)
    problem = targets.load(name, None, 0.0)
    method = "reverse_kl" if kind else targets.method_of(config, problem)
    problem = targets.without_modes(problem) if kind else problem
    settings = targets.fit_settings(config, problem, PRESETS)
    partition = APPLICATION.partition(config, problem)
    model = targets.build_model(config, problem, partition, PRESETS)
    options = {"method": method, "forward_share": 0.0 if kind else None, "progress": False}
    target, begin = problem.target, time.process_time()
    fm.fit_density(target.log_density, model, settings, scale=target.scale, **options)
    seconds = time.process_time() - begin
    return {**targets.measured(model, target), "cpu_seconds": seconds, "steps": settings.steps}


def table(names: list[str]) -> str:
    """Markdown table of all results."""
    text = HEAD.format(machine=f"{os.cpu_count()} cores, no GPU")
    for name in names:
        for kind, title in KINDS.items():
            files = [RESULTS / f"{name}{kind}_{seed}.json" for seed in SEEDS]
            if found := [json.loads(file.read_text()) for file in files if file.exists()]:
                text += row(name, title, found)
    return text


def row(name: str, title: str, found: list[dict[str, float]]) -> str:
    """One line: means over the flows, masses of the worst."""
    values = {key: np.array([each[key] for each in found]) for key in found[0]}
    errors, means = values["log_z_mae"], {key: each.mean() for key, each in values.items()}
    spread = f" +- {errors.std(ddof=1) / len(errors) ** 0.5:.4f}" if len(errors) > 1 else ""
    return ROW.format(
        name=name,
        title=title,
        flows=len(found),
        error=f"{means['log_z_mae']:.4f}{spread}",
        published=PUBLISHED.get(name, ""),
        mass=100 * values["mass_error"].max(),
        lost=values["modes_lost"].max(),
        **means,
    )


if __name__ == "__main__":
    main()
