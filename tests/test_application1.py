"""Application 1 as its users run it, and all the ways to run it wrongly."""

import base64
import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from in_process import application
from servers import s3  # noqa: F401  (a fixture)

import flow_models as fm
from flow_models.runs.config import replace
from flow_models.runs.folder import RunFolder
from train_flowmodels1 import Config

TINY = [
    "--steps",
    "40",
    "--depth",
    "2",
    "--hidden",
    "[8, 8]",
    "--batch-size",
    "64",
    "--test-points",
    "500",
    "--eval-every-steps",
    "10",
]
PLAIN = [*TINY, "--jit", "false"]  # where XLA is not what is tested: it takes seconds to compile
COMMAND = [sys.executable, "train_flowmodels1.py"]


def train(*arguments):
    """Runs the script as a process of its own."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=200)


def call(monkeypatch, *arguments) -> int:
    return application(monkeypatch, 1, *arguments)


def write_table(path, rows=300):
    rng = np.random.default_rng(0)
    table = np.stack([rng.normal(size=rows), rng.gamma(2, size=rows), rng.normal(size=rows)], 1)
    np.savetxt(path, table, delimiter=",", header="a,b,c", comments="")
    return table


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on a set of known density."""
    folder = tmp_path_factory.mktemp("run") / "moons"
    result = train("--data", "moons", "--output-dir", str(folder), "--mlflow", "false", *TINY)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_a_run_leaves_all_that_was_promised(finished):
    folder, result = finished
    figures = ["sides", "density", "latents", "training", "anomalies", "mapping"]
    assert set(os.listdir(folder / "figures")) == {f"{name}.png" for name in figures}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"nll_test_gaussian", "nll_test_kde", "nll_test_mixture"} <= set(metrics)
    strangest = list(csv.DictReader((folder / "strangest.csv").open()))
    assert len(strangest) == 20 and {"row", "nll", "tail_probability", "driven_by"} <= set(
        strangest[0]
    )
    assert {
        "nll_val",
        "nll_test",
        "kl_to_truth",
        "train_seconds",
        "compile_seconds",
        "steps_per_second",
        "peak_memory_mb",
    } <= set(metrics)
    assert (
        abs(metrics["nll_test"] - metrics["entropy"] - metrics["kl_to_truth"]) < 0.2
        and metrics["kl_to_truth"] > 0
    )
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [float(row["step"]) for row in rows] == [10, 20, 30, 40]
    for row in rows:
        assert (
            abs(float(row["val_latent"]) - float(row["val_log_det"]) - float(row["val_objective"]))
            < 1e-4
        )
    assert yaml.safe_load((folder / "config.yaml").read_text())["steps"] == 40
    report = (folder / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 6 and 'src="http' not in report
    first = report.partition("data:image/png;base64,")[2].partition('"')[0]
    assert base64.b64decode(first) == (folder / "figures" / "sides.png").read_bytes()
    assert "The two sides of the network" in report
    assert "kl_to_truth" in result.stdout and str(folder) in result.stdout
    lines = result.stderr.splitlines()
    assert all(line.startswith("warning: a ") for line in lines), "quiet when not a terminal"
    assert [f"warning: {line}" for line in metrics.get("warnings", [])] == lines
    assert fm.load(str(folder)).log_prob(np.zeros((1, 2))).shape == (1,)


@pytest.mark.slow
def test_two_processes_do_not_share_a_folder(finished, monkeypatch, capfd):
    folder, _ = finished
    before = (folder / "metrics.json").read_text()
    arguments = ["--data", "moons", "--output-dir", str(folder), "--mlflow", "false", *PLAIN]
    hold = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX);"
        " print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        for how in ("--resume", "--overwrite"):
            assert call(monkeypatch, *arguments, how) == 2
            error = capfd.readouterr().err
            assert f"another process is at work in {folder}" in error and error.count("\n") == 1
        with pytest.raises(
            fm.UserError, match="another process is at work"
        ):  # at once, not when data are drawn
            RunFolder(replace(Config(), output_dir=str(folder), resume=True), "flowmodels1")
        assert (folder / "metrics.json").read_text() == before
        other.kill()  # and with it goes its hold
    assert call(monkeypatch, *arguments, "--resume") == 0
    assert call(monkeypatch, *arguments, "--resume") == 0, "a run lets go of its folder"


