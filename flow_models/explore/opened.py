"""A run or a model opened for the page: the model, its scores, and events that it was not fitted
to."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
import warnings
from typing import Any

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import FlowModelsWarning, UserError

ROWS, PICTURES = 2000, 200  # events of a set at most
SCORED = 1000  # held-out rows whose scores are compared with
NLL = "nll"
SAMPLED = "samples of the model"


@dataclasses.dataclass(frozen=True)
class Opened:
    """What the page looks at.

    Attributes:
      place: of the run or model.
      model: a `Model`.
      detector: its scores as a model of pictures, else None.
      config: of the run, flat; empty for a model alone.
      sets: name -> events, DataFrames or arrays [N, ...], the held-out ones first. Of posteriors
        none.
      note: why there are no held-out events; empty where there are.
    """

    place: str
    model: Any
    detector: Any
    config: dict[str, Any]
    sets: dict[str, Any]
    note: str = ""

    @property
    def kind(self) -> str:
        """rows, pictures or posterior."""
        if self.model.is_posterior:
            return "posterior"
        return "pictures" if len(self.model.event_shape) == 3 else "rows"

    @functools.cached_property
    def held(self) -> dict[str, np.ndarray]:
        """Scores of the held-out events, higher is stranger: name -> finite ones [N]."""
        if self.detector is not None:
            return self.detector.reference
        scores = self.model.anomaly_score(self.known[:SCORED])
        return {NLL: scores[np.isfinite(scores)]}

    @functools.cached_property
    def shown(self) -> Any:
        """The held-out rows as a DataFrame for figures: as the model gives rows, without gaps."""
        import pandas as pd

        codec, rows = self.model.codec, as_frame(self.known, self.model.columns)
        rows = rows[~pd.isna(rows).any(axis=1)].reset_index(drop=True)
        if not getattr(codec, "kinds", ()):
            return rows
        return as_frame(codec.decode(codec.encode(rows, np.float32).rows), self.model.columns)

    @property
    def known(self) -> Any:
        """The held-out events, or samples that stand for them."""
        return next(iter(self.sets.values()))

    @property
    def known_name(self) -> str:
        return next(iter(self.sets))


def check(place: str) -> None:
    """Raises UserError where no model can be there, before anything heavy is loaded."""
    found = [f"{place.rstrip('/')}/{end}" for end in ("model.json", "model/model.json")]
    if not any(storage.exists(each) for each in found):
        raise UserError(f"{place} holds no model: give the folder of a run or of a model")


def load(place: str) -> Opened:
    """Opens the run or the model of `place`, local or s3://.

    Raises:
      UserError: there is no model, or one of features, which has no samples to look at.
    """
    import flow_models as fm
    from flow_models.models.feature_maps import FeatureMaps

    model, config = fm.load(place), _config(place)
    if isinstance(model.codec, FeatureMaps):
        raise UserError(f"{place} is a model of features, without samples: use score --maps")
    if model.is_posterior:
        return Opened(place, model, None, config, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlowModelsWarning)  # told when the run was made
        sets, note = _sets(place, config, model)
    found = Opened(place, model, None, config, sets, note)
    return (
        dataclasses.replace(found, detector=_detector(found)) if found.kind == "pictures" else found
    )


def _detector(found: Opened):
    """The scores of a model of pictures, with what the run remembers of known ones."""
    from flow_models.models.detector import load_detector

    detector = dataclasses.replace(load_detector(found.place), model=found.model)
    return detector if detector.reference else detector.knowing(found.known[:64])


def _config(place: str) -> dict[str, Any]:
    """Settings of a run, flat; none of a model alone."""
    import yaml

    path = storage.join(place, "config.yaml")
    return yaml.safe_load(storage.read_bytes(path)) if storage.exists(path) else {}


def _sets(place: str, config: dict, model) -> tuple[dict[str, Any], str]:
    """Events by set, and why there are no held-out ones."""
    try:
        sets = _of_problem(_problem(place, config), model)
        if sets:
            return sets, ""
        reason = "this run has no held-out data"
    except (UserError, OSError) as error:
        reason = f"the data of the run were not found ({error})"
    most = PICTURES if len(model.event_shape) == 3 else ROWS
    return {SAMPLED: model.sample(most, seed=1)}, reason


def _problem(place: str, config: dict):
    """The data of a run, as its script loads them."""
    import json

    from flow_models.runs import scripts
    from flow_models.runs.tracking.folder import ABOUT

    if not config:
        raise UserError("a model without its run")
    about = json.loads(storage.read_bytes(storage.join(place, ABOUT)))
    script = scripts.load(f"train_{about['tags']['application']}")
    source = about["data"][0].get("source", "")  # absolute, where config.yaml may not be
    flag = "--train-uri" if config.get("train_uri") else "--data"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.yaml")
        storage.write_bytes(path, storage.read_bytes(storage.join(place, "config.yaml")))
        told = [flag, source] if source else []
        settings = scripts.settings(script, ["--config", path, *told])
    return script.APPLICATION.load_data(settings)


def _of_problem(problem, model) -> dict[str, Any]:
    """Held-out events, then foreign ones, by set."""
    if hasattr(problem, "sets"):  # of pictures: known, near and far ones
        return {_named(name): images[:PICTURES] for name, images in problem.sets.items()}
    test = getattr(problem, "test", None)
    if test is None:
        return {}
    most = PICTURES if len(model.event_shape) == 3 else ROWS
    found = {"held-out": getattr(test, "x", test)[:most]}
    if getattr(problem, "unknown", None) is not None:
        found["unknown class"] = problem.unknown[:most]
    return found


def _named(name: str) -> str:
    return "held-out" if name == "known" else name


def event(values, number: int):
    """One event [1, ...] of a set."""
    return values.iloc[[number]] if hasattr(values, "iloc") else values[number : number + 1]


def as_frame(values, columns):
    """Rows as a DataFrame with the names of the model."""
    import pandas as pd

    if hasattr(values, "columns"):
        return values.reset_index(drop=True)
    return pd.DataFrame(np.asarray(values, np.float64), columns=list(columns))
