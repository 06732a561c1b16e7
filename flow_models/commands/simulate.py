"""Simulate pairs of parameters and data of your own problem, in parts, for `infer --pairs-from`.

    python -m flow_models simulate my_problem.py:simulate pairs/ --pairs 100000 --jobs 8
    python -m flow_models simulate my_problem.py:simulate s3://b/pairs --pairs 10000000 --part 7/100
    python -m flow_models infer my_problem.py:simulate --pairs-from s3://b/pairs

The file has a prior and a simulator, as `infer --help` says; it may lie in S3. Each simulation
follows from the seed and its number, so neither parts nor processes change it. A shard is a Parquet
file of half a minute of simulations, at most 100,000, a column for each parameter and datum; it
counts once the file of its part names it, so the same command after an interruption makes only
those that are missing. Simulations that raise an error or give NaN go into files of their own, with
the reason; `infer` reports p(valid | x).
"""

from __future__ import annotations

import argparse

from flow_models.commands import parts, seed
from flow_models.core.errors import UserError
from flow_models.core.share import WHOLE, Share

NEEDS_MODEL = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("problem", metavar="FILE.py:function", help="the simulator, local or s3://")
    add("folder", metavar="DEST", help="folder or s3:// prefix of the pairs")
    add("--pairs", type=int, default=10_000, metavar="N", help="of all parts (default 10000)")
    parts.add_part(parser, "do part I, from 0, of N of the pairs; each may run anywhere")
    add("--jobs", type=int, default=1, metavar="N", help="processes; 0: one a core (default 1)")
    add("--seed", type=seed, default=0, help="of parameters and noise (default 0)")


def run(given: argparse.Namespace) -> None:
    from flow_models.applications.inverse.simulating import simulate
    from flow_models.simulators.user_problem import UserProblem

    share = Share.parsed(given.part) if given.part else WHOLE
    if given.pairs < share.parts or given.jobs < 0:
        raise UserError(f"--pairs {given.pairs}, --jobs {given.jobs}: at least one pair a part")
    problem = UserProblem.read(given.problem)
    print(simulate(problem, given.folder, given.pairs, share, given.seed, given.jobs))
