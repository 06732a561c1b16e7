"""Sweeps: what is varied, trials that fail or are stopped, one run in MLflow above all, here and as
an array job."""

import csv
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
from flow_models.sweep import grid, results, shown
from flow_models.sweep.grid import Range
from flow_models.sweep.study import Study
from flow_models.sweep.trials import Runner

ROOT = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


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
    assert grid.space("hidden=[8,8],[64,64] rate=1e-4..1e-2:log depth=3..6 share=-.5..1") == {
        "hidden": ["[8,8]", "[64,64]"],
        "rate": Range(1e-4, 1e-2, True, False),
        "depth": Range(3, 6, False, True),
        "share": Range(-0.5, 1, False, False),
    }
    assert grid.settings({"a": ["1", "2"], "b": ["x"]}) == [
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
            "writes locally; into S3 goes an array job",
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


def test_a_grid_is_tried_in_its_order_and_a_stopped_one_goes_on(tmp_path):
    space = {"depth": ["3", "5"], "seed": ["0", "1"]}
    study = Study(tmp_path, space, 0, False, False)
    first = study.take()
    assert first[1:] == (0, {"depth": "3", "seed": "0"})
    study.tell(first[0], 1.0)
    failed, stopped = study.take(), study.take()
    study.tell(failed[0], float("nan"))
    assert study.failed() == {1}
    again = Study(tmp_path, space, 0, False, True)
    assert [again.take()[1:] for _ in range(3)] == [
        again.settings()[i] for i in (2, 3, 1)
    ] and again.take() is None
    assert again.settings() == list(enumerate(grid.settings(space))) and stopped[1] == 2
    with pytest.raises(UserError, match="a sweep over something else"):
        Study(tmp_path, {"depth": ["3"]}, 0, False, True)


def test_a_search_draws_from_its_ranges_and_finds_the_better_half(tmp_path):
    study, seen = (
        Study(tmp_path, grid.space("rate=1e-4..1e-1:log depth=3..6 kind=a,b"), 30, False, False),
        [],
    )
    while taken := study.take():
        rate, depth = float(taken[2]["rate"]), int(taken[2]["depth"])
        assert (
            1e-4 <= rate <= 1e-1
            and 3 <= depth <= 6
            and taken[2]["kind"] in "ab"
            and taken[1] == len(seen)
        )
        study.tell(taken[0], rate)
        seen.append(rate)
    assert len(seen) == 30 == len(study.settings()) and sorted(seen[20:])[5] < sorted(seen[:10])[5]


# --- trials


SCRIPT = """
import json, os, pathlib, signal, sys, time
flags = dict(each[2:].split("=") for each in sys.argv[1:] if "=" in each)
folder = pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1])
folder.mkdir(exist_ok=True)
with (folder / "starts").open("a") as file: file.write("x")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
if flags["depth"] == "5" and not (folder.parent / "mended").exists(): sys.exit("error: not so deep")
if flags["depth"] == "7" and len((folder / "starts").read_text()) == 1: time.sleep(60)
metrics = {"nll_val": 1 / int(flags["depth"]), "parent": float(len(os.environ["FLOW_MODELS_PARENT"]))}
(folder / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def runner(tmp_path):
    script = tmp_path / "train_x.py"
    script.write_text(SCRIPT)
    folder, lines = tmp_path / "sweep", []
    folder.mkdir()
    return (
        Runner(script, (), folder, "key name", "nll_val", lambda line, index: lines.append(line)),
        lines,
        folder,
    )


def test_a_trial_that_fails_is_told_and_the_sweep_goes_on(runner):
    runner, lines, folder = runner
    runner.jobs = 2
    space = {"depth": ["3", "5", "4"]}
    study = Study(folder, space, 0, False, False)
    runner.run(study)
    said = {line.partition(":")[0]: line for line in lines}
    assert (
        "failed with status 1: error: not so deep" in said["depth=5"]
        and "nll_val 0.25" in said["depth=4"]
    )
    found = results.collect(folder, study.settings(), study.failed())
    assert [trial.state for trial in found] == ["finished", "failed", "finished"]
    (folder / "mended").touch()
    resumed = Study(folder, space, 0, False, True)
    runner.run(resumed)
    assert resumed.failed() == set() and len(lines) == 4
    assert [(folder / trial.folder / "starts").read_text() for trial in found] == ["x", "xx", "x"]


def test_ctrl_c_stops_the_running_trial_and_resuming_goes_on_with_it(runner):
    runner, lines, folder = runner
    space, started = {"depth": ["7", "3"]}, time.monotonic()
    study = Study(folder, space, 0, False, False)

    def interrupt(*_):
        if (folder / "000-depth=7" / "starts").exists():
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.2)

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    with pytest.raises(KeyboardInterrupt):
        runner.run(study)
    assert time.monotonic() - started < 30 and lines == []
    rest = Runner(
        runner.script, (), folder, "key name", "nll_val", lambda line, index: lines.append(index)
    )
    rest.run(Study(folder, space, 0, False, True))
    assert lines == [0, 1] and (folder / "000-depth=7" / "starts").read_text() == "xx"


# --- what came of it


def test_the_best_is_that_of_the_mean_over_seeds_and_the_table_has_all():
    values = {("3", "0"): 1.0, ("3", "1"): 3.0, ("5", "0"): 1.8, ("5", "1"): 1.6, ("7", "0"): 0.1}
    trials = [
        results.Trial(i, {"depth": d, "seed": s}, {"nll_val": v, "accuracy": v})
        for i, ((d, s), v) in enumerate(values.items())
    ]
    trials.append(results.Trial(5, {"depth": "7", "seed": "1"}, {}, failed=True))
    setting, found, trial = results.best(trials, "nll_val")
    assert setting == {"depth": "5"} and found == [1.8, 1.6] and trial.index == 3
    assert (
        results.described(trials, "nll_val")
        == "best: depth=5, nll_val 1.7 +- 0.1 over 2 seeds; its best run: 003-depth=5-seed=1"
    )
    assert results.best(trials, "accuracy")[0] == {"depth": "3"}
    again = [
        *trials[2:4],
        results.Trial(6, trials[0].setting, {"nll_val": 1.0}),
        *trials[:1] * 2,
    ]  # a search that draws one anew
    assert results.best(again, "nll_val")[0] == {"depth": "5"}
    assert results.best(trials, "nothing") is None
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
        command, (where, header) = entry.arguments(given, told), entry.sweep_of(given, told)
        assert (
            where == place
            and header["parent"] == "job mine"
            and header["arguments"] == ["--data", "moons"]
        )
        monkeypatch.setenv(parents.PARENT_VARIABLE, header["parent"])
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        run = Path(command[command.index("--output-dir") + 1])
        run.mkdir(parents=True, exist_ok=True)
        with Tracker(run, "flowmodels1") as tracker:
            tracker.start({"depth": 3 + 2 * index})
        if attempt == "1" and index == 0:
            continue  # the instance was taken back
        (run / "metrics.json").write_text(json.dumps({"nll_val": 1.0 + index}))
        entry.conclude(where, header, index)
        rows = list(csv.DictReader((tmp_path / "runs" / "mine" / "trials.csv").open()))
        assert [row["state"] for row in rows] == (
            ["unfinished", "finished"] if index else ["finished", "finished"]
        )
        assert family(store, "flowmodels1")[0].info.status == ("RUNNING" if index else "FINISHED")
    above, below = family(store, "flowmodels1")
    assert above.info.run_name == "mine" and sorted(below) == ["000-depth=3", "001-depth=5"]
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
    header = entry.sweep_of(
        ["train_flowmodels1.py", "--output-dir", place],
        {"FLOW_MODELS_SWEEP": "depth=3,5", "MLFLOW_TRACKING_URI": store},
    )[1]
    Path(place, "000-depth=3").mkdir(parents=True)
    Path(place, "000-depth=3", "metrics.json").write_text('{"nll_val": 2.0}')
    entry.conclude(place, header, 0)
    shown.show(place)
    said = capsys.readouterr().out
    assert (
        "finished    000-depth=3  2" in said
        and "unfinished  001-depth=5  nan" in said
        and "best: depth=3, nll_val 2" in said
    )


def test_a_store_that_is_down_is_told_and_ends_nothing(tmp_path, capsys):
    header = {
        "experiment": "e",
        "space": "depth=3,5",
        "arguments": [],
        "metric": "nll_val",
        "parent": "k n",
        "mlflow": True,
        "tracking_uri": "http://127.0.0.1:9",
    }
    (tmp_path / "trials").mkdir()
    shown.publish(
        str(tmp_path / "trials"), [results.Trial(0, {"depth": "3"}, {})], header, "RUNNING"
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
    header = {
        "experiment": "e",
        "space": "rate=1..2",
        "arguments": ["--tracking-uri=http://me:secret@host"],
        "metric": "nll_val",
        "trials": 3,
        "parent": "k n",
        "mlflow": False,
        "tracking_uri": "http://me:secret@host",
    }
    shown.write_header(str(tmp_path), header)
    assert (
        "secret" not in (tmp_path / "sweep.yaml").read_text()
        and shown.read_header(str(tmp_path))["trials"] == 3
    )
    shown.show(str(tmp_path))
    assert (
        "no trial has a finite nll_val" in capsys.readouterr().out
        and (tmp_path / "trials.png").exists()
    )


def test_an_error_of_the_sweep_itself_leaves_no_trial_running(runner):
    runner, _, folder = runner
    runner.jobs, runner.told = 2, lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        runner.run(Study(folder, {"depth": ["7", "3"]}, 0, False, False))
    assert (
        all(each[0].poll() is not None for each in runner._running.values())
        and len(runner._running) == 1
    )