@pytest.mark.slow
def test_an_occupied_folder_is_refused_until_told_otherwise(finished, monkeypatch, capfd):
    folder, _ = finished
    before = (folder / "metrics.json").read_text()
    arguments = ["--data", "moons", "--output-dir", str(folder), "--mlflow", "false", *PLAIN]
    assert call(monkeypatch, *arguments) == 2
    error = capfd.readouterr().err
    assert "holds another run: use --resume" in error and error.count("\n") == 1
    assert (folder / "metrics.json").read_text() == before
    assert (
        call(monkeypatch, *arguments, "--overwrite", "--batch-size", "3", "--microbatches", "2")
        == 2
    )
    assert call(monkeypatch, *arguments, "--resume", "--steps", "50") == 2
    assert (folder / "metrics.json").read_text() == before, "a refused command touches nothing"
    assert yaml.safe_load((folder / "config.yaml").read_text())["steps"] == 40
    (folder / "thesis.tex").touch()
    assert (
        call(monkeypatch, *arguments, "--overwrite") == 2
        and "it holds thesis.tex" in capfd.readouterr().err
    )
    (folder / "thesis.tex").unlink()
    assert call(monkeypatch, *arguments, "--overwrite", "--seed", "1") == 0
    assert (folder / "metrics.json").read_text() != before


@pytest.mark.slow
def test_resuming_a_killed_run_gives_the_history_of_a_whole_one(finished, tmp_path):
    steps = [
        "--data",
        "moons",
        "--mlflow",
        "false",
        *TINY,
        "--steps",
        "4000",
        "--eval-every-steps",
        "500",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train("--output-dir", str(whole), *steps).returncode == 0
    process = subprocess.Popen(
        [*COMMAND, "--output-dir", str(killed), "--checkpoint-seconds", "0", *steps],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.time() + 120
    while not (killed / "history.csv").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75 and "--resume" in error
    resumed = train("--output-dir", str(killed), "--resume", *steps)
    assert resumed.returncode == 0, resumed.stderr
    histories = [
        list(csv.DictReader((folder / "history.csv").open())) for folder in (whole, killed)
    ]
    for one, other in zip(*histories, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in other.items() if k != "seconds"
        }


def test_a_table_with_bounds_in_three_dimensions(tmp_path, monkeypatch):
    write_table(tmp_path / "t.csv")
    assert 0 == call(
        monkeypatch,
        "--data",
        str(tmp_path / "t.csv"),
        "--lower",
        "[null, 0, null]",
        "--mlflow",
        "false",
        "--output-dir",
        str(tmp_path / "run"),
        *PLAIN,
    )
    model = fm.load(str(tmp_path / "run"))
    assert model.columns == ["a", "b", "c"] and (model.sample(300)[:, 1] > 0).all()
    assert "kl_to_truth" not in json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_one_dimension_and_an_embedded_table(tmp_path, monkeypatch):
    np.save(tmp_path / "one.npy", np.random.default_rng(0).normal(size=300))
    for data, architecture, name in (
        (str(tmp_path / "one.npy"), "maf", "one"),
        ("cell_nuclei", "glow", "cells"),
    ):
        assert 0 == call(
            monkeypatch,
            "--data",
            data,
            "--architecture",
            architecture,
            "--mlflow",
            "false",
            "--output-dir",
            str(tmp_path / name),
            *PLAIN,
        )
        assert np.isfinite(json.loads((tmp_path / name / "metrics.json").read_text())["nll_test"])


def test_a_table_in_s3_and_mlflow_in_a_store_of_its_own(s3, tmp_path, monkeypatch):
    from flow_models.core import storage

    storage.client().create_bucket(Bucket="tables")
    write_table(tmp_path / "t.csv")
    storage.write_bytes("s3://tables/in/t.csv", (tmp_path / "t.csv").read_bytes())
    store = f"sqlite:///{tmp_path / 'store.db'}"
    assert 0 == call(
        monkeypatch,
        "--data",
        "s3://tables/in/t.csv",
        "--output-dir",
        str(tmp_path / "run"),
        "--tracking-uri",
        store,
        *PLAIN,
    )
    import mlflow

    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("flowmodels1").experiment_id])
    assert run.data.params["data"] == "s3://tables/in/t.csv" and "nll_test" in run.data.metrics
    assert run.info.status == "FINISHED"


def files(tmp_path):
    """Wrong input files by name."""
    table = write_table(tmp_path / "good.csv")
    (tmp_path / "text.csv").write_text("a,b\n" + "1,2\n3,four\n5,6\n" * 40)
    (tmp_path / "nan.csv").write_text("a,b\n" + "1,2\n2,1\n,3\n" * 40)
    (tmp_path / "constant.csv").write_text("a,b\n" + "".join(f"{i % 7},5\n" for i in range(100)))
    (tmp_path / "junk.csv").write_bytes(bytes(range(256)) * 4)
    np.save(tmp_path / "short.npy", table[:30])
    np.save(tmp_path / "small.npy", table[:100])
    np.save(tmp_path / "cube.npy", np.zeros((3, 4, 5)))
    (tmp_path / "a_file").write_text("x")
    return tmp_path


