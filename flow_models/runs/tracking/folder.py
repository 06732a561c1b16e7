"""What a run folder holds for MLflow, which store it is meant for, and what it remembers of what
was sent."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
STATE = "mlflow.json"
SERVED = (
    "tensorflow",
    "tf-keras",
    "tensorflow-probability",
    "numpy",
    "scipy",
    "mlflow",
)  # what a served model imports
SERVED_TOO = {
    "Dispersion": ("disba", "numba")
}  # and those that have such a part, as their model.json names it


def store_uri(given: str | None = None, folder: Path | None = None) -> str:
    """The store: the one given, else MLFLOW_TRACKING_URI, else where the run was meant to go, else
    the embedded one.

    The embedded store is mlflow.db in the folder of the project (where pyproject.toml lies beside
    the package, if it can be written), else in the current folder;
    `mlflow ui --backend-store-uri sqlite:///mlflow.db` run there shows it.
    """
    meant = read_state(folder).get("tracking_uri") if folder else None
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or meant
    if not uri:
        project = PACKAGE.parent
        home = (
            project
            if (project / "pyproject.toml").is_file() and os.access(project, os.W_OK)
            else Path.cwd()
        )
        uri = f"sqlite:///{home / 'mlflow.db'}"
    if uri.startswith("sqlite:///") and uri != "sqlite:///:memory:":
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    return uri.rstrip("/")


def public(text: str) -> str:
    """The text, a URI or a message, without user names and passwords."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def read_state(folder: Path) -> dict:
    """mlflow.json of a run folder: experiment, run_name, tracking_uri, and for each store its run
    and what it has."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"stores": {}}
    return {"stores": {}} | state if isinstance(state, dict) else {"stores": {}}


def write_state(folder: Path, state: Mapping) -> None:
    """Puts mlflow.json in place whole."""
    partial = folder / f".{STATE}.{os.getpid()}.tmp"
    partial.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / STATE)


def history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv as numbers, NaN where a cell is none; a row without a step is left
    out."""
    lines = (
        (folder / "history.csv").read_text().splitlines()
        if (folder / "history.csv").is_file()
        else []
    )
    rows = [
        {name: number(cell) for name, cell in line.items() if name}
        for line in csv.DictReader(lines)
    ]
    return [row for row in rows if math.isfinite(row.get("step", math.nan))]


def number(cell: object) -> float:
    """The cell as a number; NaN where it is none."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def files(folder: Path) -> list[Path]:
    """The files of a run that go up as they are: those beside each other in the folder, and its
    figures."""
    beside = [
        path
        for path in folder.iterdir()
        if path.is_file() and path.name[0] != "." and path.name != STATE
    ]
    return sorted(beside + [path for path in (folder / "figures").rglob("*") if path.is_file()])


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 of names and contents."""
    total = hashlib.sha256()
    for path in paths:
        total.update(
            f"{path.parent.name}/{path.name}\n".encode()
            + hashlib.sha256(path.read_bytes()).digest()
        )
    return total.hexdigest()


def requirements(model: Path) -> list[str]:
    """What the served model of a folder needs, as requirements.txt beside the package pins it, else
    as it is installed here."""
    described = "".join(file.read_text(encoding="utf-8") for file in model.glob("*.json"))
    needed = [
        *SERVED,
        *(name for part, names in SERVED_TOO.items() if f'"{part}"' in described for name in names),
    ]
    listed = PACKAGE.parent / "requirements.txt"
    lines = [
        line.split("#")[0].strip()
        for line in (listed.read_text().splitlines() if listed.is_file() else [])
    ]
    pinned = {re.split(r"[\[=<>!~; ]", line)[0].lower(): line for line in lines if "==" in line}
    return [
        pinned[name] if name in pinned else f"{name}=={metadata.version(name)}" for name in needed
    ]
