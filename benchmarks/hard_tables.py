"""Tables whose columns are hard for 32-bit numbers and Gaussian tails, with known densities.

    make bench-tables                                    # all of them, default preset
    make bench-tables ARGS="--tables cauchy --steps 500" # prints, and writes nothing

Each table has a hard column x, and a column N(2 F(x), 0.5^2) with F the distribution function of x.
Application 1 learns a CSV of 10,000 rows as `python train_flowmodels1.py --data` does. kl is the
mean of log p(truth) - log p(model) over 20,000 fresh rows. Writes the table into doc/tables.md.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train_flowmodels1 as script
from flow_models.applications.application import Run
from flow_models.runs.config import nested

ROOT = Path(__file__).resolve().parents[1]
ROWS, TEST, COPIES = 10_000, 20_000, 5
DOC = ROOT / "doc" / "tables.md"
START, END = "<!-- make bench-tables -->", "<!-- end -->"
HEAD = "\n| table | x | bounds | kl, nats | standard error | seconds |\n|---|---|---|---|---|---|\n"


class Outliers:
    """97% of N(0, 1) and 3% of N(0, 100^2)."""

    parts = ((0.97, stats.norm()), (0.03, stats.norm(scale=100.0)))

    def rvs(self, size, random_state):
        far = random_state.random(size) < self.parts[1][0]
        return random_state.normal(size=size) * np.where(far, 100.0, 1.0)

    def logpdf(self, x):
        return np.logaddexp(*(np.log(share) + each.logpdf(x) for share, each in self.parts))

    def cdf(self, x):
        return sum(share * each.cdf(x) for share, each in self.parts)


TABLES = {  # name: words, the density of x, its bounds
    "student_t_3": ("Student's t, 3 degrees of freedom", stats.t(3), {}),
    "student_t_2": ("Student's t, 2 degrees of freedom", stats.t(2), {}),
    "cauchy": ("Cauchy", stats.cauchy(), {}),
    "outliers": ("97% N(0, 1), 3% N(0, 100^2)", Outliers(), {}),
    "duplicates": (f"N(0, 1), every row {COPIES} times", stats.norm(), {}),
    "near_constant": ("N(5, 1e-6^2)", stats.norm(5.0, 1e-6), {}),
    "utm": ("N(5.57e6, 2^2)", stats.norm(5.57e6, 2.0), {}),
    "epoch": ("N(1.7e9, 20^2)", stats.norm(1.7e9, 20.0), {}),
    "tiny": ("N(0, 1e-9^2)", stats.norm(0.0, 1e-9), {}),
    "huge": ("N(0, 1e9^2)", stats.norm(0.0, 1e9), {}),
    "uniform": ("uniform", stats.uniform(1000.0, 1.0), {"lower": 1000.0, "upper": 1001.0}),
    "beta": ("beta(1/2, 2)", stats.beta(0.5, 2.0), {"lower": 0.0, "upper": 1.0}),
    "exponential": ("exponential", stats.expon(), {"lower": 0.0}),
    "lognormal": ("log-normal, sigma 2", stats.lognorm(2.0), {"lower": 0.0}),
}


def drawn(density, rows: int, seed: int) -> np.ndarray:
    """Rows [N, 2]."""
    rng = np.random.default_rng(seed)
    x = density.rvs(rows, random_state=rng)
    return np.stack([x, 2 * density.cdf(x) + 0.5 * rng.normal(size=rows)], 1)


def log_truth(density, rows: np.ndarray) -> np.ndarray:
    """log p [N]."""
    x, y = rows.T
    return density.logpdf(x) + stats.norm.logpdf(y, 2 * density.cdf(x), 0.5)


def trained(name: str, folder: str, preset: str, **changed):
    """The model of a table, by a preset of application 1."""
    _, density, bounds = TABLES[name]
    copies = COPIES if name == "duplicates" else 1
    rows = np.repeat(drawn(density, ROWS // copies, 1), copies, 0)
    path = f"{folder}/{name}.csv"
    pd.DataFrame(rows, columns=["x", "y"]).to_csv(path, index=False)
    told = {side: {"x": bound} for side, bound in bounds.items()}
    settings = {**script.PRESETS[preset], "data": path, **told, **changed}
    config = nested(script.Config, settings)
    problem = script.load_data(config)
    return Run(script.APPLICATION, config, problem, None, None, None, None).train()[0]


def row_of(name: str, preset: str, **changed) -> str:
    """A row of the table."""
    words, density, bounds = TABLES[name]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model = trained(name, folder, preset, **changed)
    test = drawn(density, TEST, 2)
    gap = log_truth(density, test) - model.log_prob(test).astype(np.float64)
    found = f"{gap.mean():.4f} | {gap.std() / len(gap) ** 0.5:.4f}"
    ends = ", ".join(f"{side} {bound:g}" for side, bound in bounds.items())
    return f"| {name} | {words} | {ends} | {found} | {time.perf_counter() - start:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--preset", default="default", choices=list(script.PRESETS))
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    changed = {} if asked.steps is None else {"steps": asked.steps}
    rows = []
    for name in asked.tables:
        rows.append(row_of(name, asked.preset, **changed))
        print(rows[-1], flush=True)
    if asked.tables == list(TABLES) and asked.preset == "default" and not changed:
        before, _, rest = DOC.read_text().partition(START)
        after = rest.partition(END)[2]
        DOC.write_text(f"{before}{START}\n{HEAD}" + "\n".join(rows) + f"\n\n{END}{after}")
        print(f"wrote {DOC.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
