"""Simulations spent in rounds where one observation needs them, against one round of as many.

    python benchmarks/rounds.py
    python benchmarks/rounds.py crescent --pairs 1000 --rounds 1 3

KL(exact || flow) in nats for one observation, from exact draws: `narrow`, two parameters that the
data pin down to a thousandth of each side of a uniform prior, and `crescent`, a thin crescent in a
square (two moons of the benchmark of simulation-based inference, Lueckmann et al. 2021, a quarter
as thick). A table a problem: simulations in all, rounds, KL, C2ST and its null, share of the prior
that the last round draws from, processor seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from flow_models.applications.inverse import own
from flow_models.commands.infer import Config
from flow_models.diagnostics.two_sample import c2st
from flow_models.training.trainer import Trainer

DRAWS = 4000  # of the exact posterior
NARROW = """
prior = {"a": (-50.0, 50.0), "b": (-50.0, 50.0)}

def simulate(x, rng):
    return [x[0] + x[1] + 0.1 * rng.normal(), x[0] - x[1] + 0.1 * rng.normal()]
"""
CRESCENT = """
import numpy as np
prior = {"a": (-1.0, 1.0), "b": (-1.0, 1.0)}

def simulate(x, rng):
    angle, radius = rng.uniform(-np.pi / 2, np.pi / 2), rng.normal(0.1, 0.0025)
    shift = [-abs(x[0] + x[1]) / 2**0.5, (x[1] - x[0]) / 2**0.5]
    return np.array([radius * np.cos(angle) + 0.25, radius * np.sin(angle)]) + shift
"""


def narrow_posterior(n: int, rng) -> tuple[np.ndarray, float]:
    """Draws [n, 2] for y = (3, 1), and their entropy."""
    spread = 0.1 / 2**0.5
    x = np.array([2.0, 1.0]) + spread * rng.normal(size=(n, 2))
    return x, float(np.log(2 * np.pi * np.e * spread**2))


def crescent_posterior(n: int, rng) -> tuple[np.ndarray, float]:
    """Draws [n, 2] for y = (0, 0), and their entropy, by the density of radius and angle."""
    angle, radius = rng.uniform(-np.pi / 2, np.pi / 2, n), rng.normal(0.1, 0.0025, n)
    shift = np.stack([-(radius * np.cos(angle) + 0.25), -radius * np.sin(angle)], 1)
    along = -shift[:, 0] * rng.choice([-1.0, 1.0], n)  # (a + b) / sqrt(2), of either sign
    x = np.stack([along - shift[:, 1], along + shift[:, 1]], 1) / 2**0.5
    log_p = -0.5 * ((radius - 0.1) / 0.0025) ** 2 - 0.5 * np.log(2 * np.pi * 0.0025**2)
    log_p += -np.log(np.pi) - np.log(radius) - np.log(2)
    return x, float(-log_p.mean())


PROBLEMS = {
    "narrow": (NARROW, [3.0, 1.0], narrow_posterior),
    "crescent": (CRESCENT, [0.0, 0.0], crescent_posterior),
}


def measured(name: str, pairs: int, rounds: int, seed: int, folder: Path) -> tuple:
    """KL, C2ST, share of the prior and seconds of one setting."""
    text, y, posterior = PROBLEMS[name]
    (folder / f"{name}.py").write_text(text)
    (folder / f"{name}.csv").write_text("y1,y2\n" + ",".join(map(str, y)) + "\n")
    config = Config(
        problem=f"{folder}/{name}.py:simulate",
        pairs=pairs,
        test_pairs=20,
        rounds=rounds,
        observed=f"{folder}/{name}.csv",
        simulations_folder=str(folder / f"kept-{pairs}-{rounds}"),
    )
    config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, seed=seed))
    began = time.process_time()
    problem = own.load(config)
    ready = problem.prepare(config)
    Trainer(ready.model, ready.train, ready.held, ready.settings).run(progress=False)
    seconds = time.process_time() - began
    x, entropy = posterior(DRAWS, np.random.default_rng(seed))
    kl = -float(np.mean(ready.model.log_prob(x, y))) - entropy
    drawn = ready.model.posterior(y, DRAWS, seed=seed)
    null = c2st(x[: DRAWS // 2], x[DRAWS // 2 :])
    return kl, c2st(drawn[: DRAWS // 2], x[: DRAWS // 2]), null, problem.shares[-1], seconds


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("problems", nargs="*", default=list(PROBLEMS))
    p.add_argument("--pairs", nargs="+", type=int, default=[1000, 3000])
    p.add_argument("--rounds", nargs="+", type=int, default=[1, 3])
    given = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in given.problems:
            print(f"\n| {name}: simulations | rounds | KL, nats | C2ST | null | share | seconds |")
            print("|---|---|---|---|---|---|---|")
            for pairs in given.pairs:
                for rounds in given.rounds:
                    found = measured(name, pairs, rounds, 0, Path(folder))
                    cells = " | ".join(f"{value:.3g}" for value in found)
                    print(f"| {pairs:,} | {rounds} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
