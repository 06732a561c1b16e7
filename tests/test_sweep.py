"""Sweeps: what is varied, trials that fail or are stopped, one run in MLflow above all, here and as
an array job."""

import csv
import dataclasses
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flow_models import UserError
from flow_models.__main__ import parser
from flow_models.aws_batch import entry
from flow_models.runs.tracking import Tracker, parents, upload
from flow_models.sweep import local, record, results, space
from flow_models.sweep.record import Header
from flow_models.sweep.study import Search, Study

ROOT = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def header(varied: str, **fields) -> Header:
    """The header of a sweep that logs nothing."""
    plain = Header("flowmodels1", varied, [], 0, "nll_val", "key name", False, "")
    return dataclasses.replace(plain, **fields)


def client(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def family(uri: str, experiment: str):
    """The one run that is above the others, and those below it by their names."""
    runs = client(uri).search_runs([client(uri).get_experiment_by_name(experiment).experiment_id])
    (above,) = [run for run in runs if parents.KEY in run.data.tags]
    below = {run.info.run_name: run for run in runs if run.info.run_id != above.info.run_id}
    assert {run.data.tags[parents.ABOVE] for run in below.values()} == {above.info.run_id}
    return above, below


# --- what is varied


def test_values_and_ranges():
    from optuna.distributions import FloatDistribution, IntDistribution

    varied = "hidden=[8,8],[64,64] rate=1e-4..1e-2:log depth=3..6 share=-.5..1"
    assert space.parse(varied) == {
        "hidden": ["[8,8]", "[64,64]"],
        "rate": FloatDistribution(1e-4, 1e-2, log=True),
        "depth": IntDistribution(3, 6),
        "share": FloatDistribution(-0.5, 1),
    }
    assert space.settings({"a": ["1", "2"], "b": ["x"]}) == [
        {"a": "1", "b": "x"},
        {"a": "2", "b": "x"},
    ]


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["9", "depth=3,5"], "there is no application '9'"),
        (["1"], "an application and what to vary"),
        (["1", "dept=3,5"], "no flag --dept; did you mean --depth?"),
        (["1", "depth=3,five"], "--depth: Expected a int"),
        (["1", "depth"], "'depth' is not of the form"),
        (["1", ""], "nothing is varied"),
        (["1", "depth=5..3", "--trials", "4"], "'depth=5..3' is not of the form setting=low..high"),
        (["1", "learning_rate=0..1:log", "--trials", "4"], "above 0 with log"),
        (["1", "learning_rate=nan..1", "--trials", "4"], "is not of the form setting=low..high"),
        (["1", "seed=0,1", "--trials", "20000"], "20,000 settings; a sweep has 1 to 10,000"),
        (["1", "learning_rate=1e-4..1e-2"], "learning_rate is a range: --trials says how many"),
        (["1", "seed=0,1", "--seeds", "2"], "seed is there twice"),
        (
            ["1", "depth=3,5", "--args=--output-dir x"],
            "--output-dir: each trial has its own folder",
        ),
        (["1", "resume=true,false"], "--resume: each trial has its own folder"),
        (["1", "depth=3,5", "--jobs", "0"], "--jobs from 1"),
        (
            ["1", "depth=3,5", "--output-dir", "s3://bucket/x"],
            "writes locally; an array job writes into S3",
        ),
        (["1", "depth=3,5", "--resume"], "--resume needs --output-dir"),
        (["1", "depth=3,5", "--args", "'"], "No closing quotation"),
        (["--show", "nowhere"], "nowhere is not the place of a sweep"),
    ],
)
def test_mistakes_are_told_before_anything_runs(arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(line)):
        given = parser().parse_args(["sweep", *arguments])
        given.run(given)
    assert not list(tmp_path.iterdir())


def test_help_needs_no_tensorflow():
    code = (
        "import sys; from flow_models.__main__ import main\ntry: main(['sweep',"
        " '--help'])\nfinally: print([m for m in ('tensorflow', 'optuna', 'mlflow') if m in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("usage: python -m flow_models sweep") and done.stdout.endswith(
        "[]\n"
    )


