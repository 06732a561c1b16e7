"""Simulations ahead of the training: in parallel processes, kept on disk as they come."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from flow_models.core import archive, storage
from flow_models.core.errors import UserError, warn
from flow_models.simulators.user_problem import NOTHING, Simulated, UserProblem, simulate

FIRST = 20  # simulations, of which one must give data
SECONDS = 10.0  # between files of simulations: what a kill may lose
SHOWN = 3  # kinds of failures that are told


@dataclass
class Pairs:
    """Parameters x [N, P] and data y [N, M], NaN where a simulation failed, and why [N]."""

    x: np.ndarray
    y: np.ndarray
    why: np.ndarray
    data_names: tuple[str, ...]

    @property
    def valid(self) -> np.ndarray:
        """Which simulations gave data, [N]."""
        return self.why == ""

    def only(self, rows: np.ndarray) -> Pairs:
        """Those of a mask [N]."""
        return Pairs(self.x[rows], self.y[rows], self.why[rows], self.data_names)

    def failures(self) -> list[tuple[str, int]]:
        """The first message of each kind of failure (file, line, error) and how many there are."""
        messages = [str(text) for text in self.why if text]
        kinds = [re.sub(r"(line \S+: \w+).*", r"\1", text) for text in messages]
        first = dict(zip(reversed(kinds), reversed(messages)))
        return [(first[kind], n) for kind, n in Counter(kinds).most_common()]


class Ahead:
    """Simulations of a problem, kept in a folder: what is there is not simulated again.

    Args:
      folder: of these simulations alone, on a local disk.
      seed: of the noise; with the number of the row it decides each simulation, whatever the
        number of processes.
      jobs: processes; 0 for one a core.
    """

    def __init__(self, problem: UserProblem, folder: str, seed: Sequence[int], jobs: int = 1):
        self.problem, self.folder, self.seed = problem, folder, tuple(seed)
        self.jobs = jobs or os.cpu_count() or 1
        self.names: tuple[str, ...] = problem.data_names or ()
        self.done: dict[int, tuple[np.ndarray, np.ndarray, str]] = {}
        self.new: list[int] = []
        self._read()

    def pairs(self, x: np.ndarray, what: str = "simulating") -> Pairs:
        """The simulations of parameters x [N, P]; row i has the random numbers of row i.

        Raises:
          UserError: none of the first simulations gives data, or they differ in width.
        """
        left = [i for i in range(len(x)) if not self._has(i, x[i])]
        kept = len(x) - len(left)
        if kept > FIRST:
            print(f"{kept:,} of {len(x):,} simulations are in {self.folder}", file=sys.stderr)
            self._check_first(x)
        if left and all(why for _, _, why in self.done.values()):
            self._simulate(x, left[:FIRST], what)
            left = left[FIRST:]
            self._check(x)
        self._simulate(x, left, what)
        return self._check(x)

    def first_names(self, x: np.ndarray) -> tuple[str, ...]:
        """Names of the data of parameters x [N, P], from the first simulations."""
        left = [i for i in range(min(FIRST, len(x))) if not self._has(i, x[i])]
        self._simulate(x, left, "first simulations")
        return self._check(x).data_names

    def _simulate(self, x: np.ndarray, rows: list[int], what: str) -> None:
        """Simulates rows and keeps them; what is done is kept also where it ends early."""
        from tqdm import tqdm

        saved = time.monotonic()
        bar = tqdm(total=len(x), initial=len(x) - len(rows), desc=what, disable=None, leave=False)
        try:
            with bar, contextlib.closing(self._results(x, rows)) as results:
                for row, (y, why, names) in results:
                    self._take(row, x[row], y, why, names)
                    bar.update()
                    if time.monotonic() - saved > SECONDS:
                        self._write()
                        saved = time.monotonic()
        finally:
            self._write()

    def _results(self, x, rows) -> Generator[tuple[int, Simulated], None, None]:
        """(row, its simulation), as they come."""
        yield from results(self.problem, x, rows, self.seed, self.jobs, self.folder)

    def _take(self, row: int, x, y, why: str, names: tuple[str, ...]) -> None:
        if names:
            self.names = self.names or names
            if not why:
                y = in_order(self.problem, row, y, names, self.names)
        self.done[row] = (x, y, why)
        self.new.append(row)

    def _has(self, row: int, x: np.ndarray) -> bool:
        return row in self.done and np.array_equal(self.done[row][0], x)

    def _check(self, x: np.ndarray) -> Pairs:
        """The simulations of x as arrays, where there are any and they are alike."""
        there = [i for i in range(len(x)) if self._has(i, x[i])]
        rows, why = ([self.done[i][part] for i in there] for part in (1, 2))
        width = max(map(len, rows), default=0)
        if not width:
            raise UserError(f"none of {len(rows)} simulations gives data; the first: {why[0]}")
        names = self.names or tuple(f"y{i + 1}" for i in range(width))
        for row, y in zip(there, rows):
            if len(y) not in (0, len(names)):
                raise UserError(
                    f"{self.problem.file}: simulation {row} gives {len(y)} data where {len(names)}"
                    " are expected"
                )
        gap = np.full(len(names), np.nan)
        y = np.stack([y if len(y) else gap for y in rows])
        return Pairs(x[there], y, np.array(why), names)

    def _check_first(self, x: np.ndarray) -> None:
        """Warns where the problem gives other data now than those kept, as of a file it reads."""
        row = next((i for i, (_, _, why) in sorted(self.done.items()) if not why), None)
        if row is None or row >= len(x) or not self._has(row, x[row]):
            return
        kept = self.done[row][1]
        again = simulate(self.problem.path, self.problem.function, x[row], (*self.seed, row))[0]
        if len(again) != len(kept) or not np.allclose(
            np.sort(again), np.sort(kept), rtol=1e-9, atol=0
        ):
            warn(
                f"{self.problem.function} gives other data now than those kept in {self.folder}:"
                " if the model has changed, delete this folder"
            )

    def _read(self) -> None:
        """Takes up the simulations of the folder; files that are damaged are left out."""
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "part-*.npz"))):
            try:
                with np.load(path, allow_pickle=False) as file:
                    rows, x, y, why, names = (
                        file[key] for key in ("row", "x", "y", "why", "names")
                    )
            except (OSError, ValueError, EOFError, KeyError):
                warn(f"{path} is damaged: its simulations are made anew")
                continue
            self.names = self.names or tuple(map(str, names))
            for i, row in enumerate(rows):
                self.done[int(row)] = (x[i], NOTHING if why[i] else y[i], str(why[i]))

    def _write(self) -> None:
        """Writes the new simulations into a file of their own."""
        if not self.new:
            return
        rows, self.new = self.new, []
        found = [self.done[row] for row in rows]
        y = np.full((len(rows), max(len(data) for _, data, _ in found)), np.nan)
        for i, (_, data, _) in enumerate(found):
            y[i, : len(data)] = data
        arrays = {
            "row": np.array(rows),
            "x": np.stack([each[0] for each in found]),
            "y": y,
            "why": np.array([each[2] for each in found]),
            "names": np.array(self.names, str),
        }
        name = f"part-{time.time_ns()}-{os.getpid()}.npz"
        storage.write_bytes(os.path.join(self.folder, name), archive.to_bytes(arrays))


def in_order(
    problem: UserProblem, row: int, y: np.ndarray, own: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Data [M] of a simulation in the order of `names`; as they are where they have no own names.

    Raises:
      UserError: they have other names.
    """
    if not own:
        return y
    if sorted(own) != sorted(names):
        raise UserError(
            f"{problem.file}: simulation {row} gives {len(own)} data, {', '.join(own)}, where"
            f" {len(names)} are expected: {', '.join(names)}"
        )
    return y[[own.index(name) for name in names]]


