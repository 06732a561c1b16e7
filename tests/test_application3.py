"""Application 3 as its users run it, and the ways to run it wrongly."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from in_process import application

import flow_models as fm
from flow_models.data.images.export import png

TINY = [
    "--steps",
    "8",
    "--depth",
    "1",
    "--hidden",
    "[8]",
    "--batch-size",
    "16",
    "--eval-every-steps",
    "4",
    "--jit",
    "false",
    "--mlflow",
    "false",
]
SCRIPT = "train_flowmodels3.py"


def call(monkeypatch, *arguments) -> int:
    return application(monkeypatch, 3, *arguments)


def bars(root, count: int, kinds=("upright", "lying"), size=(9, 13), channels=3):
    """Folders of pictures in colour, of odd and unequal sides, with a bar upright or lying, or
    noise."""
    rng = np.random.default_rng(len(str(root)))
    for kind in kinds:
        for number in range(count):
            image = rng.integers(0, 60, (*size, channels)).astype(np.uint8)
            at = rng.integers(1, 6)
            if kind == "upright":
                image[:, at : at + 2] = 250
            elif kind == "lying":
                image[at : at + 2] = 250
            (root / kind).mkdir(parents=True, exist_ok=True)
            (root / kind / f"{number:03d}.png").write_bytes(png(image))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with train and val, one class of a single picture in training."""
    root = tmp_path_factory.mktemp("pictures") / "parts"
    bars(root / "train", 30)
    bars(root / "val", 8)
    bars(root / "train", 1, ("noise",))
    return root