# --- the study


def write_metrics(folder: Path, trial: results.Trial, **metrics: float) -> None:
    (folder / trial.folder).mkdir(exist_ok=True)
    (folder / trial.folder / "metrics.json").write_text(json.dumps(metrics))


def test_a_grid_is_tried_in_its_order_and_a_stopped_one_goes_on(tmp_path):
    asked = header("depth=3,5 seed=0,1")
    study = Study(tmp_path, asked)
    todo = study.todo()
    first, failed, stopped = next(todo), next(todo), next(todo)
    assert (first.index, first.setting) == (0, {"depth": "3", "seed": "0"})
    write_metrics(tmp_path, first, nll_val=1.0)
    write_metrics(tmp_path, failed, nll_val=float("nan"))
    states = [study.ended(i, status).state for i, status in ((0, 0), (1, 1), (2, 75))]
    assert states == ["finished", "failed", "unfinished"]
    record.publish(tmp_path, study.trials, asked, "KILLED")
    again = Study(tmp_path, asked)
    assert [trial.state for trial in again.trials] == [*states, "unfinished"]
    assert [trial.index for trial in again.todo()] == [1, 2, 3] and stopped.index == 2
    assert [trial.setting for trial in again.trials] == space.settings(space.parse(asked.space))


@pytest.mark.parametrize(
    "fields, line",
    [
        ({"space": "depth=3"}, "holds a sweep with space depth=3,5, not depth=3: take another"),
        ({"trials": 4}, "holds a sweep with trials 0, not 4"),
        ({"arguments": ["--data", "pinwheel"]}, "holds a sweep with arguments"),
        ({"metric": "accuracy"}, "holds a sweep with metric nll_val, not accuracy"),
    ],
)
def test_another_sweep_in_the_folder_is_refused(tmp_path, fields, line):
    asked = header("depth=3,5", arguments=["--tracking-uri=http://me:secret@host"])
    assert local.enter(tmp_path / "new", asked, False) == asked
    assert local.enter(tmp_path / "new", asked, True) == asked
    with pytest.raises(UserError, match=re.escape(line)):
        local.enter(tmp_path / "new", dataclasses.replace(asked, **fields), True)
    with pytest.raises(UserError, match="holds another sweep: use --resume to go on with it"):
        local.enter(tmp_path / "new", asked, False)
    (tmp_path / "new" / "sweep.yaml").unlink()
    (tmp_path / "new" / "notes").touch()
    with pytest.raises(UserError, match="is not the place of a sweep: it holds no sweep.yaml"):
        local.enter(tmp_path / "new", asked, False)


def test_a_search_draws_from_its_ranges_and_finds_the_better_half(tmp_path):
    study = Study(tmp_path, header("rate=1e-4..1e-1:log depth=3..6 kind=a,b", trials=30))
    seen = []
    for trial in study.todo():
        rate, depth = float(trial.setting["rate"]), int(trial.setting["depth"])
        assert 1e-4 <= rate <= 1e-1 and 3 <= depth <= 6 and trial.setting["kind"] in "ab"
        assert trial.index == len(seen)
        write_metrics(tmp_path, trial, nll_val=rate)
        study.ended(trial.index, 0)
        seen.append(rate)
    assert len(seen) == 30 == len(study.trials) and sorted(seen[20:])[5] < sorted(seen[:10])[5]


