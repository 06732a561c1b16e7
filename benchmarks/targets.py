"""Holds finished runs of the default presets against the targets of their applications.

    python train_flowmodels2.py
    python benchmarks/targets.py runs/flowmodels2/latest     # several runs in one call, too

Prints one line a target. The exit status is 1 where one is missed or not measured.
"""

import argparse
import json
import operator
import sys
from pathlib import Path
from typing import NamedTuple

from mapping import TARGETS as MAPPING


class Target(NamedTuple):
    """A metric with a number, or another metric of the run, that it is held against."""

    metric: str
    sign: str  # "<=" or ">="
    bound: float | str
    slack: float = 0.0  # added to the bound


FAR = "auroc_{}_mnist"
BASELINES = ("pixel_mean", "pca", "compressed_size")  # that know nothing of a flow
OF_POSTERIORS = (
    Target("c2st_worst", "<=", 0.60),
    *(Target(f"coverage_{level}", "<=", level / 100, 0.02) for level in (50, 90)),
    *(Target(f"coverage_{level}", ">=", level / 100, -0.02) for level in (50, 90)),
    Target("normalised_rms_misfit", "<=", 1.1),
    Target("nats_above_laplace", "<=", 0.15),
    Target("seconds_for_10000_samples", "<=", 1.0),
)
TARGETS = {
    "flowmodels2": (
        *(Target(FAR.format(each), ">=", 0.95) for each in ("complexity", "likelihood_ratio")),
        *(Target(FAR.format("likelihood_ratio"), ">=", FAR.format(each)) for each in BASELINES),
        Target("auroc_likelihood_ratio_near", ">=", "auroc_pca_near"),
    ),
    "flowmodels3": (
        Target("accuracy", ">=", "accuracy_svm"),
        Target("ece", "<=", 0.03),
        Target("bits_per_dim_ratio", "<=", 1.05),
    ),
    "flowmodels4": (
        Target("kl_to_truth", "<=", 0.02),
        Target("accuracy", ">=", "accuracy_bayes", -0.002),
        Target("mode_share_worst", "<=", 0.03),
        Target("samples_beyond_4_sd", "<=", 0.01),
    ),
    "flowmodels5": (Target("resimulation_mse", "<=", 0.0001), Target("posterior_mmd", "<=", 0.002)),
    "flowmodels6": OF_POSTERIORS,
    "flowmodels7": (*OF_POSTERIORS, Target("sd_correlation_worst", ">=", 0.98)),
}
HOLDS = {"<=": operator.le, ">=": operator.ge}


def targets_of(tags: dict[str, str]) -> tuple[Target, ...]:
    """The targets of a run with these tags; none for data without any."""
    if tags["application"] == "flowmodels1":
        bound = MAPPING.get(tags["data"])
        return () if bound is None else (Target("kl_to_truth", "<=", bound),)
    return TARGETS.get(tags["application"], ())


def holds(target: Target, metrics: dict[str, float]) -> tuple[bool, str]:
    """Whether a target is reached, and a line that says so."""
    bound = metrics.get(target.bound) if isinstance(target.bound, str) else target.bound
    value = metrics.get(target.metric)
    if value is None or bound is None:
        return False, f"not measured  {target.metric} {target.sign} {target.bound}"
    bound += target.slack
    reached = HOLDS[target.sign](value, bound)
    named = f" ({target.bound})" if isinstance(target.bound, str) else ""
    said = f"{target.metric} {value:.4g} {target.sign} {bound:.4g}{named}"
    return reached, f"{'reached' if reached else 'missed':12s}  {said}"


def main(arguments: list[str] | None = None) -> int:
    """Prints the targets of the runs and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    missed = 0
    for run in parser.parse_args(arguments).runs:
        tags = json.loads((run / "about.json").read_text())["tags"]
        metrics = json.loads((run / "metrics.json").read_text())
        print(f"{run}: {tags['application']}, {tags['data']}, preset {tags['preset']}")
        found = [holds(target, metrics) for target in targets_of(tags)]
        print("\n".join(f"  {line}" for _, line in found) or "  no targets for these data")
        missed += sum(not reached for reached, _ in found)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
