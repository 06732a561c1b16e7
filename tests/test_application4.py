"""Application 4 as its users run it, and the ways to run it wrongly."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from in_process import application

import flow_models as fm

TINY = [
    "--steps",
    "20",
    "--depth",
    "1",
    "--hidden",
    "[8]",
    "--bins",
    "4",
    "--batch-size",
    "64",
    "--test-points",
    "500",
    "--compare",
    "false",
    "--mlflow",
    "false",
    "--jit",
    "false",
]
SCRIPT = "train_flowmodels4.py"


def call(monkeypatch, *arguments) -> int:
    return application(monkeypatch, 4, *arguments)


def write_table(path, rows=240, kinds=("oak", "ash", "elm"), gaps=0):
    """A table of three measures and a column of text labels, the first `gaps` of them empty."""
    rng = np.random.default_rng(0)
    lines = ["height,kind,girth,age"]
    for i in range(rows):
        k = i % len(kinds)
        a, b, c = rng.normal(size=3)
        lines.append(f"{3 * k + a:.5f},{'' if i < gaps else kinds[k]},{k + b:.5f},{np.exp(c):.5f}")
    path.write_text("\n".join(lines) + "\n")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_eight_modes_in_three_forms(tmp_path, monkeypatch):
    arguments = [
        "--output-dir",
        str(tmp_path / "run"),
        *TINY,
        "--compare",
        "true",
        "--labels",
        "some",
    ]
    assert call(monkeypatch, *arguments) == 0
    metrics = metrics_of(tmp_path / "run")
    for name in ("accuracy", "ece", "nll_class", "nll_test", "kl_to_truth"):
        assert {name, f"{name}_conditional", f"{name}_joint"} <= set(metrics)
    assert {
        "nll_test_bound_joint",
        "accuracy_bayes",
        "accuracy_lda",
        "accuracy_qda",
        "accuracy_logistic",
        "mode_share_worst",
        "samples_beyond_4_sd",
        "train_seconds",
        "train_seconds_joint",
        "nll_val",
    } <= set(metrics)
    assert metrics["kl_to_truth"] > 0 and abs(metrics["entropy"] - 1.69844) < 1e-4
    figures = {
        "sides",
        "regions",
        "samples",
        "probabilities",
        "transfer",
        "latents",
        "training",
        "anomalies",
    }
    assert {
        name.removesuffix(".png") for name in os.listdir(tmp_path / "run" / "figures")
    } == figures
    report = (tmp_path / "run" / "report.html").read_text()
    assert "Generative classifiers and baselines" in report
    assert report.count("data:image/png;base64,") == len(figures)
    assert report.index("conditional, beta 1") < report.index("joint, beta 1")
    first = re.search(r"mixture, beta 1 \(this run\).*?</tr>", report, re.S)[0]
    assert f">{metrics['train_seconds']:.4g}<" in first, "seconds of the training of this run"
    model = fm.load(str(tmp_path / "run"), jit=False)
    assert model.classify(np.zeros((3, 2))).shape == (3, 4) and model.sample(5, y="0").shape == (
        5,
        2,
    )


def test_ones_own_table_with_gaps_in_the_labels_an_unknown_class_and_studies(tmp_path, monkeypatch):
    write_table(tmp_path / "t.csv", kinds=("oak", "ash", "elm", "fir"), gaps=60)
    arguments = [
        "--data",
        str(tmp_path / "t.csv"),
        "--label-column",
        "kind",
        "--output-dir",
        str(tmp_path / "run"),
        *TINY,
    ]
    assert (
        call(monkeypatch, *arguments, "--unknown", "fir", "--labelled", "9", "--label-study") == 0
    )
    metrics = metrics_of(tmp_path / "run")
    assert metrics["auroc_nll_fir"] > 0.5 and {
        "auroc_mahalanobis_fir",
        "auroc_confidence_fir",
    } <= set(metrics)
    model = fm.load(str(tmp_path / "run"), jit=False)
    assert model.classes == ("ash", "elm", "oak") and model.columns == ["height", "girth", "age"]
    assert {"unknown.png", "labels_study.png"} <= set(os.listdir(tmp_path / "run" / "figures"))


@pytest.mark.slow
def test_one_class_and_more_classes_than_columns(tmp_path, monkeypatch):
    assert call(monkeypatch, "--output-dir", str(tmp_path / "none"), *TINY, "--labels", "none") == 0
    assert "accuracy" not in metrics_of(tmp_path / "none") and "kl_to_truth" in metrics_of(
        tmp_path / "none"
    )
    write_table(tmp_path / "t.csv", kinds=tuple("abcdef"))
    arguments = [
        "--data",
        str(tmp_path / "t.csv"),
        "--label-column",
        "kind",
        "--output-dir",
        str(tmp_path / "joint"),
        *TINY,
    ]
    assert call(monkeypatch, *arguments, "--form", "joint") == 0
    model = fm.load(str(tmp_path / "joint"), jit=False)
    assert model.partition.inputs == {"x": 3, "pad": 3}
    assert "nll_test_bound" in metrics_of(tmp_path / "joint")


def test_a_class_of_one_row_is_trained_on(tmp_path, monkeypatch):
    write_table(tmp_path / "t.csv", rows=120)
    with (tmp_path / "t.csv").open("a") as file:
        file.write("9,yew,9,9\n")
    assert 0 == call(
        monkeypatch,
        "--data",
        str(tmp_path / "t.csv"),
        "--label-column",
        "kind",
        "--output-dir",
        str(tmp_path / "run"),
        *TINY,
    )
    assert fm.load(str(tmp_path / "run"), jit=False).classes == ("ash", "elm", "oak", "yew")


WRONG = {
    "no label column": (["--data", "{}/t.csv"], "give --label-column"),
    "another label column": (["--data", "{}/t.csv", "--label-column", "sort"], "no column 'sort'"),
    "labels that are numbers": (
        ["--data", "{}/t.csv", "--label-column", "age"],
        "labels are few and repeat",
    ),
    "one class": (
        ["--data", "{}/one.csv", "--label-column", "kind"],
        "a classifier needs two classes",
    ),
    "few rows": (["--data", "{}/short.csv", "--label-column", "kind"], "at least 40 are expected"),
    "unknown data": (["--data", "vine"], "no data 'vine'"),
    "unknown labels": (["--labels", "most"], "there are all, some, none"),
    "unknown form": (["--form", "both"], "no form 'both'"),
    "negative beta": (["--beta", "-1"], "beta is -1"),
    "fewer labels than classes": (["--labelled", "3"], "3 labels are fewer than the 8 classes"),
    "no such class": (["--data", "iris", "--unknown", "rose"], "cannot leave out 'rose'"),
    "a class of two": (
        ["--data", "breast_cancer", "--unknown", "benign"],
        "one of at least three classes",
    ),
    "covariance": (["--covariance", "round"], "full or diagonal"),
    "smoothing": (["--data", "iris", "--smoothing", "-1"], "smoothing is -1"),
    "width of another form": (["--data", "iris", "--sigma-y", "0"], "sigma_y is 0.0"),
    "covariance of another form": (
        ["--data", "iris", "--form", "joint", "--covariance", "round"],
        "full or diagonal",
    ),
    "endless beta": (["--beta", ".inf"], "beta is inf"),
    "endless smoothing": (["--data", "iris", "--smoothing", ".inf"], "smoothing is inf"),
    "passes": (["--data", "iris", "--passes", "0"], "passes is 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line(case, tmp_path, monkeypatch, capfd):
    arguments, message = WRONG[case]
    write_table(tmp_path / "t.csv")
    write_table(tmp_path / "one.csv", kinds=("oak",))
    write_table(tmp_path / "short.csv", rows=30)
    arguments = [a.replace("{}", str(tmp_path)) for a in arguments]
    status, error = (
        call(monkeypatch, *TINY, "--output-dir", str(tmp_path / "run"), *arguments),
        capfd.readouterr().err,
    )
    assert (
        status == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    ), error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_as_a_program_it_is_quiet_and_help_needs_no_tensorflow(tmp_path):
    command = [
        sys.executable,
        SCRIPT,
        "--data",
        "iris",
        "--output-dir",
        str(tmp_path / "run"),
        *TINY,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "accuracy" in result.stdout
    check = (
        "import sys, runpy; sys.argv = ['t', '--help']\ntry: runpy.run_path('%s',"
        " run_name='__main__')\n"
    )
    check += "except SystemExit: pass\nassert 'tensorflow' not in sys.modules"
    result = subprocess.run(
        [sys.executable, "-c", check % SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0 and "--label-column" in result.stdout, result.stderr