def test_a_stopped_search_knows_its_trials_and_goes_on_to_draw_others(tmp_path):
    asked = header("rate=1.23456..9.87654 depth=3..600 kind=a,b", trials=6, metric="accuracy")
    study = Study(tmp_path, asked)
    todo = study.todo()
    drawn = [next(todo) for _ in range(4)]  # the fourth is running when the power goes
    for trial in (drawn[0], drawn[2]):
        write_metrics(tmp_path, trial, accuracy=0.5)
        study.ended(trial.index, 0)
    study.ended(1, 1)
    again = Study(tmp_path, asked)
    assert [trial.setting for trial in again.trials] == [trial.setting for trial in drawn]
    rest = []
    for trial in again.todo():
        write_metrics(tmp_path, trial, accuracy=0.6)
        again.ended(trial.index, 0)
        rest.append(trial)
    assert [trial.index for trial in rest] == [1, 3, 4, 5]
    assert len({space.words(trial.setting) for trial in again.trials}) == 6
    assert results.best(again.trials, "accuracy")[0].value("accuracy") == 0.6


def test_values_that_rounding_has_moved_are_taken_back_into_their_range():
    varied = space.parse("rate=1.23456..9.87654 depth=3..6 kind=a,b")
    past = [({"rate": rate, "depth": "4", "kind": "a"}, 1.0) for rate in ("1.234", "9.877")]
    search = Search(varied, False, past)
    assert set(search.suggest()) == {"rate", "depth", "kind"}
    search.tell(2, float("nan"))


# --- trials


SCRIPT = """
import json, os, pathlib, signal, sys, time
flags = dict(each[2:].split("=") for each in sys.argv[1:] if "=" in each)
folder = pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1])
folder.mkdir(exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
(folder / "pid").write_text(str(os.getpid()))
with (folder / "starts").open("a") as file: file.write("x")
if flags["depth"] == "5" and not (folder.parent / "mended").exists(): sys.exit("error: not so deep")
if flags["depth"] == "7" and len((folder / "starts").read_text()) == 1: time.sleep(60)
parent = float(len(os.environ["FLOW_MODELS_PARENT"]))
metrics = {"nll_val": 1 / int(flags["depth"]), "parent": parent}
(folder / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Runs a sweep over depths of the script above in the folder, which it gives too."""
    script, folder = tmp_path / "train_x.py", tmp_path / "sweep"
    script.write_text(SCRIPT)
    monkeypatch.setattr(local.scripts, "path_of", lambda app: script)

    def run(depths: str, jobs: int = 1, resume: bool = False) -> int:
        asked = header(f"depth={depths}")
        return local.run("x", local.enter(folder, asked, resume), folder, jobs)

    return run, folder


def starts(folder: Path) -> list[str]:
    return [file.read_text() for file in sorted(folder.glob("*/starts"))]


def states(folder: Path) -> list[str]:
    return [row["state"] for row in csv.DictReader((folder / "trials.csv").open())]


def test_a_trial_that_fails_is_told_and_the_sweep_goes_on(sweep, capsys):
    run, folder = sweep
    assert run("3,5,4", jobs=2) == 1
    said, wrong = capsys.readouterr()
    assert "depth=5: failed with status 1: error: not so deep" in said
    assert "depth=4: nll_val 0.25, " in said and "best: depth=4" in said
    assert "1 of 3 trials have no nll_val: 001-depth=5; --resume tries them again" in wrong
    assert states(folder) == ["finished", "failed", "finished"]
    (folder / "mended").touch()
    assert run("3,5,4", resume=True) == 0
    assert capsys.readouterr().out.count(" of 3  depth=") == 1
    assert states(folder) == ["finished"] * 3 and starts(folder) == ["x", "xx", "x"]


def test_ctrl_c_stops_the_running_trial_and_resuming_goes_on_with_it(sweep, capsys):
    (run, folder), started = sweep, time.monotonic()

    def interrupt(*_):
        if (folder / "000-depth=7" / "starts").exists():
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.2)

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with pytest.raises(KeyboardInterrupt):
        run("7,3")
    said, wrong = capsys.readouterr()
    assert time.monotonic() - started < 30 and " of 2  " not in said
    assert f"the same command with --resume --output-dir {folder}" in wrong
    assert states(folder) == ["unfinished"] * 2
    assert run("7,3", resume=True) == 0 and starts(folder) == ["xx", "x"]


