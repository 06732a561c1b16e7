"""Applications 3 and 4 and their baselines on small sets, split anew by seeds that chose no
default.

    python benchmarks/splits.py                                      # four tables and the pictures of digits, five splits: a quarter of an hour
    python benchmarks/splits.py --sets iris wine --seeds 201 202

Prints, a set a row, accuracies on the test rows of all splits together, of the flow and of each
baseline. Baselines of tables are trained on the training rows, as the flow is, and on training and
validation rows (the flow uses the latter to stop).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_flowmodels3 as of_pictures  # noqa: E402
import train_flowmodels4 as of_tables  # noqa: E402
from flow_models.applications.classes import class_study  # noqa: E402
from flow_models.diagnostics.classification import class_metrics  # noqa: E402

SETS = ("iris", "wine", "breast_cancer", "digits", "pictures of digits")
SEEDS = (101, 102, 103, 104, 105)


def table(name: str, seed: int):
    """A problem and the model trained for it."""
    config = of_tables.Config(data=name, seed=seed, **of_tables.PRESETS["default"])
    problem = of_tables.load_data(config)
    model, settings = (
        of_tables.build_model(config, problem, config.form),
        of_tables.fit_settings(config, problem, config.form),
    )
    class_study.trained(
        model,
        problem,
        settings,
        of_tables.beta_of(config, problem, config.form),
        smoothing=of_tables.smoothing_of(config, problem),
    )
    return problem, model


def pictures(name: str, seed: int):
    """The same of pictures."""
    config = of_pictures.Config(data=name, seed=seed, **of_pictures.PRESETS["default"])
    problem = of_pictures.load_data(config)
    model, settings = (
        of_pictures.build_model(config, problem, config.form),
        of_pictures.fit_settings(config, problem),
    )
    class_study.trained(
        model,
        problem,
        settings,
        of_pictures.beta_of(config, problem, config.form),
        temperature=config.margin,
    )
    return problem, model


def of_split(name: str, seed: int) -> tuple[int, dict[str, float]]:
    """Test rows of a split, and accuracies by name."""
    problem, model = pictures("digits", seed) if name.startswith("pictures") else table(name, seed)
    found = {"flow": class_metrics(model.classify(problem.test.x), problem.test.y)["accuracy"]}
    found |= {
        key: each["accuracy"] for key, each in class_study.compare_baselines(problem, seed).items()
    }
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
