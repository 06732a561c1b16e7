"""What a run folder holds for MLflow, which store it is meant for, and what was already sent."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from flow_models.core import storage

PACKAGE = Path(__file__).resolve().parents[2]
STATE = "mlflow.json"
ABOUT = "about.json"
EMBEDDED = "sqlite:///"  # a store of this scheme is a file on this machine
REASONS = (  # patterns in the long messages of the HTTP library, and what they mean
    ("refused", "connection refused"),
    ("aborted|reset by peer|Broken pipe|RemoteDisconnected", "connection broken off"),
    ("[Rr]esolve|Name or service", "no such host"),
    ("timed out|Timeout", "no answer in time"),
    ("too many 5|50[0-9] error", "the server answers with errors"),
)


def store_uri(given: str | None = None, folder: Path | None = None) -> str:
    """The store: the given one, else MLFLOW_TRACKING_URI, else the one meant for the run in
    `folder`, else the embedded one.

    The embedded store is mlflow.db in the project folder (the one with pyproject.toml beside the
    package, if it can be written), else in the current folder. Open it there with
    `mlflow ui --backend-store-uri sqlite:///mlflow.db`.
    """
    meant = read_state(folder).get("tracking_uri") if folder else None
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or meant or _embedded_store()
    if uri.startswith(EMBEDDED) and not uri.endswith(":memory:"):
        uri = f"{EMBEDDED}{Path(uri.removeprefix(EMBEDDED)).absolute()}"
    return uri.rstrip("/")


def _embedded_store() -> str:
    project = PACKAGE.parent
    ours = (project / "pyproject.toml").is_file() and os.access(project, os.W_OK)
    return f"{EMBEDDED}{(project if ours else Path.cwd()) / 'mlflow.db'}"


def public(text: str) -> str:
    """The text, a URI or a message, without user names and passwords."""
    return re.sub(r"://[^/\s]+@", "://", text)  # a password may hold an @


def reason(error: BaseException) -> str:
    """What went wrong, in a few words on one line and without passwords."""
    text = public(" ".join(str(error).split())) or type(error).__name__
    known = [meaning for pattern, meaning in REASONS if re.search(pattern, text)]
    return known[0] if known else text[:200].rstrip(".")


def read_state(folder: Path) -> dict:
    """mlflow.json of a run folder: experiment, run_name, tracking_uri, parent, and under `stores`
    the run of each store and digests of what it has."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = None
    return {"stores": {}} | (state if isinstance(state, dict) else {})


def write_state(folder: Path, state: Mapping) -> None:
    """Replaces mlflow.json."""
    storage.write_bytes(folder / STATE, (json.dumps(state, indent=1) + "\n").encode())


def files(folder: Path) -> list[Path]:
    """The files that are sent as they are: those directly in the folder, and its figures."""
    beside = [path for path in folder.iterdir() if path.name[0] != "." and path.name != STATE]
    return sorted(path for path in [*beside, *(folder / "figures").rglob("*")] if path.is_file())


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 of names and contents."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.parent.name}/{path.name}\n".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