def test_a_trial_that_is_stopped_from_outside_has_not_failed(sweep, capsys):
    run, folder = sweep

    def stop(*_):
        if (folder / "000-depth=7" / "starts").exists():
            os.kill(int((folder / "000-depth=7" / "pid").read_text()), signal.SIGTERM)
        else:
            signal.setitimer(signal.ITIMER_REAL, 0.2)

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    assert run("7,3") == 1 and states(folder) == ["unfinished", "finished"]
    assert run("7,3", resume=True) == 0 and starts(folder) == ["xx", "x"]


# --- what came of it


def test_the_best_is_that_of_the_mean_over_seeds_and_the_table_has_all():
    values = {("3", "0"): 1.0, ("3", "1"): 3.0, ("5", "0"): 1.8, ("5", "1"): 1.6, ("7", "0"): 0.1}
    trials = [
        results.Trial(i, {"depth": d, "seed": s}, {"nll_val": v, "accuracy": v})
        for i, ((d, s), v) in enumerate(values.items())
    ]
    trials.append(results.Trial(5, {"depth": "7", "seed": "1"}, {}, failed=True))
    found = results.best(trials, "nll_val")
    assert [trial.value("nll_val") for trial in found] == [1.6, 1.8] and found[0].index == 3
    assert (
        results.described(trials, "nll_val")
        == "best: depth=5, nll_val 1.7 +- 0.1 over 2 seeds; its best run: 003-depth=5-seed=1"
    )
    assert results.best(trials, "accuracy")[0].unseeded == "depth=3"
    again = [
        *trials[2:4],
        results.Trial(6, trials[0].setting, {"nll_val": 1.0}),
        *trials[:1] * 2,
    ]  # a search that draws one again
    assert results.best(again, "nll_val")[0].unseeded == "depth=5"
    assert results.best(trials, "nothing") == []
    assert results.described(trials, "nothing") == "no trial has a finite nothing"
    rows = list(csv.DictReader(results.table(trials, "nll_val").splitlines()))
    assert (
        [row["state"] for row in rows] == ["finished"] * 5 + ["failed"]
        and rows[5]["nll_val"] == ""
        and rows[2]["depth"] == "5"
    )
    assert results.summary(trials, "nll_val") == {
        "trials": 6,
        "trials_finished": 5,
        "trials_failed": 1,
        "trials_unfinished": 0,
        "best_nll_val": pytest.approx(1.7),
    }