WRONG = {
    "missing file": (["--data", "{}/none.csv"], "no such file"),
    "a folder": (["--data", "{}/"], "folder"),
    "not a table": (["--data", "{}/junk.csv"], "not"),
    "unknown kind of file": (["--data", "{}/a_file"], ".csv"),
    "text for numbers": (["--data", "{}/text.csv"], "four"),
    "nan": (["--data", "{}/nan.csv"], "40"),
    "constant column": (["--data", "{}/constant.csv"], "constant"),
    "no such column": (["--data", "{}/good.csv", "--columns", "[a, z]"], "z"),
    "fewer rows than a batch": (
        ["--data", "{}/small.npy", "--batch-size", "128"],
        "fewer than one batch of 128",
    ),
    "three-dimensional array": (["--data", "{}/cube.npy"], "3"),
    "unknown data": (["--data", "moon"], "no data 'moon'"),
    "unknown flag": (["--dta", "moons"], "did you mean --data?"),
    "unknown preset": (["--preset", "tiny"], "no preset 'tiny'"),
    "unknown architecture": (["--architecture", "nvp"], "no architecture 'nvp'"),
    "unknown activation": (["--activation", "sine"], "no activation 'sine'; there are relu"),
    "negative size": (["--hidden", "[-8]"], "widths must be at least 1"),
    "negative depth": (["--depth", "-1"], "depth is -1"),
    "no bins": (["--bins", "0"], "bins is 0"),
    "outside the bounds": (
        ["--data", "{}/good.csv", "--lower", "[null, null, 0]"],
        "is not above the lower bound 0",
    ),
    "bounds the wrong way": (
        ["--data", "{}/good.csv", "--lower", "[3, 0, 0]", "--upper", "[2, 9, 9]"],
        "not below",
    ),
    "bounds of other columns": (
        ["--data", "{}/good.csv", "--lower", "[0]"],
        "bounds for 1 columns, but the data have 3",
    ),
    "one dimension for couplings": (
        ["--data", "{}/good.csv", "--columns", "[a]"],
        "at least 2 dimensions, got 1",
    ),
    "a file for a folder": (["--data", "{}/good.csv", "--output-dir", "{}/a_file"], "is a file"),
    "somebody's folder": (
        ["--data", "{}/good.csv", "--output-dir", "{}", "--overwrite"],
        "nothing was deleted",
    ),
    "nothing to resume": (
        ["--data", "{}/good.csv", "--output-dir", "{}", "--resume"],
        "nothing to resume",
    ),
    "resume and overwrite": (["--resume", "--overwrite"], "give one of them"),
    "too few test points": (["--data", "moons", "--test-points", "7"], "must be at least 8"),
    "too few rows": (["--data", "{}/short.npy", "--batch-size", "8"], "at least 80"),
    "no bounds": (["--data", "{}/good.csv", "--lower", "[]"], "bounds for 0 columns"),
    "a very long name": (["--data", "moons", "--output-dir", "x" * 300], "name"),
    "nothing to resume by name": (["--resume"], "--resume needs --output-dir"),
    "unknown scheme": (["--data", "gs://bucket/t.csv"], "gs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line_and_nothing_is_lost(case, tmp_path, monkeypatch, capfd):
    arguments, message = WRONG[case]
    folder = files(tmp_path)
    kept = sorted(os.listdir(folder))
    arguments = [a.replace("{}", str(folder)) for a in arguments]
    if not {"--output-dir", "--resume"} & set(arguments):
        arguments += ["--output-dir", str(tmp_path / "run")]
    status, error = (
        call(monkeypatch, *TINY, "--mlflow", "false", *arguments),
        capfd.readouterr().err,
    )
    assert (
        status == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    ), error
    assert [name for name in sorted(os.listdir(folder)) if name != "run"] == kept


@pytest.mark.parametrize("case", ["missing bucket", "missing key", "wrong secret", "no network"])
def test_wrong_s3_input_is_one_clear_line(case, s3, tmp_path, monkeypatch, capfd):
    from servers import free_ports

    uri, environment, message = {
        "missing bucket": ("s3://no-such-bucket/t.csv", {}, "bucket"),
        "missing key": ("s3://tables/none.csv", {}, "no"),
        "wrong secret": ("s3://tables/in/t.csv", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "secret"),
        "no network": (
            "s3://tables/in/t.csv",
            {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_ports(1)[0]}", "AWS_MAX_ATTEMPTS": "2"},
            "no connection",
        ),
    }[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, error = (
        call(monkeypatch, "--data", uri, "--output-dir", str(tmp_path / "run")),
        capfd.readouterr().err,
    )
    assert (
        status == (75 if case == "no network" else 2)
        and error.count("\n") == 1
        and message in error.lower()
    ), error
    assert not (tmp_path / "run").exists()


def test_the_explorer_finds_the_held_out_rows_of_a_run(finished):
    from flow_models.applications import mapping
    from flow_models.explore import opened

    found = opened.load(str(finished[0]))
    config = found.config
    test = mapping.load(config["data"], None, config["test_points"], config["seed"]).test
    assert found.known_name == "held-out" and not found.note
    np.testing.assert_array_equal(found.known, test[: opened.ROWS])
