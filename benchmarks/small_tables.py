"""Tables of few rows: the default run of application 1 beside a Gaussian, a kernel density estimate
and a Gaussian mixture, over splits whose seeds chose no default.

    make bench-small-tables                                   # four tables, five splits
    make bench-small-tables ARGS="--tables iris --seeds 201"  # prints, and writes nothing

Each run learns a CSV of scikit-learn's features, as `python train_flowmodels1.py --data` does with
the default preset. Prints -log p of the held-out rows of each split, and writes the table into
doc/tables.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_flowmodels1 as script
from flow_models.applications import mapping
from flow_models.applications.application import Run
from flow_models.runs.config import nested

ROOT = Path(__file__).resolve().parents[1]

TABLES = ("iris", "wine", "breast_cancer", "diabetes")
SEEDS = (301, 302, 303, 304, 305)
NAMES = ("", "gaussian", "kde", "mixture")
DOC = ROOT / "doc" / "tables.md"
START, END = "<!-- make bench-small-tables -->", "<!-- end -->"
HEAD = """
| table | rows | this flow | Gaussian | kernels | mixture | flow less the best |
|---|---|---|---|---|---|---|
"""


def trained(path: str, seed: int):
    """The problem of a table and a seed, and the model trained for it, by the default preset."""
    settings = {**script.PRESETS["default"], "data": path, "seed": seed}
    config = nested(script.Config, settings)
    problem = script.load_data(config)
    model, _ = Run(script.APPLICATION, config, problem, None, None, None, None).train()
    return problem, model


def of_split(name: str, seed: int, folder: str) -> np.ndarray:
    """-log p of the held-out rows of a split [N, 4], in the order of NAMES."""
    import sklearn.datasets

    frame = getattr(sklearn.datasets, f"load_{name}")(as_frame=True).data
    path = f"{folder}/{name}.csv"
    frame.to_csv(path, index=False)
    problem, model = trained(path, seed)
    found = mapping.log_probs(model, problem)
    return -np.stack([found[each] for each in NAMES], 1)


def row_of(name: str, splits: list[np.ndarray]) -> str:
    """A row of the table: means over all held-out rows, and the paired difference."""
    nll = np.concatenate(splits)
    means = nll.mean(0)
    gap = nll[:, 0] - nll[:, 1 + means[1:].argmin()]
    values = " | ".join(f"{value:.3f}" for value in means)
    error = gap.std() / len(gap) ** 0.5
    return f"| {name} | {len(nll)} | {values} | {gap.mean():.3f} +- {error:.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    asked = parser.parse_args()
    rows = []
    for name in asked.tables:
        splits = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in asked.seeds:
                splits.append(of_split(name, seed, folder))
                each = zip(("flow", *NAMES[1:]), splits[-1].mean(0))
                print(f"{name} {seed}:", ", ".join(f"{k} {v:.3f}" for k, v in each), flush=True)
        rows.append(row_of(name, splits))
        print(rows[-1], flush=True)
    if (tuple(asked.tables), tuple(asked.seeds)) == (TABLES, SEEDS):
        before, _, rest = DOC.read_text().partition(START)
        after = rest.partition(END)[2]
        table = HEAD + "\n".join(rows) + "\n"
        DOC.write_text(f"{before}{START}\n{table}\n{END}{after}")
        print(f"wrote {DOC.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