@pytest.mark.slow
def test_a_sweep_of_the_script_end_to_end(tmp_path, store):
    folder, flags = (
        tmp_path / "mine",
        (
            "--data moons --steps 4 --jit false --test-points 200 --depth 2 --hidden [4,4]"
            " --batch-size 16"
        ),
    )
    command = [
        sys.executable,
        "-m",
        "flow_models",
        "sweep",
        "1",
        "learning_rate=1e-3",
        "--seeds",
        "2",
        f"--args={flags}",
        "--jobs",
        "2",
        "--output-dir",
        str(folder),
    ]
    place = os.environ | {"MLFLOW_TRACKING_URI": store}
    done = subprocess.run(command, cwd=ROOT, env=place, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    assert "2 trials in" in done.stdout and re.search(
        r"best: learning_rate=1e-3, nll_val .* over 2 seeds", done.stdout
    )
    above, below = family(store, "flowmodels1")
    assert above.info.run_name == "mine" and above.info.status == "FINISHED"
    names = ["000-learning_rate=1e_3-seed=0", "001-learning_rate=1e_3-seed=1"]
    assert sorted(below) == names and {run.info.status for run in below.values()} == {"FINISHED"}
    mean = sum(run.data.metrics["nll_val"] for run in below.values()) / 2
    assert above.data.metrics["trials_finished"] == 2 and above.data.metrics[
        "best_nll_val"
    ] == pytest.approx(mean)
    assert above.data.params["sweep"] == "learning_rate=1e-3 seed=0,1"
    assert {item.path for item in client(store).list_artifacts(above.info.run_id)} == {
        "trials.csv",
        "trials.png",
    }
    again = subprocess.run(command, cwd=ROOT, env=place, capture_output=True, text=True)
    assert (
        again.returncode == 2
        and "holds another sweep: use --resume" in again.stderr
        and again.stderr.count("\n") == 1
    )
    resumed = subprocess.run(
        [*command, "--resume"], cwd=ROOT, env=place, capture_output=True, text=True
    )
    assert resumed.returncode == 0 and "of 2  learning_rate" not in resumed.stdout, resumed.stderr
    assert sorted(family(store, "flowmodels1")[1]) == names


# --- the run above, and an array job


def claim(uri: str, number: int, found) -> None:
    api = client(uri)
    found.put(
        parents.find_or_make(
            api, api.get_experiment_by_name("e").experiment_id, "key name", {"number": str(number)}
        )
    )


def test_many_who_come_at_once_make_one_run(store, tmp_path):
    client(store).create_experiment("e")
    spawn = multiprocessing.get_context("spawn")
    found = spawn.Queue()
    comers = [spawn.Process(target=claim, args=(store, number, found)) for number in range(3)]
    for each in comers:
        each.start()
    ids = {found.get(timeout=120) for _ in comers}
    for each in comers:
        each.join()
    (above,) = client(store).search_runs([client(store).get_experiment_by_name("e").experiment_id])
    assert ids == {above.info.run_id} and above.info.run_name == "name"


def test_children_of_an_array_job_are_one_family_with_a_table(tmp_path, store, monkeypatch):
    monkeypatch.setattr("flow_models.runs.tracking.tracker.FLUSH_SECONDS", 0.2)
    place = str(tmp_path / "runs" / "mine")
    given = ["train_flowmodels1.py", "--data", "moons", "--output-dir", place]
    for index, attempt in ((1, "1"), (0, "1"), (0, "2")):
        told = {
            "FLOW_MODELS_SWEEP": "depth=3,5",
            "AWS_BATCH_JOB_ARRAY_INDEX": str(index),
            "AWS_BATCH_JOB_ID": f"job:{index}",
            "AWS_BATCH_JOB_ATTEMPT": attempt,
            "MLFLOW_TRACKING_URI": store,
        }
        command, (where, asked) = entry.arguments(given, told), entry.sweep_of(given, told)
        assert (
            where == place and asked.parent == "job mine" and asked.arguments == ["--data", "moons"]
        )
        monkeypatch.setenv(parents.PARENT_VARIABLE, asked.parent)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        run = Path(command[command.index("--output-dir") + 1])
        run.mkdir(parents=True, exist_ok=True)
        with Tracker(run, "flowmodels1") as tracker:
            tracker.start({"depth": 3 + 2 * index})
        if attempt == "1" and index == 0:
            continue  # the instance was taken back
        (run / "metrics.json").write_text(json.dumps({"nll_val": 1.0 + index}))
        collecting = entry.sweep_of(given, told | {"FLOW_MODELS_COLLECT": "job"})
        assert collecting == (where, asked), "the job that collects is of the same family"
        entry.collect(*collecting)
        rows = list(csv.DictReader((tmp_path / "runs" / "mine" / "trials.csv").open()))
        assert [row["state"] for row in rows] == (
            ["unfinished", "finished"] if index else ["finished", "finished"]
        )
        assert family(store, "flowmodels1")[0].info.status == ("RUNNING" if index else "FINISHED")
    above, below = family(store, "flowmodels1")
    assert above.info.run_name == "mine" and sorted(below) == ["000-depth=3", "001-depth=5"]
    note = above.data.tags["mlflow.note.content"]
    assert note.startswith("**Sweep of flowmodels1: depth=3,5**")
    assert "best: depth=3, nll_val 1; its best run: 000-depth=3" in note
    assert (
        above.data.metrics["best_nll_val"] == 1.0
        and (tmp_path / "runs" / "mine" / "trials.png").exists()
    )


def test_a_trial_that_is_sent_later_goes_below_its_sweep(tmp_path, store, monkeypatch):
    run = tmp_path / "sweep" / "000-depth=3"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("depth: 3\n")
    monkeypatch.setenv(parents.PARENT_VARIABLE, "key mine")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Tracker(run, "flowmodels1", tracking_uri="http://127.0.0.1:9") as tracker:
        tracker.start({"depth": 3})
    monkeypatch.delenv(parents.PARENT_VARIABLE)
    upload(run, tracking_uri=store)
    above, below = family(store, "flowmodels1")
    assert above.info.run_name == "mine" and list(below) == ["000-depth=3"]


def test_a_sweep_is_shown_anew(tmp_path, store, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    place = str(tmp_path / "mine")
    asked = entry.sweep_of(
        ["train_flowmodels1.py", "--output-dir", place],
        {"FLOW_MODELS_SWEEP": "depth=3,5", "MLFLOW_TRACKING_URI": store},
    )[1]
    Path(place, "000-depth=3").mkdir(parents=True)
    Path(place, "000-depth=3", "metrics.json").write_text('{"nll_val": 2.0}')
    entry.collect(place, asked)
    record.show(place)
    said = capsys.readouterr().out
    assert (
        "finished    000-depth=3  2" in said
        and "unfinished  001-depth=5  nan" in said
        and "best: depth=3, nll_val 2" in said
    )


def test_a_store_that_is_down_is_told_and_ends_nothing(tmp_path, capsys):
    asked = header("depth=3,5", mlflow=True, tracking_uri="http://127.0.0.1:9")
    (tmp_path / "trials").mkdir()
    record.publish(
        str(tmp_path / "trials"), [results.Trial(0, {"depth": "3"}, {})], asked, "RUNNING"
    )
    assert "connection refused. The sweep goes on without it" in capsys.readouterr().err
    assert (tmp_path / "trials" / "trials.csv").exists()


@pytest.mark.parametrize(
    "text, line", [("", "is damaged"), ("[", "is damaged"), ("space: depth=3,5", "is damaged")]
)
def test_a_damaged_header_is_told_in_a_line(tmp_path, text, line):
    (tmp_path / "sweep.yaml").write_text(text)
    for arguments in (
        ["--show", str(tmp_path)],
        ["1", "depth=3,5", "--resume", "--output-dir", str(tmp_path)],
    ):
        with pytest.raises(UserError, match=line):
            given = parser().parse_args(["sweep", *arguments])
            given.run(given)


def test_a_search_that_has_drawn_nothing_is_shown_and_keeps_no_password(tmp_path, capsys):
    secret = "http://me:secret@host"
    asked = header("rate=1..2", trials=3, arguments=[f"--x={secret}"], tracking_uri=secret)
    asked.write(str(tmp_path))
    assert "secret" not in (tmp_path / "sweep.yaml").read_text()
    assert record.read_header(str(tmp_path)).trials == 3
    record.show(str(tmp_path))
    assert (
        "no trial has a finite nll_val" in capsys.readouterr().out
        and (tmp_path / "trials.png").exists()
    )


@pytest.mark.parametrize("text", ["number\n0\n", "number,state,rate\nx,failed,1.5\n"])
def test_a_damaged_table_of_a_search_is_told_in_a_line(tmp_path, text):
    header("rate=1..2", trials=3).write(tmp_path)
    (tmp_path / "trials.csv").write_text(text)
    with pytest.raises(UserError, match="trials.csv is damaged: move"):
        record.show(str(tmp_path))


def test_an_error_of_the_sweep_itself_leaves_no_trial_running(sweep, monkeypatch):
    run, folder = sweep
    monkeypatch.setattr(record, "publish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("7,3", jobs=2)
    for file in folder.glob("*/pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
    assert len(list(folder.glob("*/pid"))) == 2
