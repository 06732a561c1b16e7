"""Part i of n of the simulations of a user's own problem, kept as shards of pairs."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flow_models.applications import own_shards
from flow_models.applications.own_shards import FAILED, KIND, PairShards, Streamed
from flow_models.core.errors import UserError
from flow_models.core.share import Share
from flow_models.data.shards.folder import SHARD_BYTES, Part
from flow_models.simulators import ahead
from flow_models.simulators.ahead import Pairs
from flow_models.simulators.user_problem import Simulated, UserProblem

if TYPE_CHECKING:
    import pyarrow as pa

SECONDS = 30.0  # that a shard of simulations is meant to take: what a kill may lose
MOST = 100_000  # simulations of a shard
LEAST_VALID = 1000  # simulations among which one must give data
PATIENCE = 5.0  # seconds after which the pace of a simulator is known well enough


def simulate(
    problem: UserProblem, folder: str, pairs: int, share: Share, seed: int = 0, jobs: int = 1
) -> str:
    """Simulates a part of so many pairs; shards that are there are left. Returns what was done, in
    words. Each simulation follows from the seed and its number, not from parts or processes.

    Raises:
      UserError: none gives data, they differ in width, or the folder has other pairs.
    """
    settings = {"function": problem.function, "code": problem.key, "pairs": pairs, "seed": seed}
    settings["names"] = list(problem.names)
    part = Part(folder, share, KIND, settings)
    if part.is_done:
        part.finish()
        return f"part {share.number} of {share.parts} is there already"
    ours = range(share.number * pairs // share.parts, (share.number + 1) * pairs // share.parts)
    run = _Run(problem, (seed, 0), jobs or os.cpu_count() or 1, folder)
    if part.found is None:
        part.begin(run.begun(ours))
    names, size = part.found["data_names"], part.found["_size"]
    for number, first in enumerate(range(ours.start, ours.stop, size)):
        if not (part.has("train", number) and part.has(FAILED, number)):
            valid, failed = run.block(first, min(first + size, ours.stop), names)
            part.add("train", number, valid)
            part.add(FAILED, number, failed)
    last = part.finish()
    failures = part.rows(FAILED)
    said = f"{part.rows() - failures:,} pairs of part {share.number} of {share.parts} are in"
    return f"{said} {folder}; {failures:,} simulations failed and are left out" + (
        "; all parts are done" if last else ""
    )


class _Run:
    """Simulations by their numbers."""

    def __init__(self, problem: UserProblem, seed: Sequence[int], jobs: int, folder: str):
        self.problem, self.seed, self.jobs, self.folder = problem, seed, jobs, folder

    def begun(self, rows: range) -> dict:
        """Names of the data, and how many simulations make a shard: from the first simulations, of
        which one must give data."""
        tried, first = rows[:LEAST_VALID], ""
        known: tuple[str, ...] = ()
        began = last = time.perf_counter()
        fastest = np.inf
        for count, (_, (y, why, names)) in enumerate(self._results(tried.start, tried.stop, 1), 1):
            last, before = time.perf_counter(), last
            fastest, first = min(fastest, last - before), first or why
            if not why:
                known = self.problem.data_names or names
                known = known or tuple(f"y{i + 1}" for i in range(len(y)))
            if known and (count >= ahead.FIRST or last - began > PATIENCE):
                break
        if not known:
            raise UserError(f"none of {len(tried)} simulations gives data; the first: {first}")
        self._check(known)
        most = min(MOST, SHARD_BYTES // (8 * (len(self.problem.names) + len(known))))
        size = int(np.clip(self.jobs * SECONDS / fastest, 1, max(most, 1)))
        return {"data_names": list(known), "_size": size}

    def _check(self, names: Sequence[str]) -> None:
        both = set(names) & set(self.problem.names)
        if both:
            raise UserError(f"{min(both)!r} is the name of a parameter and of a datum: rename one")

    def block(self, first: int, last: int, names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """The pairs of simulations first to last - 1, and those that failed, with the reason."""
        import pyarrow as pa

        x = self.problem.prior_rows(first, last, self.seed)
        y, why = np.full((last - first, len(names)), np.nan), np.full(last - first, "", object)
        for row, (data, reason, own) in self._results(first, last, self.jobs, x):
            if not reason and len(data) != len(names):
                raise UserError(
                    f"{self.problem.file}: simulation {row} gives {len(data)} data where"
                    f" {len(names)} are expected"
                )
            if not reason:
                y[row - first] = ahead.in_order(self.problem, row, data, own, names)
            why[row - first] = reason
        valid = why == ""
        columns = dict(zip(self.problem.names, x.T)) | dict(zip(names, y.T))
        pairs = {name: pa.array(column[valid]) for name, column in columns.items()}
        lost = {name: pa.array(columns[name][~valid]) for name in self.problem.names}
        lost[FAILED] = pa.array(why[~valid].tolist(), pa.string())
        return pa.table(pairs), pa.table(lost)

    def _results(
        self, first: int, last: int, jobs: int, x: np.ndarray | None = None
    ) -> Iterator[tuple[int, Simulated]]:
        from tqdm import tqdm

        x = self.problem.prior_rows(first, last, self.seed) if x is None else x
        by_number = _From(first, x)
        found = ahead.results(
            self.problem, by_number, range(first, last), self.seed, jobs, self.folder
        )
        yield from tqdm(found, "simulating", last - first, disable=None, leave=False)


class _From:
    """Rows of an array, numbered from `first` on."""

    def __init__(self, first: int, rows: np.ndarray):
        self._first, self._rows = first, rows

    def __getitem__(self, number: int) -> np.ndarray:
        return self._rows[number - self._first]


@dataclasses.dataclass(frozen=True)
class Loaded:
    """Pairs of a folder.

    Attributes:
      train: for training, with the failed simulations; where pairs are streamed, some of both, in
        proportion.
      test: the last valid ones.
      valid, failed: how many there are of `train` in all.
      streamed: the training pairs where they do not fit in memory.
    """

    train: Pairs
    test: Pairs
    valid: int
    failed: int
    streamed: Streamed | None = None


def load(
    problem: UserProblem, folder: str, test_pairs: int, memory_mb: float = own_shards.MEMORY
) -> Loaded:
    """All pairs of a folder: the last `test_pairs` valid ones for the test, the others, and the
    failed simulations, for training; what needs more than so many MB is streamed.

    Raises:
      UserError: not all parts are done, another problem's pairs, or too few.
    """
    shards = PairShards(folder)
    if shards.about["code"] != problem.key or shards.about["function"] != problem.function:
        raise UserError(
            f"{folder} holds pairs of other code than {problem.file}:{problem.function}: simulate"
            " them again, into another folder"
        )
    valid, failed = len(shards) - test_pairs, len(shards.failed)
    if valid < test_pairs:
        raise UserError(
            f"{folder} has {len(shards):,} valid pairs, too few for {test_pairs} test_pairs"
        )
    in_memory = shards.fits(memory_mb)
    told = "are" if in_memory else "are streamed: they are"
    print(
        f"{len(shards):,} pairs and {failed:,} failed simulations {told} in {folder}",
        file=sys.stderr,
    )
    share = 1.0 if in_memory else min(own_shards.SAMPLE / (valid + failed), 1.0)
    train = _with_failures(shards, int(np.ceil(share * valid)), int(np.ceil(share * failed)))
    x, y = shards.pairs(valid, len(shards))
    test = Pairs(x, y, np.full(test_pairs, ""), shards.data_names)
    streamed = None if in_memory else Streamed(shards, memory_mb * 2**20, test_pairs)
    return Loaded(train, test, valid, failed, streamed)


def _with_failures(shards: PairShards, valid: int, failed: int) -> Pairs:
    """The first so many pairs, and failed simulations behind them."""
    x, y = shards.pairs(0, valid)
    lost, why = shards.failures(failed)
    gap = np.full((len(lost), y.shape[1]), np.nan)
    reasons = np.array([""] * valid + why, str)
    return Pairs(np.concatenate([x, lost]), np.concatenate([y, gap]), reasons, shards.data_names)
