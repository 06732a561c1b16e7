"""What is measured, and where the values are collected."""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable
from pathlib import Path

from flows.worker import Worker, WorkerFailed

DEPTHS = {"realnvp": 8, "maf": 3, "spline": 5}
CHUNKS = {256: 100, 1024: 50}  # steps per compiled call and per row of our history
RATE = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "warmup": 0, "steps": 0, "clip": 0.0}
OPTIONS = {
    ("ours", "unrolled"): {"layers_per_loop_body": 0, "shards": 2},
    ("ours", "looped"): {"layers_per_loop_body": 1},
}
GAPS = (0.05, 0.02)  # nats


@dataclasses.dataclass
class Plan:
    """What to measure. Forms, models and batches stand in the order of measurement."""

    folder: Path
    """of the points and logs"""
    models: tuple[str, ...] = tuple(DEPTHS)
    batches: tuple[int, ...] = (256, 1024)
    forms: tuple[tuple[str, str], ...] = ()
    """(library, form) of throughput and first step"""
    rounds: int = 5
    round_seconds: float = 0.6
    points: int = 100_000
    """of log_prob and sample"""
    repeats: int = 2
    """fresh processes of time to first step"""
    quality: "QualityPlan | None" = None


@dataclasses.dataclass
class QualityPlan:
    """Time to quality: one recipe and size for all, those of application 1."""

    sizes: dict
    """by model, changes of the spec for every library: hidden, activation, bins, bound, batch and
    recipe"""
    forms: dict[tuple[str, str], dict]
    """(library, form) -> further changes"""
    truth: float
    """mean -log p of the validation points, nats"""
    validation: int
    """number of validation points"""
    models: tuple[str, ...] = ("spline",)
    seeds: int = 2
    every: int = 50
    """steps between looks at the validation points"""
    cap: float = 60.0
    """seconds of training, the longest that is waited for a gap"""


class Results:
    """Values by quantity, model, library and form; and what failed."""

    def __init__(self, progress: Callable[[str], None]):
        self.measurements: list[dict] = []
        self.failures: list[str] = []
        self.facts: dict[str, dict] = {}
        self.progress = progress

    def add(self, quantity: str, model: str, worker: Worker, value: float | None) -> None:
        """Adds a value; None stands for a gap that was not reached."""
        key = {"quantity": quantity, "model": model, "library": worker.library, "form": worker.form}
        for entry in self.measurements:
            if all(entry[name] == text for name, text in key.items()):
                entry["values"].append(value)
                return
        self.measurements.append({**key, "values": [value]})

    def about(self, worker: Worker) -> dict:
        """Notes facts about the worker's library, first its versions."""
        return self.facts.setdefault(worker.library, worker.ask("versions"))

    @contextlib.contextmanager
    def survive(self, workers: dict, worker: Worker):
        """Context in which the failure of a worker ends that worker only: it is noted and removed
        from `workers`."""
        try:
            yield
        except WorkerFailed as failure:
            self.failures.append(str(failure))
            self.progress(f"  {failure}")
            workers.pop(worker)


def spec(model: str, batch: int, worker: Worker, **changes) -> dict:
    """What to build: the sizes of the comparison."""
    sizes = {
        "model": model,
        "depth": DEPTHS[model],
        "hidden": [128, 128],
        "activation": "relu",
        "bins": 8,
        "bound": 5.0,
        "batch": batch,
        "chunk": CHUNKS.get(batch, 50),
        "seed": 0,
        "form": worker.form,
        "recipe": RATE,
        "validate": False,
    }
    return sizes | OPTIONS.get((worker.library, worker.form), {}) | changes


def median(values: list[float | None]) -> float | None:
    """The median; None, a gap not reached, counts as the longest time."""
    middle = statistics.median([math.inf if value is None else value for value in values])
    return None if math.isinf(middle) else middle
