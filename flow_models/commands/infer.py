"""Posteriors of your own problem: simulate, train, and say how far to trust them.

    x parameters (P)   <->   z (P), given y data

    python -m flow_models infer my_problem.py:simulate --pairs 10000
    python -m flow_models infer my_problem.py:simulate --pairs 10000 --observed data.csv
    python -m flow_models infer my_problem.py:simulate --jobs 8        # slow simulators
    python -m flow_models infer my_problem.py:simulate --observed data.csv --rounds 3
    python -m flow_models infer my_problem.py:simulate --pairs-from s3://bucket/pairs
    python -m flow_models infer my_problem.py:simulate --help          # all settings

The file has a prior and a simulator, plain Python and NumPy:

    prior = {"rate_per_h": (0.1, 2.0), "ambient_c": scipy.stats.norm(18, 4)}
    data_names = ["c_after_1_h", "c_after_2_h"]

    def simulate(x, rng):                # one simulation, noise included: x [P] to data [M]
        rate, ambient = x
        return ambient + (90 - ambient) * np.exp(-rate * np.array([1, 2])) + rng.normal(0, 1, 2)

A run writes what applications 5 to 7 write. Simulations are kept on disk as they come: the same
command after an interruption, or with more pairs or another network, makes only those that are
missing. doc/inverse_problems.md says more.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import flow_models as fm
from flow_models.applications import settings
from flow_models.applications.own_defaults import OwnFit

NEEDS_MODEL = False


@fm.settings
class Config:
    """Settings of your own problem."""

    problem: str = ""
    """FILE.py:function, the simulator; the prior stands in the same file"""
    pairs: int = 10_000
    """simulations to learn from, a tenth of them to watch the training on"""
    test_pairs: int = 500
    """further simulations, for calibration"""
    pairs_from: str = ""
    """folder or s3:// prefix of pairs that `python -m flow_models simulate` made; all of them are
    taken, and test_pairs of them are the test"""
    memory_limit_mb: float = 1024.0
    """pairs of a folder that need more are streamed from it, and not read into memory"""
    rounds: int = 1
    """of simulations, each but the first where the posterior of the observed data is, so far"""
    observed: str = ""
    """table of your data, local or s3://: a column for each datum, a row for each observation"""
    posterior_samples: int = 1000
    """of each posterior of the test"""
    resimulations: int = 100
    """samples of the posterior of your data that are simulated again; 0: none"""
    failures: str = "physical"
    """what a failed simulation says: physical (such parameters give no data) or numerical (nature
    would give data: pairs are weighted by 1 / p(valid | x))"""
    jobs: int = 1
    """processes that simulate; 0: one a core"""
    simulations_folder: str = ""
    """where simulations are kept; empty: ~/.cache/flow_models"""
    learning_curve: bool = False
    """train on a quarter and half of the pairs too, and say what more would gain"""
    truncate: bool = True
    """samples outside the bounds are rejected; false: the network knows the bounds, where rejection
    takes too long"""
    network: settings.OwnNetwork = settings.OwnNetwork()
    fit: OwnFit = OwnFit()
    run: fm.RunSettings = fm.RunSettings()

    def __post_init__(self):
        settings.check_own(self)


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "pairs": 1000,
        "test_pairs": 100,
        "posterior_samples": 200,
        "resimulations": 20,
        "steps": 200,
        "batch_size": 128,
        "depth": 2,
        "hidden": (32,),
    },
    "default": {},
    "full": {"pairs": 100_000, "test_pairs": 1000},
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    p, m = len(problem.user.names), len(problem.data_names)
    return {"conditional": fm.Partition({"x": p}, {"z": p}, given={"y": m})}


def load_data(config: Config):
    """The simulations, and the user's data."""
    from flow_models.applications.inverse import own

    return own.load(config)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    return problem.prepare(config).model


def training(config: Config, problem, model) -> fm.Training:
    """The valid pairs; then a density of the data, to know strange ones."""
    return problem.training(config)


def evaluate(run) -> fm.Results:
    """Calibration on fresh pairs, what failed, and the posteriors of the user's data."""
    from flow_models.applications.inverse import own_evaluation

    return own_evaluation.evaluate(run)


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("problem", metavar="FILE.py:function", help="the simulator")
    parser.add_argument("flags", nargs=argparse.REMAINDER, metavar="...", help="settings")


def run(given: argparse.Namespace) -> None:
    from flow_models.applications.application import train_and_report
    from flow_models.runs.config import parse
    from flow_models.runs.program import join_workers

    sys.argv = ["infer", given.problem, *given.flags]  # as reports and --help show it
    flags = [*given.flags, "--problem", given.problem]
    config = parse(Config, PRESETS, APPLICATION.description, flags)
    join_workers(config.fit.strategy)
    train_and_report(APPLICATION, config)
