"""What is measured for image flows: problems, forms of each library, and how long."""

import dataclasses
from pathlib import Path

from flows.plan import RATE
from flows.worker import Worker

GLOW = {"model": "glow", "depth": 8, "levels": 3, "hidden": [128, 128], "base": "channel"}
PROBLEMS = {
    "glow_32": GLOW | {"shape": [32, 32, 3], "batch": 32, "images": "noise_32x32x3"},
    "glow_64": GLOW | {"shape": [64, 64, 3], "batch": 16, "images": "noise_64x64x3"},
    "flat_28": {
        "model": "flat",
        "depth": 8,
        "hidden": [512, 512],
        "shape": [28, 28, 1],
        "batch": 128,
        "images": "noise_28x28x1",
        "chunk": 10,
    },
    "silhouettes": (
        GLOW
        | {
            "levels": 2,
            "hidden": [64, 64],
            "shape": [28, 28, 1],
            "batch": 64,
            "images": "silhouettes_train",
        }
    ),
}
# for everything timed: the weights must not diverge, and the time is the same
SLOW = RATE | {"learning_rate": 1e-5}
SPEED = ("glow_32", "glow_64", "flat_28")
FORMS = {  # (library, form) -> what it adds to the problem
    ("ours", "default"): {"reversible": "auto", "layers_per_loop_body": 1},
    ("ours", "unrolled"): {"reversible": "no", "layers_per_loop_body": 0, "shards": 0},
    ("ours", "plain"): {"reversible": "no", "layers_per_loop_body": 1},
    ("ours", "reversible"): {"reversible": "yes", "layers_per_loop_body": 1},
    ("normflows", "eager"): {},
    ("normflows", "channels_last"): {},
}
PATCHES = {"levels": 2, "hidden": [64, 64], "layers_per_loop_body": 1}
OF_PATCHES = {  # beside Glow, in `transformers.py`
    ("ours", "tarflow"): PATCHES | {"model": "tarflow", "depth": 4},
    ("ours", "jet"): PATCHES | {"model": "jet", "depth": 2, "hidden": [64], "mixing": "lu"},
}
# forms measured against depth
DEEP = (("ours", "plain"), ("ours", "reversible"), ("normflows", "eager"))
FRESH = (
    ("ours", "default"),
    ("ours", "unrolled"),
    ("ours", "reversible"),
    ("normflows", "eager"),
)  # of first step


@dataclasses.dataclass
class Plan:
    """What to measure. A round is at least `round_seconds` of training."""

    folder: Path
    """of images and logs"""
    cores: int = 0
    """that a worker may use; 0: all"""
    problems: tuple[str, ...] = SPEED
    forms: tuple[tuple[str, str], ...] = tuple(FORMS)
    rounds: int = 7
    round_seconds: float = 2.0
    depths: tuple[int, ...] = (4, 16, 64)
    repeats: int = 3
    """fresh processes of time to first step"""
    drift_steps: tuple[int, ...] = (0, 20)
    """steps of training before each measurement of drift"""
    drift_depths: tuple[int, ...] = (8, 64)
    quality: "QualityPlan | None" = None


@dataclasses.dataclass
class QualityPlan:
    """Bits per dimension after equal wall-clock training."""

    problem: str = "silhouettes"
    forms: tuple[tuple[str, str], ...] = (("ours", "default"), ("normflows", "eager"))
    budget: float = 240.0
    """seconds of training of each, compilation included"""
    trial: float = 60.0
    """seconds of training for each learning rate"""
    rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3, 4e-3)
    seeds: int = 2
    slice_seconds: float = 5.0
    """of training before the other library has its turn"""
    chunk: int = 20
    """steps a compiled call"""
    beta2: float = 0.99
    clip: float = 5.0
    warmup: int = 50
    ema: float = 0.99
    clock: str = "perf_counter"
    """of the seconds of our own forms: perf_counter, or process_time on a machine that is shared"""

    def recipe(self, rate: float, steps: int) -> dict:
        """Warm-up, then cosine to 0 at `steps`."""
        return {
            "learning_rate": rate,
            "beta1": 0.9,
            "beta2": self.beta2,
            "warmup": min(self.warmup, steps // 4),
            "steps": steps,
            "clip": self.clip,
        }


def spec(problem: str, worker: Worker, **changes) -> dict:
    """What a worker has to build."""
    common = {
        "form": worker.form,
        "seed": 0,
        "chunk": 1,
        "recipe": SLOW,
        "ema": 0.0,
        "validate": False,
    }
    return common | PROBLEMS[problem] | (FORMS | OF_PATCHES)[worker.library, worker.form] | changes
