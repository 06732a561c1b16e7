"""Models of a user's own geometry, kept for the next data of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flow_models.applications.application import Run
from flow_models.core import storage
from flow_models.core.errors import UserError, warn
from flow_models.core.serializable import to_config
from flow_models.models import loading
from flow_models.models.model import Model
from flow_models.references import cache
from flow_models.runs.config import flat
from flow_models.training.trainer import FitResult

# settings that say nothing of the model that a run ends with
OF_THE_RUN = (
    "output_dir",
    "resume",
    "overwrite",
    "mlflow",
    "tracking_uri",
    "observed",
    "checkpoint_seconds",
    "reference_folder",
    "preset",
    "strategy",
)


@dataclasses.dataclass(frozen=True)
class Kept:
    """A model that an earlier run trained, and what that run reported of it."""

    folder: Path
    model: Model
    history: dict[str, list[float]]
    scores: np.ndarray
    metrics: dict[str, float]
    evaluate: Callable

    @property
    def result(self) -> FitResult:
        """What the earlier training did."""
        names = ("train_seconds", "compile_seconds", "steps_per_second")
        seconds, compiling, speed = (self.metrics[name] for name in names)
        return FitResult(self.history, seconds, compiling, speed, "finished")


def folder_of(config, frame) -> Path:
    """Where a model of this geometry, trained with these settings, is kept."""
    settings = {name: value for name, value in flat(config).items() if name not in OF_THE_RUN}
    written = json.dumps([to_config(frame), settings], sort_keys=True, default=str)
    digest = hashlib.sha256(written.encode()).hexdigest()[:16]
    return Path(cache.folder_of(config.inverse.reference_folder)) / f"posterior-{digest}"


def keep(folder: Path, run: Run, metrics: dict[str, float], scores: np.ndarray) -> None:
    """Keeps a run's model; metrics.json is written last, and says that all is there."""
    metrics = {**metrics, **run.result.metrics()}
    metrics = {k: float(v) for k, v in metrics.items() if not k.startswith("observed_")}
    history = [run.history, np.asarray(scores, float).tolist()]
    with cache.may_fail("the model's weights"):
        run.model.save(str(folder))
        for name, content in (("history.json", history), ("metrics.json", metrics)):
            storage.write_bytes(folder / name, json.dumps(content).encode())


def load(folder: Path, evaluate: Callable) -> Kept | None:
    """The model that is kept there; None where there is none, or not a whole one."""
    if not (folder / "metrics.json").exists():
        return None
    try:
        history, scores = json.loads((folder / "history.json").read_text())
        model, metrics = (
            loading.load(str(folder)),
            json.loads((folder / "metrics.json").read_text()),
        )
    except (UserError, OSError, ValueError) as error:
        warn(f"the model kept in {folder} is damaged and trained anew ({error})")
        return None
    print(f"a model of this geometry and these settings is there: {folder}", file=sys.stderr)
    return Kept(folder, model, history, np.array(scores), metrics, evaluate)
