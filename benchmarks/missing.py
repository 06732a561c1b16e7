"""Cells missing completely at random: how far is a density from the truth, way by way?

    make bench-missing                                          # half an hour on two cores
    make bench-missing ARGS="--data moons --shares 0.3"         # prints, and writes nothing

Four trainings on 10,000 rows of a known density: what is observed of every row
(`architectures.with_missing`), rows without missing cells alone, missing cells filled by the mean
of their column, and rows that lack nothing. Prints -log p of complete held-out rows less the
entropy, nats, and writes the table into doc/tables.md.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import flow_models as fm
from flow_models.data import points

ROOT = Path(__file__).resolve().parents[1]

ROWS, TEST, SHARES = 10_000, 10_000, (0.1, 0.3, 0.5)
CORRELATION = 0.8 ** np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
SETTINGS = fm.FitSettings(steps=1200, batch_size=256, eval_every_steps=250, learning_rate=2e-3)
WAYS = ("model", "drop", "mean")
DOC = ROOT / "doc" / "tables.md"
START, END = "<!-- make bench-missing -->", "<!-- end -->"
HEAD = """
| data | cells missing | observed cells modelled | rows dropped | mean filled in | nothing missing |
|---|---|---|---|---|---|
"""


class Gaussian:
    """Five columns of variance 1, neighbours correlated by 0.8."""

    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * CORRELATION)[1]

    def draw(self, n, seed):
        return np.random.default_rng(seed).multivariate_normal(np.zeros(5), CORRELATION, n)

    def log_prob(self, x):
        inverse = np.linalg.inv(CORRELATION)
        log_det = np.linalg.slogdet(2 * np.pi * CORRELATION)[1]
        return -0.5 * (np.einsum("ni,ij,nj->n", x, inverse, x) + log_det)


DATA = {"Gaussian, 5 columns": Gaussian(), "moons": points.get("moons")}


def hidden(x, share: float, seed: int = 1):
    """Rows with a share of their cells missing."""
    return np.where(np.random.default_rng(seed).random(x.shape) < share, np.nan, x)


def made_for(x, way: str):
    """The network and the rows of a way with missing cells."""
    flow = fm.spline_coupling(
        x.shape[1], depth=4, hidden=(64, 64), affine=True, layers_per_loop_body=1
    )
    if way == "model":
        return fm.architectures.with_missing(flow, x.shape[1]), x
    if way == "drop":
        return flow, x[~np.isnan(x).any(1)]
    return flow, np.where(np.isnan(x), np.nanmean(x, 0), x)


def excess(truth, x, test, way: str) -> float:
    """Mean of log p_true - log p over complete test rows, nats, of a model of rows x."""
    flow, rows = made_for(x, way)
    model, cut = fm.Model(flow), len(rows) // 10
    fm.fit(model, rows[cut:], rows[:cut], SETTINGS, progress=False)
    return float((truth.log_prob(test) - model.log_prob(test)).mean())


def rows_of(name: str, shares) -> list[str]:
    """Lines of the table."""
    truth, found = DATA[name], []
    x, test = (np.asarray(truth.draw(n, (seed, 0))) for n, seed in ((ROWS, 0), (TEST, 1)))
    whole = excess(truth, x, test, "drop")
    for share in shares:
        values = [excess(truth, hidden(x, share), test, way) for way in WAYS]
        numbers = " | ".join(f"{value:.3f}" for value in (*values, whole))
        found.append(f"| {name} | {share:.0%} | {numbers} |")
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    asked = parser.parse_args()
    rows = [row for name in asked.data for row in rows_of(name, asked.shares)]
    if (list(asked.data), tuple(asked.shares)) == (list(DATA), SHARES):
        before, _, rest = DOC.read_text().partition(START)
        table = HEAD + "\n".join(rows) + "\n"
        DOC.write_text(f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}")
        print(f"wrote {DOC.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
