"""A worker: one process that holds one library and answers commands, one line of JSON each way.

    {"command": "build", "spec": {...}}       -> {"parameters": 136208, "chunk": 100}
    {"command": "train", "steps": 100}        -> {"seconds": 0.41}
    {"command": "log_prob", "points": 100000} -> {"seconds": 0.25}

It stays alive between commands and computes only while it answers one, so that several libraries
can take turns on one machine. A spec has model, depth, hidden, activation, bins, bound, batch,
chunk, seed, form, recipe and, for some libraries, more (see `bench_flows.py`).
"""

import importlib.metadata
import json
import math
import os
import sys
import time
import traceback

import numpy as np

from flows.data import load


class Library:
    """What a library has to do. Arrays are NumPy float32 [n, 2], in the units of `self.data`."""

    standardised = True  # trains on standardised points; False if the model standardises
    packages: tuple[str, ...] = ()  # whose versions are reported
    commands: tuple[str, ...] = ()  # further ones, answered by its methods of these names

    def __init__(self, folder: str):
        self.data = load(folder, self.standardised)

    def build(self, spec: dict) -> dict:
        """Makes a new model and optimizer. Returns parameters, and chunk: `train` takes multiples
        of it."""
        raise AssertionError("a library builds a model")

    def train(self, steps: int) -> float:
        """Runs optimizer steps, compiling first. Returns wall-clock seconds."""
        raise AssertionError("a library trains")

    def tune(self, points: int) -> dict:
        """Chooses the number of threads of each task by trial, if the library does not do so
        itself."""
        return {}

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log densities [n]."""
        raise AssertionError("a library has densities")

    def sample(self, n: int) -> np.ndarray:
        """Draws [n, 2]."""
        raise AssertionError("a library draws")

    def nll(self) -> float:
        """Mean -log q of the validation points, nats, in the units of the set."""
        return self.data.log_scale - float(
            np.mean(self.log_prob(self.data.validation), dtype=np.float64)
        )


class Batches:
    """Row numbers of batches in shuffled passes; the incomplete last batch of a pass is dropped."""

    def __init__(self, rows: int, batch: int, seed: int):
        self.rows, self.batch, self.random = rows, batch, np.random.default_rng(seed)
        self.order, self.next = None, rows

    def take(self, n: int) -> np.ndarray:
        """The next n batches, int64 [n, batch]."""
        index = np.empty((n, self.batch), np.int64)
        for i in range(n):
            if self.next + self.batch > self.rows:
                self.order, self.next = self.random.permutation(self.rows), 0
            index[i] = self.order[self.next : self.next + self.batch]
            self.next += self.batch
        return index


def rate(recipe: dict, step: int) -> float:
    """Learning rate at a step (0, 1, ...): constant, or linear warm-up and cosine to zero at
    recipe["steps"]."""
    highest, warmup, steps = recipe["learning_rate"], recipe["warmup"], recipe["steps"]
    if not steps:
        return highest
    done = min(max((step - warmup) / max(steps - warmup, 1), 0.0), 1.0)
    return highest * min(1.0, (step + 1) / max(warmup, 1)) * 0.5 * (1 + math.cos(math.pi * done))


def memory_mb(field: str = "VmHWM") -> float:
    """Resident memory of this process, MB: highest (VmHWM; ru_maxrss would include the parent's) or
    now (VmRSS)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) / 1024


def _timed(function, *arguments) -> dict:
    began = time.perf_counter()
    result = function(*arguments)
    seconds = time.perf_counter() - began
    finite = np.isfinite(result).mean()
    if finite < 0.9:  # single draws overflow if the scale of a coupling has no bound
        raise FloatingPointError(f"only {finite:.0%} of the result is finite")
    return {"seconds": seconds}


def _answer(library: Library, command: str, request: dict) -> dict:
    if command == "build":
        return library.build(request["spec"])
    if command == "train":
        return {"seconds": library.train(request["steps"])}
    if command == "tune":
        return library.tune(request["points"])
    if command == "log_prob":
        return _timed(library.log_prob, library.data.train[: request["points"]])
    if command == "sample":
        return _timed(library.sample, request["points"])
    if command == "nll":
        return {"nll": library.nll()}
    if command == "versions":
        return {"versions": {name: importlib.metadata.version(name) for name in library.packages}}
    if command == "memory":
        return {"peak_mb": memory_mb()}
    if command in library.commands:
        return getattr(library, command)(
            **{name: value for name, value in request.items() if name != "command"}
        )
    raise ValueError(f"no command {command!r}")


def serve(library_class: type[Library]) -> None:
    """Answers commands from stdin until it closes; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    library = library_class(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = _answer(library, request["command"], request)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=answers, flush=True)
    os._exit(0)  # threads that wait for a command would hold the process
