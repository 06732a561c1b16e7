"""What MLflow's pages say of a run: data sets, tags and a description, from about.json of its
folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flow_models.core.storage import is_s3
from flow_models.runs.report import headline
from flow_models.runs.tracking.folder import ABOUT, public

NOTE = "mlflow.note.content"  # the description of a run or an experiment
LONGEST_NAME = 500  # characters of the name of a data set


def read(folder: Path) -> dict[str, Any]:
    """about.json of a run folder; empty where there is none."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(about: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """A few lines of Markdown: what was trained on what, key figures, warnings."""
    numbers = {name: each for name, each in metrics.items() if isinstance(each, (int, float))}
    parts = [f"**{about['title']}**", about["text"], _figures(numbers)]
    parts += [f"**Warning:** {line}" for line in metrics.get("warnings", ())]
    return public("\n\n".join(part for part in parts if part))


def _figures(metrics: Mapping[str, Any]) -> str:
    """The figures at the top of the report, one a line."""
    return "\n".join(
        f"- {card['name']}: {card['value']}"
        + (f" ± {card['error']}" if card["error"] else "")
        + (f" {card['unit']}" if card["unit"] else "")
        for card in headline(metrics)
    )


def data_sets(about: Mapping[str, Any]) -> list:
    """The data sets as MLflow's inputs, with name, digest, source, schema and rows."""
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for each in about.get("data", ()):
        name, digest = each["name"][:LONGEST_NAME], each.get("digest")
        data = MetaDataset(_source(about, each), name, digest, _schema(each)).to_dict()
        profile = json.dumps({"num_rows": each["rows"]}) if each.get("rows") else None
        context = InputTag("mlflow.data.context", each["context"])
        found.append(DatasetInput(Dataset(**data, profile=profile), [context]))
    return found


def _source(about: Mapping[str, Any], data: Mapping[str, Any]):
    """A file, a folder or a prefix; else the program that makes the data."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json

    if place := data["source"]:
        kind = "s3" if is_s3(place) else "local"
        return get_dataset_source_from_json(json.dumps({"uri": place}), kind)
    return CodeDatasetSource({"mlflow.source.name": about["tags"]["application"]})


def _schema(data: Mapping[str, Any]):
    """Columns by name, or the shape of pictures."""
    import numpy as np
    from mlflow.types import Schema, TensorSpec

    if "shape" in data:
        return Schema([TensorSpec(np.dtype(np.uint8), (-1, *data["shape"]))])
    return Schema.from_json(json.dumps(data["columns"])) if data["columns"] else None
