"""A warning of a run is on stderr, in the report, in metrics.json and in MLflow."""

import json
import warnings

import mlflow
import pytest

from flow_models.applications.application import Application, Results, train_and_report
from flow_models.core.errors import FlowModelsWarning, warn
from flow_models.runs.config import replace
from flow_models.runs.tracking import upload
from flow_models.runs.warned import plain, recorded
from flow_models.sweep import results
from train_flowmodels1 import APPLICATION, PRESETS, Config

TINY = {"steps": 20, "depth": 2, "hidden": (8, 8), "batch_size": 64, "test_points": 100}
LOADED, JUDGED = "the data lie outside what was trained", "do not trust <this> posterior"


def test_ours_are_shown_as_one_line_and_kept_once_others_go_on(capsys, recwarn):
    with recorded() as told:
        for _ in range(2):
            warn("one line")
        warnings.warn("of another package", RuntimeWarning, stacklevel=1)
    assert told == ["one line"] and capsys.readouterr().err == "warning: one line\n"
    assert [str(each.message) for each in recwarn] == ["of another package"]
    with pytest.warns(FlowModelsWarning, match="in Python"):
        warn("in Python it is a warning")


def test_a_server_shows_ours_as_one_line_without_an_end(capsys):
    with warnings.catch_warnings(record=True) as others:  # and what was before is back behind it
        warnings.simplefilter("always")
        plain()
        warn("of a request")
        warnings.warn("of another package", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: of a request\n"
    assert [str(each.message) for each in others] == ["of another package"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that warns while its data are read and while it is evaluated."""
    folder = tmp_path_factory.mktemp("warned")

    def load_data(config):
        warn(LOADED)
        return APPLICATION.load_data(config)

    def evaluate(run):
        warn(JUDGED)
        return Results({"nll_val": 1.0})

    store = f"sqlite:///{folder / 'mlflow.db'}"
    config = replace(
        Config(),
        **TINY,
        data="moons",
        jit=False,
        output_dir=str(folder / "000-seed=1"),
        tracking_uri=store,
    )
    application = Application(
        Config, PRESETS, APPLICATION.partitions, load_data, APPLICATION.build_model, evaluate
    )
    train_and_report(application, config)
    return folder / "000-seed=1", store


def test_the_run_tells_its_warnings_everywhere(run):
    folder, store = run
    assert json.loads((folder / "metrics.json").read_text())["warnings"] == [LOADED, JUDGED]
    page = (folder / "report.html").read_text()
    box = page.partition('class="warnings"')[2].partition("</div>")[0]
    assert LOADED in box and "do not trust &lt;this&gt; posterior" in box
    run_id = next(iter(json.loads((folder / "mlflow.json").read_text())["stores"].values()))
    found = mlflow.MlflowClient(store).get_run(run_id["run_id"])
    assert found.data.tags["warnings"] == f"{LOADED}\n{JUDGED}"
    assert found.data.metrics["nll_val"] == 1.0 and "warnings" not in found.data.metrics


def test_sweeps_and_uploads_read_such_metrics(run, tmp_path):
    folder, _ = run
    trial = results.read(folder.parent, 0, {"seed": "1"})
    assert trial.value("nll_val") == 1.0 and "warnings" not in trial.metrics
    store = f"sqlite:///{tmp_path / 'other.db'}"
    run_id = upload(folder, tracking_uri=store)
    assert LOADED in mlflow.MlflowClient(store).get_run(run_id).data.tags["warnings"]