def metrics_of(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.slow
def test_digits_in_three_forms_with_a_class_unknown(tmp_path, monkeypatch):
    arguments = [
        "--data",
        "digits",
        "--output-dir",
        tmp_path / "run",
        *TINY,
        "--compare",
        "--unknown",
        "3",
        "--classes",
        "[1, 3, 7]",
        "--measured-samples",
        "30",
    ]
    assert call(monkeypatch, *arguments) == 0
    metrics = metrics_of(tmp_path / "run")
    for name in ("accuracy", "ece", "nll_class", "bits_per_dim", "train_seconds"):
        assert {name, f"{name}_mixture", f"{name}_joint"} <= set(metrics)
    assert {
        "accuracy_svm",
        "accuracy_logistic",
        "class_temperature",
        "auroc_nll_3",
        "auroc_confidence_3",
        "samples_kid",
        "samples_memorised_null",
    } <= set(metrics)
    assert metrics["accuracy_of_samples_svm"] < metrics["accuracy_svm"]
    ratio = metrics["bits_per_dim"] / metrics["bits_per_dim_unconditional"]
    assert metrics["bits_per_dim_ratio"] == pytest.approx(ratio) and 0.8 < ratio < 1.2
    figures = {
        "sides",
        "data",
        "samples",
        "probabilities",
        "transfer",
        "interpolated",
        "evidence",
        "neighbours",
        "latents",
        "training",
        "strangest",
        "unknown",
        "alike",
    }
    assert {
        name.removesuffix(".png") for name in os.listdir(tmp_path / "run" / "figures")
    } == figures
    report = (tmp_path / "run" / "report.html").read_text()
    assert "no classes" in report and "recognised by svm" in report
    assert report.count("data:image/png;base64,") == len(figures)
    model = fm.load(str(tmp_path / "run"), jit=False)
    assert model.classes == ("1", "7")
    assert model.labels.calibration_temperature == metrics["class_temperature"]
    assert model.sample(2, y="7").shape == (2, 8, 8, 1) and model.sample(2, y="7").dtype == np.uint8


def test_ones_own_folder_in_colour_of_odd_sides_with_a_class_of_one_picture(
    folder, tmp_path, monkeypatch
):
    arguments = [
        "--train-uri",
        folder,
        "--output-dir",
        tmp_path / "run",
        *TINY,
        "--steps",
        "40",
        "--cache-dir",
        tmp_path / "cache",
    ]
    assert call(monkeypatch, *arguments, "--levels", "2", "--shift", "0.1", "--bits", "5") == 0
    model = fm.load(str(tmp_path / "run"), jit=False)
    assert model.classes == ("lying", "noise", "upright") and model.event_shape == (9, 13, 3)
    x = model.sample(6, seed=1)
    np.testing.assert_allclose(model.classify(x).sum(1), 1, atol=1e-6)
    assert model.bits_per_dim(x).shape == (6,) and model.encode(x).shape == (6, model.latent_size)
    report = (tmp_path / "run" / "report.html").read_text()
    assert "half of the validation pictures are the test" in report
    for words in ("The nearest, from left: 0", "From above: 0", "From: 0", "To: 0"):
        assert words in report, "the figures name files"
    assert metrics_of(tmp_path / "run")["accuracy"] > 0.5


def test_files_go_with_their_pictures():
    """Through splits, a class left out and labels taken off, a name stays with its picture."""
    from flow_models.applications.classes.pictures import picture_problem
    from flow_models.data.images.dataset import ImageData

    images = np.arange(120, dtype=np.uint8).reshape(-1, 1, 1, 1)
    labels = (np.arange(120) % 3).astype(np.int32)
    parts = slice(0, 60), slice(60, 120)
    names = [f"p{number}.png" for number in range(120)]
    train, held = ((images[part], labels[part]) for part in parts)
    classes = ("a", "b", "c")
    files = {"example_names": names[parts[0]], "held_out_names": names[parts[1]]}
    data = ImageData("x", train[0], *train, *held, None, None, classes, 60, "made up", **files)
    problem = picture_problem(data)
    for each in (problem, problem.leaving_out("b"), problem.with_labels(6)):
        for part in (each.train, each.validation, each.test):
            assert list(part.names) == [f"p{number}.png" for number in part.x[:, 0, 0, 0]]


@pytest.mark.slow
def test_few_labels_and_studies(tmp_path, monkeypatch):
    monkeypatch.setattr("flow_models.applications.classes.pictures.BETAS", (1.0, 100.0))
    arguments = [
        "--data",
        "digits",
        "--classes",
        "[0, 1]",
        "--output-dir",
        tmp_path / "run",
        *TINY,
        "--labelled",
        "10",
    ]
    assert (
        call(monkeypatch, *arguments, "--label-study", "--beta-study", "--unconditional", "false")
        == 0
    )
    assert {"labels_study.png", "beta_study.png"} <= set(os.listdir(tmp_path / "run" / "figures"))
    assert "bits_per_dim_ratio" not in metrics_of(tmp_path / "run")


WRONG = {
    "one class": (["--train-uri", "{}/one"], "the one class 'upright'; a classifier needs two"),
    "no class folders": (["--train-uri", "{}/one/upright"], "no folders of classes"),
    "a class that training lacks": (["--train-uri", "{}/more"], "has a class 'noise' that"),
    "sizes that differ": (["--train-uri", "{}/sizes"], "pictures of different sizes"),
    "no such data": (["--data", "silhouette"], "no embedded set has this name"),
    "no such class": (["--data", "digits", "--classes", "[1, ten]"], "ten"),
    "classes of one": (["--data", "digits", "--classes", "[1]"], "a classifier needs two classes"),
    "unknown of none": (["--data", "digits", "--unknown", "rose"], "cannot leave out 'rose'"),
    "fewer labels than classes": (
        ["--data", "digits", "--labelled", "3"],
        "3 labels are fewer than the 10 classes",
    ),
    "more labels than pictures": (
        ["--data", "digits", "--labelled", "100000"],
        "100000 labels are more than the",
    ),
    "form": (["--data", "digits", "--form", "both"], "no form 'both'"),
    "beta": (["--data", "digits", "--beta", "-1"], "beta is -1"),
    "width of another form": (["--data", "digits", "--sigma-y", "0"], "sigma_y is 0.0"),
    "levels": (
        ["--data", "digits", "--levels", "5"],
        "would be padded to 32x32; give fewer levels",
    ),
    "conditioned": (["--data", "digits", "--conditioned", "9"], "conditioned is 9"),
    "temperature": (
        ["--data", "digits", "--sampling-temperature", "0"],
        "sampling_temperature is 0.0",
    ),
    "fewer pictures than a batch": (
        ["--train-uri", "{}/few", "--batch-size", "64"],
        "fewer than one batch of 64",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line(case, tmp_path, monkeypatch, capfd):
    arguments, message = WRONG[case]
    bars(tmp_path / "one", 12, ("upright",))
    bars(tmp_path / "few", 16)
    bars(tmp_path / "sizes", 3)
    bars(tmp_path / "sizes", 3, ("noise",), (8, 8))
    bars(tmp_path / "more" / "train", 3)
    bars(tmp_path / "more" / "val", 3)
    bars(tmp_path / "more" / "val", 2, ("noise",))
    arguments = [a.replace("{}", str(tmp_path)) for a in arguments]
    status = call(
        monkeypatch,
        *TINY,
        "--output-dir",
        tmp_path / "run",
        "--cache-dir",
        tmp_path / "cache",
        *arguments,
    )
    error = capfd.readouterr().err
    assert (
        status == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    ), error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_as_a_program_it_is_quiet_and_help_needs_no_tensorflow(folder, tmp_path):
    arguments = [
        "--train-uri",
        str(folder),
        "--classes",
        "[upright, lying]",
        "--output-dir",
        str(tmp_path / "run"),
        "--levels",
        "1",
    ]
    result = subprocess.run(
        [sys.executable, SCRIPT, *arguments, *TINY], capture_output=True, text=True, timeout=250
    )
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert "bits_per_dim_ratio" in result.stdout
    shutil.rmtree(tmp_path / "run")
    check = (
        "import sys, runpy; sys.argv = ['t', '--help']\ntry: runpy.run_path('%s',"
        " run_name='__main__')\n"
    )
    check += "except SystemExit: pass\nassert 'tensorflow' not in sys.modules"
    result = subprocess.run(
        [sys.executable, "-c", check % SCRIPT], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0 and "--train-uri" in result.stdout, result.stderr