def results(
    problem: UserProblem, x, rows: Sequence[int], seed: Sequence[int], jobs: int, folder: str
) -> Generator[tuple[int, Simulated], None, None]:
    """(row, simulation of x[row]) of some rows, as they come; `folder` is where the user finds
    those that are done.

    Raises:
      UserError: a process died.
    """
    path, function = problem.path, problem.function
    if jobs == 1:
        yield from ((row, simulate(path, function, x[row], (*seed, row))) for row in rows)
        return
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool = joblib.Parallel(jobs, return_as="generator_unordered")
    calls = (joblib.delayed(_numbered)(path, function, x[row], seed, row) for row in rows)
    try:
        yield from pool(calls)
    except TerminatedWorkerError:
        raise UserError(
            f"a process that ran {function} died, perhaps for lack of memory: the finished"
            f" simulations are kept in {folder}; the same command goes on, with fewer"
            " --jobs if need be"
        ) from None


def _numbered(path: str, function: str, x: np.ndarray, seed: Sequence[int], row: int):
    return row, simulate(path, function, x, (*seed, row))


def told(pairs: Pairs, counts: tuple[int, int]) -> str:
    """How many simulations failed, and of what, in a sentence; empty where none did.

    Args:
      counts: of valid and failed ones, of which `pairs` may be some.
    """
    failed = counts[1]
    if not failed:
        return ""
    known = int(np.sum(~pairs.valid))
    kinds = "; ".join(f"{text} ({n:,})" for text, n in pairs.failures()[:SHOWN])
    some = f"of {known:,} of them: " if known < failed else ""
    return f"{failed:,} of {sum(counts):,} simulations failed and are left out: {some}{kinds}."


def together(parts: Sequence[Pairs]) -> Pairs:
    """All pairs of several parts."""
    x, y, why = (np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS)
    return Pairs(x, y, why, parts[0].data_names)


_ARRAYS = ("x", "y", "why")
