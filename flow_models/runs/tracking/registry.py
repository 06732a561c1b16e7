"""The model of a run as MLflow's registry keeps and serves it. Raises what MLflow raises."""

import re
import tempfile
from importlib import metadata
from pathlib import Path

from flow_models.runs.tracking.about import NOTE
from flow_models.runs.tracking.client import ignored, safe_name
from flow_models.runs.tracking.folder import PACKAGE

SERVED = ("tensorflow", "tf-keras", "tensorflow-probability", "numpy", "scipy", "mlflow")


def register(client, run, name: str, folder: Path) -> None:
    """Logs the model in `folder` as a pyfunc of the run and registers a version of it.

    MLflow's own `log_model` would switch the store of the whole process, so this goes through the
    client. The version takes the description of the run, and its tags but MLflow's own.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    content, info = _content(folder), run.info
    logged = client.create_logged_model(
        info.experiment_id, "model", info.run_id, model_type="normalizing flow"
    )
    location, model_id = logged.artifact_location, logged.model_id
    card = Model(location, info.run_id, model_id=model_id, model_uuid=model_id)
    with tempfile.TemporaryDirectory() as place:
        mlflow.pyfunc.save_model(f"{place}/model", mlflow_model=card, **content)
        client.log_model_artifacts(model_id, f"{place}/model")
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(info.run_id, [LoggedModelOutput(model_id, step=0)])
    name = safe_name(name)
    with ignored("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(name, description=_title(run))
    # MLflow would look up "models:/<id>" in the global store, so the version names the location.
    tags = {key: text for key, text in run.data.tags.items() if not key.startswith("mlflow.")}
    described = {"tags": tags, "description": run.data.tags.get(NOTE)}
    client.create_model_version(name, location, info.run_id, model_id=model_id, **described)


def _title(run) -> str | None:
    """The name of the application in words, from the description of the run."""
    first = run.data.tags.get(NOTE, "").partition("\n")[0]
    return first.strip("*").partition(":")[0] or None


def _content(folder: Path) -> dict:
    """What the pyfunc consists of: model, package, requirements, signature and example."""
    import flow_models
    from flow_models.runs.tracking import serving

    model = flow_models.load(str(folder))
    return {
        "python_model": serving.__file__,
        "artifacts": {"model": str(folder.resolve())},
        "code_paths": [str(PACKAGE)],
        "signature": serving.signature(model),
        "input_example": serving.example(model),
        "pip_requirements": requirements(serving.simulator_of(model)),
    }


def requirements(simulator=None) -> list[str]:
    """The packages that a served model imports, as requirements.txt beside the package pins them,
    else as they are installed here.

    A simulator that needs more names them: `packages = ("disba", "numba")`.
    """
    listed = PACKAGE.parent / "requirements.txt"
    lines = listed.read_text().splitlines() if listed.is_file() else []
    stripped = [line.split("#")[0].strip() for line in lines]
    pinned = {re.split(r"[\[=<>!~; ]", line)[0].lower(): line for line in stripped if "==" in line}
    names = (*SERVED, *getattr(simulator, "packages", ()))
    return [pinned.get(name) or f"{name}=={metadata.version(name)}" for name in names]
