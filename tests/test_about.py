"""What MLflow says of a run: data sets, tags, description, in a real server and its registry."""

import json
import re
import subprocess
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.data.dataset_source_registry import get_dataset_source_from_json

from flow_models.applications.about import _commit, _place, about
from flow_models.applications.application import train_and_report, trainer_of
from flow_models.core import startup
from flow_models.runs.config import replace
from flow_models.runs.tracking import upload
from flow_models.runs.tracking.about import NOTE, data_sets
from train_flowmodels1 import APPLICATION, Config

ROWS = 400


def table(seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"depth": rng.normal(size=ROWS), "site": rng.choice(["a", "b"], ROWS)})


def configured(data: str, **options) -> Config:
    small = {"steps": 20, "depth": 2, "hidden": (8, 8), "batch_size": 64, "jit": False}
    return replace(Config(), **small, data=data, **options)


def run_of(client, folder: Path):
    (state,) = json.loads((folder / "mlflow.json").read_text())["stores"].values()
    return client.get_run(state["run_id"])


@pytest.fixture(scope="module")
def served(tracking_server, tmp_path_factory):
    """A run on a table of the user's, in a server, with its model registered."""
    folder = tmp_path_factory.mktemp("about")
    table().to_csv(folder / "wells.csv", index=False)
    place = {"output_dir": str(folder / "run"), "tracking_uri": tracking_server.uri}
    config = configured(str(folder / "wells.csv"), **place, register_model=True)
    train_and_report(APPLICATION, config)
    return mlflow.MlflowClient(tracking_server.uri, tracking_server.uri), folder


def test_the_data_set_has_name_digest_source_schema_and_rows(served):
    client, folder = served
    (data,) = run_of(client, folder / "run").inputs.dataset_inputs
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    found = data.dataset
    source = get_dataset_source_from_json(found.source, found.source_type)
    pd.testing.assert_frame_equal(pd.read_csv(source.load()), table())
    assert found.name == "wells.csv" and len(found.digest) == 16
    names = [(each["name"], each["type"]) for each in json.loads(found.schema)["mlflow_colspec"]]
    assert names == [("depth", "double"), ("site", "string")]
    assert json.loads(found.profile) == {"num_rows": 320}


def described(data: str, **options) -> dict:
    """What a run on these data would say of itself."""
    config = configured(data, **options)
    problem = APPLICATION.load_data(config)
    model, training = APPLICATION.prepared(config, problem)
    return about(APPLICATION, config, problem, model, trainer_of(model, training, config))


def test_other_rows_have_another_digest_and_points_name_their_program(served):
    client, folder = served
    digest = run_of(client, folder / "run").inputs.dataset_inputs[0].dataset.digest
    table(1).to_csv(folder / "other.csv", index=False)
    again, other = (described(str(folder / name)) for name in ("wells.csv", "other.csv"))
    assert again["data"][0]["digest"] == digest != other["data"][0]["digest"]
    (moons,) = data_sets(described("moons", test_points=100))
    assert moons.dataset.name == "moons" and moons.dataset.source_type == "code"
    assert json.loads(moons.dataset.source)["tags"] == {"mlflow.source.name": "flowmodels1"}


def test_tags_say_what_ran(served):
    client, folder = served
    tags = run_of(client, folder / "run").data.tags
    assert tags["application"] == "flowmodels1" and tags["data"] == "wells.csv"
    assert tags["architecture"] == "spline_coupling" and tags["preset"] == "default"
    assert re.fullmatch(r"\d+\.\d+\.\d+", tags["version"])
    assert tags["device"] == startup.device()
    project = Path(APPLICATION.evaluate.__code__.co_filename).parent
    if (project / ".git").exists():
        asked = ["git", "-C", project, "rev-parse", "HEAD"]
        head = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        assert tags["mlflow.source.git.commit"] == head
        assert tags["mlflow.source.git.dirty"] in ("true", "false")


def test_descriptions_have_figures_and_warnings_and_a_users_own_stays(served):
    client, folder = served
    run = run_of(client, folder / "run")
    note, metrics = run.data.tags[NOTE], json.loads((folder / "run/metrics.json").read_text())
    assert note.startswith("**Distribution mapping: wells.csv**")
    shown = re.search(r"- Negative log-likelihood, test: (\S+) ± \S+ nats", note)
    assert float(shown[1]) == pytest.approx(metrics["nll_test"], rel=1e-3)
    for line in metrics.get("warnings", ()):
        assert f"**Warning:** {line}" in note
    assert client.get_experiment(run.info.experiment_id).tags[NOTE] == "Distribution mapping"
    client.set_tag(run.info.run_id, NOTE, "mine")
    (folder / "run" / "report.html").write_text("another")
    upload(folder / "run", tracking_uri=client.tracking_uri)
    assert run_of(client, folder / "run").data.tags[NOTE] == "mine"


def test_the_registered_version_is_described_too(served):
    client, _ = served
    assert client.get_registered_model("flowmodels1").description == "Distribution mapping"
    (version,) = client.search_model_versions("name='flowmodels1'")
    assert "Negative log-likelihood, test: " in version.description
    assert version.tags["data"] == "wells.csv" and not any("mlflow." in key for key in version.tags)


def test_a_folder_that_is_sent_later_brings_all_of_it(served, tmp_path):
    _, folder = served
    store = f"sqlite:///{tmp_path / 'later.db'}"
    client = mlflow.MlflowClient(store, store)
    (folder / "run" / "metrics.json").touch()
    run = client.get_run(upload(folder / "run", tracking_uri=store))
    assert run.inputs.dataset_inputs[0].dataset.name == "wells.csv"
    assert run.data.tags["architecture"] == "spline_coupling" and NOTE in run.data.tags


def test_a_script_that_git_does_not_track_has_no_commit(tmp_path):
    (tmp_path / "mine.py").write_text("")
    assert _commit(tmp_path / "mine.py") == {}
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for command in (["init", "-q"], ["add", "mine.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    found = _commit(tmp_path / "mine.py")
    assert re.fullmatch("[0-9a-f]{40}", found["mlflow.source.git.commit"])
    assert found["mlflow.source.git.dirty"] == "false"
    (tmp_path / "mine.py").write_text("changed")
    assert _commit(tmp_path / "mine.py") == found | {"mlflow.source.git.dirty": "true"}
    (tmp_path / "other.py").write_text("")
    assert _commit(tmp_path / "other.py") == {}


def test_where_data_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert _place({"data": "a.csv"}) == str(tmp_path / "a.csv")
    assert _place({"data": "silhouettes", "train_uri": "photos"}) == str(tmp_path / "photos")
    assert _place({"data": "x", "train_uri": "s3://bucket/photos"}) == "s3://bucket/photos"
    assert _place({"data": "moons"}) == "" == _place({"data": "mnist", "train_uri": "digits"})
