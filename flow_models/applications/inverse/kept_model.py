"""Models of a user's own geometry, kept for the next data of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.serializable import to_config
from flow_models.models import model as saved
from flow_models.references import cache as reference_cache

# what says nothing of the model that a run ends with
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


def folder_of(config, frame) -> Path:
    """Where a model of this geometry, trained with these settings, is kept."""
    settings = {
        name: value for name, value in dataclasses.asdict(config).items() if name not in OF_THE_RUN
    }
    written = json.dumps([to_config(frame), settings], sort_keys=True, default=str)
    digest = hashlib.sha256(written.encode()).hexdigest()[:16]
    return Path(reference_cache.folder_of(config.reference_folder)) / f"posterior-{digest}"


def keep(kept: Path, model, history, metrics, scores) -> None:
    """The model with what a later run reports of it; metrics.json last, which says that all is
    there."""
    metrics = {k: v for k, v in metrics.items() if not k.startswith("observed_")}
    with reference_cache.may_fail("the model's weights"):
        model.save(str(kept))
        for name, content in (
            ("history.json", [history, np.asarray(scores, float).tolist()]),
            ("metrics.json", metrics),
        ):
            storage.write_bytes(kept / name, json.dumps(content).encode())


def load(kept: Path):
    """The model that is kept there, its history, scores and metrics; None where there is none, or
    not a whole one."""
    if not (kept / "metrics.json").exists():
        return None
    try:
        history, scores = json.loads((kept / "history.json").read_text())
        return (
            saved.load(str(kept)),
            history,
            np.array(scores),
            json.loads((kept / "metrics.json").read_text()),
        )
    except (UserError, OSError, ValueError) as error:
        print(
            f"warning: the model kept in {kept} is damaged and trained anew ({error})",
            file=sys.stderr,
        )
        return None
