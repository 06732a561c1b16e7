"""What a run is, for about.json and MLflow: title, data sets, tags."""

from __future__ import annotations

import inspect
import os
import subprocess
from pathlib import Path
from typing import Any

from flow_models import __version__
from flow_models.core import storage
from flow_models.core.startup import device
from flow_models.runs.config import flat

SOURCE_VARIABLE = "FLOW_MODELS_SOURCE"  # hash of the sources that an image was built from
TAGS = ("architecture", "form", "preset")  # settings that are tags too


def about(application, config, problem, model, trainer) -> dict[str, Any]:
    """Title, text, tags, and data sets with name, source, digest, rows and columns.

    `trainer` is None where an earlier run trained the model.
    """
    values = flat(config)
    tags = {"application": application.name, "data": problem.name, "version": __version__}
    tags |= {name: str(values[name]) for name in TAGS if name in values}
    tags["device"] = device()
    if os.environ.get(SOURCE_VARIABLE):
        tags["source"] = os.environ[SOURCE_VARIABLE]
    return {
        "title": f"{application.title}: {problem.name}",
        "text": problem.source,
        "tags": tags | _commit(Path(inspect.getfile(application.evaluate)).resolve()),
        "data": [_training(values, problem, model, trainer), *_observed(values, model)],
    }


def _training(values: dict, problem, model, trainer) -> dict[str, Any]:
    """The training data. The digest is of their arrays, or of the first batch of a stream."""
    found = {"name": problem.name, "context": "training", "source": _place(values)}
    if len(model.event_shape) > 1:
        found["shape"] = list(model.event_shape)
    else:
        found["columns"] = [*columns(model, "x"), *columns(model, "y")]
    if trainer is not None:
        found["digest"] = trainer.identity["training data"]
        found["rows"] = trainer.source.rows
    return found


def _observed(values: dict, model) -> list[dict[str, Any]]:
    """The user's data of an inverse problem."""
    if not values.get("observed"):
        return []
    source = _absolute(values["observed"])
    name = os.path.basename(source)
    return [{"name": name, "context": "observed", "source": source, "columns": columns(model, "y")}]


def columns(model, block: str) -> list[dict[str, str]]:
    """Names of the columns of a block, and whether they hold numbers ("double") or text."""
    codec = model.codecs.get(block)
    names = () if codec is None or block == "y" and model.classes else codec.columns
    kinds = getattr(codec, "kinds", ()) or [None] * len(names)
    texts = [kind is not None and kind.is_text for kind in kinds]
    return [
        {"name": name, "type": "string" if text else "double"} for name, text in zip(names, texts)
    ]


def _place(values: dict) -> str:
    """Where the user's training data lie; empty for data of a package or of a simulator."""
    folder, table = str(values.get("train_uri") or ""), str(values.get("data") or "")
    if storage.is_s3(folder) or folder and os.path.exists(storage.local_path(folder)):
        return _absolute(folder)
    return _absolute(table) if "/" in table or "." in table else ""


def _absolute(uri: str) -> str:
    return uri if storage.is_s3(uri) else os.path.abspath(storage.local_path(uri))


def _commit(script: Path) -> dict[str, str]:
    """The git commit of the script and whether the working tree differs from it, as MLflow's own
    tags; nothing where git does not track the script."""
    git = ["git", "-C", str(script.parent)]
    try:
        tracked = [*git, "ls-files", "--error-unmatch", script.name]
        subprocess.run(tracked, check=True, capture_output=True)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return {}
    commit, _, dirty = found.partition("-")
    return {"mlflow.source.git.commit": commit, "mlflow.source.git.dirty": str(bool(dirty)).lower()}
