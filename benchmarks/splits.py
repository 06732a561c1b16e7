"""Applications 3 and 4 and their baselines on small sets, over fresh splits whose seeds chose no
default.

    python benchmarks/splits.py       # four tables and the images of digits, five splits: 15 min
    python benchmarks/splits.py --sets iris wine --seeds 201 202

Prints one row per set: accuracies of the flow and of each baseline on the test rows of all splits
together. The baselines of tables are trained on the training rows, like the flow, and on training
plus validation rows (the flow uses the latter for stopping).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_flowmodels3 as of_pictures
import train_flowmodels4 as of_tables
from flow_models.applications.application import Run
from flow_models.applications.classes import study
from flow_models.diagnostics.classification import class_metrics
from flow_models.runs.config import nested

SETS = ("iris", "wine", "breast_cancer", "digits", "pictures of digits")
SEEDS = (101, 102, 103, 104, 105)


def trained(application, name: str, seed: int):
    """The problem of a set and a seed, and the model trained for it, by the default preset."""
    settings = {**application.presets["default"], "data": name, "seed": seed}
    config = nested(application.config, settings)
    problem = application.load_data(config)
    model, _ = Run(application, config, problem, None, None, None, None).train()
    return problem, model


def of_split(name: str, seed: int) -> tuple[int, dict[str, float]]:
    """Test rows of a split, and accuracies by name."""
    if name.startswith("pictures"):
        problem, model = trained(of_pictures.APPLICATION, "digits", seed)
    else:
        problem, model = trained(of_tables.APPLICATION, name, seed)
    found = {"flow": class_metrics(model.classify(problem.test.x), problem.test.y)["accuracy"]}
    found |= {key: each["accuracy"] for key, each in study.compare_baselines(problem, seed).items()}
    return len(problem.test), found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    arguments = parser.parse_args()
    for name in arguments.sets:
        splits = [of_split(name, seed) for seed in arguments.seeds]
        rows = sum(count for count, _ in splits)
        means = {
            key: sum(count * found[key] for count, found in splits) / rows for key in splits[0][1]
        }
        print(
            f"{name}, {rows} test rows:",
            ", ".join(f"{key} {value:.4f}" for key, value in means.items()),
            flush=True,
        )
