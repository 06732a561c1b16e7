"""A connection to an MLflow store, embedded or served, and its experiments. Raises what MLflow
raises."""

import contextlib
import getpass
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from flow_models.runs.tracking.folder import EMBEDDED

# A server that is down is reported within seconds; MLflow's own settings would retry for four
# minutes. The rest silences messages. Variables that the user has set win.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
# MLflow's pages choose the view of an experiment by this tag.
KIND = {"mlflow.experimentKind": "custom_model_development"}


def connect(uri: str):
    """A client of the store and its model registry."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    if uri.startswith(EMBEDDED):
        _make_database(Path(uri.removeprefix(EMBEDDED)))
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make_database(path: Path) -> None:
    """Creates the database in one step and in one process at a time; MLflow does neither."""
    import fcntl

    from mlflow import MlflowClient

    if path.exists():
        return
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            partial = Path(f"{path}.partial")
            partial.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"{EMBEDDED}{partial}").search_experiments(max_results=1)
            os.replace(partial, path)


def experiment_id(client, uri: str, name: str) -> str:
    """The id of the experiment, which is created if need be; artifacts of an embedded store lie
    beside its database.

    Where a server on the same database has created the experiment, its artifacts can only be
    written through that server, so "<name>-local" is used instead.
    """
    place, found = None, client.get_experiment_by_name(name)
    if uri.startswith(EMBEDDED):
        if found is not None and found.artifact_location.startswith("mlflow-artifacts:"):
            name += "-local"
            found = client.get_experiment_by_name(name)
        folder = Path(uri.removeprefix(EMBEDDED)).parent / "mlartifacts"
        place = (folder / safe_name(name)).as_uri()
    if found is None:
        with ignored("RESOURCE_ALREADY_EXISTS"):  # another process may come first
            client.create_experiment(name, artifact_location=place, tags=KIND)
        found = client.get_experiment_by_name(name)
    return found.experiment_id


def origin_tags() -> dict[str, str]:
    """Tags of a new run: the program that made it, and its user."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return {
        "mlflow.source.name": Path(sys.argv[0]).name,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user,
    }


def safe_name(name: str) -> str:
    """A name that MLflow accepts for a parameter, a registered model and a folder."""
    return re.sub(r"[^\w.\- ]", "-", str(name))[:250]


@contextlib.contextmanager
def ignored(code: str) -> Iterator[None]:
    """Suppresses MLflow's error of this code."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise
