"""Application 4 and its baselines on the tables of scikit-learn, split anew by seeds that chose no default.

    python benchmarks/tables.py                                      # four tables, five splits, about six minutes
    python benchmarks/tables.py --tables iris wine --seeds 201 202

Prints, a table a row, accuracies on the test rows of all splits together, of the flow and of each baseline: those trained on
the training rows, as the flow is, and on training and validation rows (the flow uses the latter to stop).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_flowmodels4 as script  # noqa: E402
from flow_models import class_study  # noqa: E402
from flow_models.diagnostics.classification import class_metrics  # noqa: E402

TABLES = ("iris", "wine", "breast_cancer", "digits")
SEEDS = (101, 102, 103, 104, 105)


def of_split(table: str, seed: int) -> tuple[int, dict[str, float]]:
    """Test rows of a split, and accuracies by name."""
    config = script.Config(data=table, seed=seed, **script.PRESETS["default"])
    problem = script.load_data(config)
    model, settings = script.build_model(config, problem, config.form), script.fit_settings(config, problem, config.form)
    class_study.trained(model, problem, settings, script.beta_of(config, problem, config.form),
                        smoothing=script.smoothing_of(config, problem))  # fmt: skip
    found = {"flow": class_metrics(model.classify(problem.test.x), problem.test.y)["accuracy"]}
    found |= {name: each["accuracy"] for name, each in class_study.compare_baselines(problem, seed).items()}
    return len(problem.test), found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    arguments = parser.parse_args()
    for table in arguments.tables:
        splits = [of_split(table, seed) for seed in arguments.seeds]
        rows = sum(count for count, _ in splits)
        means = {name: sum(count * found[name] for count, found in splits) / rows for name in splits[0][1]}
        print(f"{table}, {rows} test rows:", ", ".join(f"{name} {value:.4f}" for name, value in means.items()), flush=True)
