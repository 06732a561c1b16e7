"""Sends a run folder to MLflow after the run."""

import contextlib
import json
import os
from pathlib import Path

import yaml

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.runs.mirror import Mirror
from flow_models.runs.tracking.folder import public, read_state, reason, store_uri
from flow_models.runs.tracking.store import Store


def upload(
    run_folder: str | os.PathLike,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    register: bool = False,
) -> str:
    """Sends a run folder, local or in S3, and returns the id of its run. What the store already has
    is not sent again.

    Args:
      experiment: by default that of mlflow.json, else the name of the folder around the run.
      tracking_uri: by default MLFLOW_TRACKING_URI, else the store that the run was meant for, else
        the embedded one.
      register: register the model of the run, so that it can be served.

    Raises:
      UserError: the folder is not that of a run, or the store does not accept it.
    """
    if not storage.is_s3(run_folder):
        folder = Path(run_folder)
        around = folder.resolve().parent.name
        return _upload(folder, str(folder), experiment, around, tracking_uri, register)
    with contextlib.closing(Mirror(os.fspath(run_folder))) as mirror:
        mirror.fetch(leave_out="checkpoint")
        around = mirror.uri.split("/")[-2]
        run_id = _upload(mirror.path, mirror.uri, experiment, around, tracking_uri, register)
        mirror.send()  # mlflow.json, which remembers what was sent
    return run_id


def _upload(
    folder: Path,
    shown: str,
    experiment: str | None,
    around: str,
    tracking_uri: str | None,
    register: bool,
) -> str:
    """`upload` of a local folder that the user calls `shown`, in the folder `around`."""
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"{shown} is not the folder of a run: it holds no config.yaml. Give the one a training"
            " script wrote."
        )
    state, uri = read_state(folder), store_uri(tracking_uri, folder)
    experiment = experiment or state.get("experiment") or around
    try:
        name, parent = state.get("run_name"), state.get("parent", "")
        store = Store(folder, experiment, name, uri, parent, register)
        if not store.is_complete():
            _send(store, folder)
        return store.sent["run_id"]
    except Exception as error:
        raise UserError(
            f"MLflow at {public(uri)} did not take {shown}: {reason(error)}."
        ) from error


def _send(store: Store, folder: Path) -> None:
    """Sends all; a run without metrics.json was stopped before its end."""
    config, results = folder / "config.yaml", folder / "metrics.json"
    store.open(yaml.safe_load(config.read_text(encoding="utf-8")) or {})
    ended = results.is_file()
    store.send_rest(json.loads(results.read_text(encoding="utf-8")) if ended else {}, folder)
    store.end("FINISHED" if ended else "KILLED")
