"""Application 2 and the command line for trained models as their users run them, rightly and
wrongly."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from in_process import application, status
from PIL import Image

import flow_models as fm
from flow_models.bijectors.multiscale import MultiScale
from flow_models.core.errors import FlowModelsWarning
from flow_models.data.images.export import png

TINY = [
    "--steps",
    "8",
    "--depth",
    "1",
    "--levels",
    "1",
    "--hidden",
    "[8]",
    "--batch-size",
    "16",
    "--eval-every-steps",
    "4",
    "--resamples",
    "50",
    "--jit",
    "false",
    "--mlflow",
    "false",
]
DIGITS = ["--data", "digits", "--classes", "[3, 8]", "--anomalies", "[]"]


def call(monkeypatch, *arguments) -> int:
    return application(monkeypatch, 2, *arguments)


def command(*arguments) -> int:
    """Runs `python -m flow_models` in this process."""
    from flow_models.__main__ import main
    from flow_models.runs.program import guarded

    return status(lambda: guarded(lambda: main([str(each) for each in arguments])))


def picture(path, kind: str, seed: int, size=(8, 8)):
    """A bar upright or lying, or noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (*size, 1)).astype(np.uint8)
    at = rng.integers(1, 6)
    if kind == "upright":
        image[:, at : at + 2] = 250
    elif kind == "lying":
        image[at : at + 2] = 250
    else:
        image = rng.integers(0, 256, (*size, 1)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(image))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of bars and, apart, of noise."""
    root = tmp_path_factory.mktemp("pictures")
    for kind in ("upright", "lying"):
        for seed in range(60):
            picture(root / "bars" / kind / f"{seed:03d}.png", kind, seed)
    for seed in range(20):
        picture(root / "noise" / f"{seed:03d}.png", "noise", seed)
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on embedded digits, as a process of its own."""
    run = tmp_path_factory.mktemp("run") / "digits"
    arguments = [*DIGITS[:-1], "[mnist]", "--output-dir", str(run), *TINY, "--steps", "150"]
    (run.parent / "mine.py").write_text(
        "def means(images):\n    return images.mean(3)[:, 2:6, 3]\n"
    )
    arguments += ["--measured-samples", "40", "--measured-by", str(run.parent / "mine.py:means")]
    result = subprocess.run(
        [sys.executable, "train_flowmodels2.py", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr
    return run, result


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A model of two columns."""
    place = tmp_path_factory.mktemp("model")
    flow = fm.realnvp(2, depth=1, hidden=(4,))
    fm.Model(flow, codecs={"x": ["a", "b"]}, jit=False).save(str(place))
    return place


def rows_of(path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


def test_a_run_leaves_all_that_was_promised(finished):
    run, result = finished
    about = json.loads((run / "about.json").read_text())
    (data,) = about["data"]
    assert data["shape"] == [8, 8, 1] and data["source"] == "" and len(data["digest"]) == 16
    assert about["tags"]["application"] == "flowmodels2" and about["tags"]["architecture"] == "glow"
    assert set(os.listdir(run / "figures")) == {
        f"{name}.png"
        for name in (
            "sides",
            "data",
            "training",
            "samples",
            "neighbours",
            "latents",
            "regenerated",
            "interpolated",
            "strange_maps",
            "latent_map",
            "anomalies",
            "strangest_known",
            "scores",
            "roc",
            "alike",
        )
    }
    metrics = json.loads((run / "metrics.json").read_text())
    for score in (
        "nll",
        "typicality",
        "complexity",
        "likelihood_ratio",
        "latent_norm",
        "pca",
        "pixel_mean",
        "compressed_size",
    ):
        for name in ("near", "mnist"):
            low, middle, high = (
                metrics[f"auroc_{score}_{name}{end}"] for end in ("_low", "", "_high")
            )
            assert 0 <= low <= middle <= high <= 1
            assert {f"aupr_{score}_{name}", f"fpr95_{score}_{name}_high"} <= set(metrics)
    assert {
        "bits_per_dim",
        "bits_per_dim_se",
        "nll_val",
        "code_bits_per_dim",
        "train_seconds",
        "peak_memory_mb",
        "samples_recall_null",
    } <= set(metrics)
    assert metrics["samples_kid"] > 0.1 > metrics["samples_kid_null"]
    report = (run / "report.html").read_text()
    assert (
        report.count("data:image/png;base64,") == 15
        and "known against near and mnist" in report
        and "pca (baseline)" in report
    )
    assert result.stderr == "" and str(run) in result.stdout


def test_the_csv_has_a_row_for_every_held_out_picture_and_makes_the_metrics(finished):
    from flow_models.diagnostics.detection import detection

    run, _ = finished
    rows = rows_of(run / "scores.csv")
    labels = {
        name: {row["label"] for row in rows if row["set"] == name}
        for name in ("known", "near", "mnist")
    }
    assert (
        labels["known"] == {"3", "8"}
        and labels["near"] == set("01245679")
        and labels["mnist"] == set("0123456789")
    )
    score = {name: [float(row["nll"]) for row in rows if row["set"] == name] for name in labels}
    metrics = json.loads((run / "metrics.json").read_text())
    assert detection(score["known"], score["near"], 0)["auroc"] == pytest.approx(
        metrics["auroc_nll_near"], abs=1e-3
    )


def test_the_report_says_where_pictures_are_strange_and_how_sure_that_is(finished):
    run, _ = finished
    metrics = json.loads((run / "metrics.json").read_text())
    report = (run / "report.html").read_text()
    auroc, sure = metrics["auroc_combined_near"], metrics["pixel_auroc"]
    low, high = (metrics[f"auroc_combined_near_{end}"] for end in ("low", "high"))
    assert (
        f"combined tells near pictures from known ones in {auroc:.1%} of pairs"
        f" (95% interval {low:.1%} to {high:.1%}" in report
    )
    assert f"above another pixel in {sure:.0%} of pairs" in report and sure > 0.6
    assert 0 <= metrics["pointing_game"] <= 1
    ranked = sorted(rows_of(run / "scores.csv"), key=lambda row: -float(row["combined"]))
    with np.load(run / "strange_maps.npz") as found:
        assert found["maps"].shape == (11, 8, 8) and len(found["names"]) == 11
        names = list(found["names"])
    assert all(name in report for name in names), "every picture is named"
    least = float(ranked[7]["combined"])
    strangest = {row["name"] for row in ranked if float(row["combined"]) >= least}
    assert {name.rpartition(" (")[0] for name in names[:8]} <= strangest
    assert all(name.endswith(" (known)") for name in names[8:])


def test_the_detector_loads_from_the_folder_and_scores_as_the_run_did(finished):
    from flow_models.data.images import embedded
    from flow_models.models.detector import load_detector

    run, _ = finished
    detector = load_detector(str(run), jit=False)
    images = embedded.load("digits").only(["3", "8"]).validation
    scores = detector.scores(images)
    assert all(
        np.allclose(scores[name], detector.reference[name], rtol=1e-4, atol=1e-2) for name in scores
    )
    tails = detector.tails(scores)["nll"]
    assert tails.min() == pytest.approx(2 / (1 + len(images))) and tails.max() == 1, (
        "the strangest has itself beyond"
    )


def test_own_pictures_with_another_class_and_a_folder_of_anomalies(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert 0 == call(
        monkeypatch,
        *TINY,
        "--train-uri",
        str(folder / "bars"),
        "--classes",
        "[upright]",
        "--anomalies",
        "[]",
        "--anomaly-uri",
        str(folder / "noise"),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--background",
        "none",
        "--score",
        "nll",
        "--shift",
        "0.1",
        "--output-dir",
        str(run),
    )
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["auroc_compressed_size_far"] == 1.0 and "auroc_nll_near" in metrics
    assert (
        not any("likelihood_ratio" in name for name in metrics)
        and not (run / "background").exists()
    )
    assert {row["label"] for row in rows_of(run / "scores.csv")} == {"upright", "lying", "noise"}


def test_a_folder_of_colour_photographs_as_the_readme_has_it(tmp_path, monkeypatch, capfd):
    """All folders of train are known, those that val has beside them near anomalies, no digits are
    added, and the pictures keep 5 bits."""
    from sklearn.datasets import load_sample_images

    rng, place = np.random.default_rng(0), tmp_path / "photos"
    for kind, photo in zip(("temple", "flower"), load_sample_images().images):
        for part, count in (("train", 24), ("val", 6)):
            for number in range(count):
                y, x = rng.integers(0, 300), rng.integers(0, 500)
                path = place / part / kind / f"{number:02d}.JPG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(photo[y : y + 40, x : x + 50]).save(path)
    for number in range(5):
        picture(place / "val" / "beachball" / f"{number}.png", "noise", number)
    (place / "train" / "flower" / "cut.png").write_bytes(b"\x89PNG")
    run, cache = tmp_path / "run", tmp_path / "cache"
    arguments = ["--train-uri", place / "train", "--val-uri", place / "val", "--image-size", 16]
    assert 0 == call(monkeypatch, *TINY, *arguments, "--output-dir", run, "--cache-dir", cache)
    metrics = json.loads((run / "metrics.json").read_text())
    assert "auroc_nll_near" in metrics and not any(name.endswith("_mnist") for name in metrics)
    labels = [(row["set"], row["label"]) for row in rows_of(run / "scores.csv")]
    assert set(labels) == {("known", "temple"), ("known", "flower"), ("near", "beachball")}
    assert labels.count(("near", "beachball")) == 5
    files = {str(each) for each in (place / "val").rglob("*.*")}
    assert {row["name"] for row in rows_of(run / "scores.csv")} == files
    assert fm.load(str(run), jit=False).codec.bits == 5
    report = (run / "report.html").read_text()
    assert "The nearest, from left: " in report and "From: " in report and ".JPG, " in report
    assert "5 bits a pixel" in report and "48 images, 16x16 colour" in report
    (skipped,) = rows_of(run / "skipped.csv")
    assert skipped["name"].endswith("cut.png") and skipped["kind"] == "unreadable"
    assert "left out: 1; the first" in report and "cut.png" in metrics["warnings"][0]
    assert "warning: unreadable pictures" in capfd.readouterr().err


def test_a_finished_run_that_is_resumed_stays_what_it_was(finished, tmp_path, monkeypatch):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    arguments = [
        *TINY,
        *DIGITS[:-1],
        "[mnist]",
        "--steps",
        "150",
        "--resume",
        "--output-dir",
        str(run),
        "--measured-samples",
        "40",
        "--measured-by",
        str(finished[0].parent / "mine.py:means"),
    ]
    assert 0 == call(monkeypatch, *arguments)
    before, after = (json.loads((each / "metrics.json").read_text()) for each in (finished[0], run))
    changing = ("seconds", "memory", "steps_per_second")
    assert all(
        np.isclose(before[name], after[name], atol=1e-6)
        for name in before
        if not any(c in name for c in changing)
    )


@pytest.mark.slow
def test_all_classes_known_and_nothing_foreign_is_a_model_to_draw_from(tmp_path, monkeypatch):
    run = tmp_path / "run"
    assert 0 == call(
        monkeypatch,
        *TINY,
        "--data",
        "digits",
        "--classes",
        "null",
        "--anomalies",
        "[]",
        "--levels",
        "0",
        "--output-dir",
        str(run),
    )
    metrics = json.loads((run / "metrics.json").read_text())
    model = fm.load(str(run))
    (multiscale,) = (each for each in model.layer.layers if isinstance(each, MultiScale))
    assert len(multiscale.levels) == 2, "of pictures of 8 x 8 pixels, where none are given"
    assert "bits_per_dim" in metrics and not any(name.startswith("auroc") for name in metrics)
    assert not (run / "figures" / "roc.png").exists() and model.sample(2).shape == (2, 8, 8, 1)


WRONG = {
    "few samples": (["--measured-samples", "9"], "must be 0 or at least 20"),
    "no network": (["--measured-by", "nowhere.py:f"], "there is no file"),
    "no features": (["--features", "nothing"], "give module:function"),
    "unknown set": (["--data", "dogs"], "no embedded set has this name"),
    "unknown class": (["--data", "digits", "--classes", "[x]"], "x"),
    "unknown anomalies": (["--anomalies", "[dogs]"], "dogs"),
    "unknown score": (["--score", "oddness"], "'oddness', must be one of nll"),
    "ratio without a background": (
        ["--score", "likelihood_ratio", "--background", "none"],
        "needs a background",
    ),
    "unknown background": (["--background", "noisy"], "must be one of distorted, mutated, none"),
    "mutation above one": (["--mutation", "2"], "mutation"),
    "no such folder": (["--train-uri", "nowhere/at/all"], "no such folder"),
    "no such folder of held-out ones": (
        ["--val-uri", "nowhere/at/all"],
        "nowhere/at/all: no such folder",
    ),
    "unknown architecture": (["--architecture", "nvp"], "no architecture"),
    "too many bits": (["--bits", "9"], "must be 1 to 8"),
    "augmented beyond": (["--zoom", "3"], "zoom"),
    "two channels": (["--channels", "2"], "channels are 1 (grey) or 3"),
    "more levels than pixels": (
        ["--levels", "12"],
        "levels is 12: pictures of 8x8 would be padded to 4096x4096",
    ),
    "less than no levels": (["--levels", "-1"], "levels is -1, must be at least 0"),
    "cold": (["--sampling-temperature", "-1"], "sampling_temperature is -1.0, must be above 0"),
    "steps that go back": (["--background-steps", "-5"], "background_steps is -5"),
    "fewer than none bad": (["--max-bad", "-1"], "max_bad is -1"),
    "no class": (["--classes", "[]"], "give null for all classes"),
    "itself as an anomaly": (["--anomalies", "[digits]"], "digits is what is learned"),
    "a seed of 33 bits": (["--seed", "4294967296"], "must be at least 0 and below 2^31"),
    "unknown flag": (["--clases", "[cat]"], "did you mean --classes?"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_clear_line_before_anything_is_written(
    case, tmp_path, monkeypatch, capfd
):
    arguments, message = WRONG[case]
    found = (
        call(monkeypatch, *TINY, *DIGITS, *arguments, "--output-dir", str(tmp_path / "run")),
        capfd.readouterr().err,
    )
    assert (
        found[0] == 2
        and found[1].startswith("error: ")
        and found[1].count("\n") == 1
        and message in found[1]
    ), found[1]
    assert not (tmp_path / "run").exists()


def test_score_pictures(finished, folder, tmp_path, capfd):
    run, _ = finished
    assert command("score", run, folder / "noise", "--csv", tmp_path / "out.csv") == 0
    rows = rows_of(tmp_path / "out.csv")
    assert len(rows) == 20 and rows[0]["name"].endswith("000.png")
    assert {
        "nll",
        "bits_per_dim",
        "typicality",
        "complexity",
        "likelihood_ratio",
        "latent_norm",
        "nll_tail",
    } <= set(rows[0])
    assert all(float(row["nll_tail"]) < 0.05 for row in rows), "noise is stranger than any digit"
    assert "20 rows" in capfd.readouterr().out
    assert command("score", run, "digits", "--csv", tmp_path / "digits.csv") == 0
    assert rows_of(tmp_path / "digits.csv")[0]["name"].startswith("digits/test/")


def test_score_writes_maps_beside_the_scores(finished, folder, tmp_path, capfd):
    run, _ = finished
    for number in range(10):
        picture(tmp_path / "own" / "sub" / f"{number}.png", "noise", number)
    picture(tmp_path / "own" / "bar.png", "upright", 1)
    arguments = [tmp_path / "own", "--csv", tmp_path / "out.csv", "--maps", tmp_path / "maps"]
    assert command("score", run, *arguments) == 0
    assert len(rows_of(tmp_path / "out.csv")) == 11
    assert set(os.listdir(tmp_path / "maps")) == {
        "sub",
        "bar.png.npy",
        "bar.png.png",
        "strangest.png",
    }
    assert len(os.listdir(tmp_path / "maps" / "sub")) == 20
    found = np.load(tmp_path / "maps" / "sub" / "3.png.npy")
    detector = fm.load_detector(str(run), jit=False)
    image = np.asarray(Image.open(tmp_path / "own" / "sub" / "3.png"))[None, ..., None]
    assert found.dtype == np.float32 and np.allclose(found, detector.maps(image)[0], atol=1e-3)
    drawn = np.asarray(Image.open(tmp_path / "maps" / "bar.png.png"))
    assert drawn.shape == (128, 256, 3) and (drawn[:, :128] == drawn[:, :128, :1]).all()
    assert command("score", run, "digits", "--maps", tmp_path / "own" / "bar.png" / "x") == 2
    assert "a part of this path is a file" in capfd.readouterr().err


def test_unreadable_pictures_have_a_row_and_a_line(finished, folder, tmp_path, capfd):
    place = tmp_path / "some"
    for number in range(17):
        picture(place / f"{number:03d}.png", "noise", number)
    (place / "008x.png").write_bytes((place / "001.png").read_bytes()[:60])
    assert command("score", finished[0], place, "--csv", tmp_path / "out.csv") == 0
    rows = rows_of(tmp_path / "out.csv")
    (bad,) = (row for row in rows if row["error"])
    assert len(rows) == 18 and bad["name"].endswith("008x.png") and "broken" in bad["error"]
    assert {bad[key] for key in bad if key not in ("name", "error")} == {""}
    assert all(float(row["nll"]) for row in rows if row is not bad)
    found = capfd.readouterr()
    assert "warning: 1 of 18 pictures could not be read" in found.err and "008x.png" in found.err
    assert "18 rows" in found.out
    arguments = ["--csv", tmp_path / "none.csv", "--max-bad", 0]
    assert command("score", finished[0], place, *arguments) == 2
    assert not (tmp_path / "none.csv").exists()


def test_pictures_are_scored_in_the_memory_of_a_few_batches(finished, tmp_path, monkeypatch):
    """While the first batch is scored, few of the others are read; the CSV has them all."""
    from flow_models.data.images import scoring
    from flow_models.models.detector import Detector

    for number in range(600):
        picture(tmp_path / "many" / f"{number:04d}.png", "noise", number % 7)
    real, ahead, taken = (scoring.read, Detector.scores), [0], [0]

    def read(uri, rule):
        ahead[0] += 1
        return real[0](uri, rule)

    def scores(self, images, seed=0):
        taken[0] += len(images)
        assert len(images) <= 64 and ahead[0] - taken[0] <= 128
        return real[1](self, images, seed)

    monkeypatch.setattr(scoring, "read", read)
    monkeypatch.setattr(Detector, "scores", scores)
    out = tmp_path / "out.csv"
    assert command("score", finished[0], tmp_path / "many", "--csv", out) == 0
    names = [os.path.basename(row["name"]) for row in rows_of(out)]
    assert names == [f"{number:04d}.png" for number in range(600)]


def test_foreign_pictures_beyond_the_most_are_told(folder, tmp_path):
    from flow_models.applications.pictures import sets
    from flow_models.data.images import open_images

    known = open_images(str(folder / "bars"), size=8, channels=1, cache_dir=None)
    for number in range(70):
        picture(tmp_path / "many" / f"{number:04d}.png", "noise", number % 7)
    with pytest.warns(FlowModelsWarning, match="of more than 64 pictures the first 64 by name"):
        found = sets.from_uri(str(tmp_path), known, most=64)
    assert len(found.images) == 64 and found.names[-1].endswith("0063.png")
    assert len(sets.from_uri(str(tmp_path), known, most=70).images) == 70


def test_sample_pictures_as_a_sheet_or_a_folder(finished, tmp_path):
    run, _ = finished
    assert command("sample", run, "-n", 5, "--png", tmp_path / "s.png", "--temperature", 0.5) == 0
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    assert sheet.shape == (2 * 8 + 1, 3 * 8 + 2)
    first = fm.load(str(run), jit=False).sample(5, sampling_temperature=0.5)[0, ..., 0]
    assert np.abs(sheet[:8, :8].astype(int) - first).mean() < 1
    assert command("sample", run, "-n", 3, "--folder", tmp_path / "many") == 0
    assert sorted(os.listdir(tmp_path / "many")) == ["00001.png", "00002.png", "00003.png"]


def test_interpolate_ends_with_the_pictures_given(finished, folder, tmp_path):
    run, _ = finished
    a, b = (folder / "bars" / kind / "000.png" for kind in ("upright", "lying"))
    assert (
        command(
            "interpolate", run, a, b, "--png", tmp_path / "i.png", "--steps", 4, "--kind", "both"
        )
        == 0
    )
    strip = np.asarray(Image.open(tmp_path / "i.png")).astype(int)
    assert strip.shape == (17, 35)
    step = 255 / 7  # of 3 bits
    assert np.abs(strip[:8, :8] - np.asarray(Image.open(a))).max() <= step
    assert np.abs(strip[9:, 27:] - np.asarray(Image.open(b))).max() <= step


def test_vectors_are_scored_and_drawn_as_tables(vectors, tmp_path):
    (tmp_path / "t.csv").write_text("b,id,a\n2,7,1\n0,8,0\n")
    assert command("score", vectors, tmp_path / "t.csv", "--csv", tmp_path / "out.csv") == 0
    found = [float(row["nll"]) for row in rows_of(tmp_path / "out.csv")]
    model = fm.load(str(vectors), jit=False)
    assert np.allclose(found, -model.log_prob(np.array([[1.0, 2.0], [0.0, 0.0]])), rtol=1e-4), (
        "columns by their names"
    )
    assert command("sample", vectors, "-n", 3, "--csv", tmp_path / "s.csv") == 0
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "a,b" and np.allclose(
        np.loadtxt(lines[1:], delimiter=","), model.sample(3), rtol=1e-4
    )


def test_names_that_are_not_utf_8_are_scored_all_the_same(finished, folder, tmp_path):
    name = os.fsencode(tmp_path / "own") + b"/caf\xe9.png"
    os.mkdir(tmp_path / "own")
    with open(name, "wb") as file:
        file.write((folder / "noise" / "000.png").read_bytes())
    assert 0 == command("score", finished[0], tmp_path / "own", "--csv", tmp_path / "s.csv")
    assert name in (tmp_path / "s.csv").read_bytes()


def wrong_commands(run, vectors, folder, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n")
    (tmp_path / "half.csv").write_text("b,c\n1,2\n")
    (tmp_path / "t.png").write_text("text")
    a = folder / "bars" / "upright" / "000.png"
    return {
        "no model": (["score", tmp_path / "none", "digits"], "holds no model"),
        "no pictures": (["score", run, tmp_path / "none"], "none"),
        "a broken picture": (["score", run, tmp_path / "t.csv"], "t.csv"),
        "half of the columns": (
            ["score", vectors, tmp_path / "half.csv"],
            "no column 'a'; the model has a, b",
        ),
        "a seed below 0": (["score", run, "digits", "--seed", "-1"], "at least 0 and below 2^31"),
        "a seed of 33 bits": (["sample", run, "--seed", "4294967296"], "at least 0 and below 2^31"),
        "scores to a folder": (
            ["score", run, tmp_path / "none", "--csv", tmp_path],
            "a file is expected; this is a folder",
        ),
        "scores below a file": (
            ["score", run, tmp_path / "none", "--csv", a / "x.csv"],
            "a part of this path is a file",
        ),
        "no picture": (
            ["interpolate", run, a, tmp_path / "t.png"],
            "t.png: not a readable picture",
        ),
        "maps of rows": (
            ["score", vectors, tmp_path / "t.csv", "--maps", tmp_path / "maps"],
            "--maps is of pictures",
        ),
        "text": (["score", vectors, tmp_path / "nan.csv"], "no such file"),
        "rows of images": (["sample", run, "--csv", "x.csv"], "give --png or --folder"),
        "pictures of vectors": (["sample", vectors, "--png", "x.png"], "give --csv"),
        "none at all": (["sample", run, "-n", "0"], "-n must be at least 1"),
        "cold": (["sample", run, "--temperature", "0"], "--temperature above 0"),
        "both": (["sample", run, "--png", "x", "--folder", "y"], "give one of them"),
        "one step": (["interpolate", run, a, a, "--steps", "1"], "must be at least 2"),
        "a folder for a picture": (["interpolate", run, a.parent, a], "one picture is expected"),
        "vectors between": (["interpolate", vectors, a, a], "a table is a file whose name ends in"),
        "no command": ([], "COMMAND"),
        "another command": (["scor", run], "invalid choice"),
        "not a number": (["sample", run, "-n", "many"], "invalid int value: 'many'"),
    }


def test_wrong_commands_are_one_clear_line(finished, vectors, folder, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for case, (arguments, message) in wrong_commands(
        finished[0], vectors, folder, tmp_path
    ).items():
        found, error = command(*arguments), capfd.readouterr().err
        assert (
            found == 2
            and error.startswith("error: ")
            and error.count("\n") == 1
            and message in error
        ), (case, error)


def test_help_answers_at_once_without_tensorflow():
    for arguments in (
        ["-m", "flow_models", "--help"],
        ["-m", "flow_models", "score", "--help"],
        ["train_flowmodels2.py", "--help"],
    ):
        code = (
            "import sys, runpy; sys.argv = {!r}; \ntry: runpy.{}\nfinally: assert 'tensorflow' not"
            " in sys.modules"
        )
        how = (
            "run_module('flow_models', run_name='__main__')"
            if arguments[0] == "-m"
            else f"run_path({arguments[0]!r}, run_name='__main__')"
        )
        result = subprocess.run(
            [sys.executable, "-c", code.format(arguments[-2:], how)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert result.returncode == 0 and "usage" in result.stdout, result.stderr


@pytest.mark.slow
def test_mlflow_serves_pictures(tmp_path, monkeypatch):
    import mlflow

    store = f"sqlite:///{tmp_path / 'store.db'}"
    run = tmp_path / "run"
    arguments = [each for each in TINY if each not in ("--mlflow", "false", "--jit")]
    assert 0 == call(
        monkeypatch,
        *arguments,
        "--jit",
        "false",
        "--mlflow",
        "true",
        "--tracking-uri",
        store,
        "--register-model",
        *DIGITS,
        "--output-dir",
        str(run),
    )
    client = mlflow.MlflowClient(store)
    (found,) = client.search_runs([client.get_experiment_by_name("flowmodels2").experiment_id])
    assert "auroc_nll_near" in found.data.metrics and found.data.params["classes"] == "[3, 8]"
    (version,) = client.search_model_versions("name='flowmodels2'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    mlflow.set_tracking_uri(store)
    served, model = (
        mlflow.pyfunc.load_model(f"models:/flowmodels2/{version.version}"),
        fm.load(str(run), jit=False),
    )
    pixels = model.sample(3)
    ask = {"params": {"method": "bits_per_dim"}}
    assert np.allclose(
        served.predict(pixels.astype(np.float32), **ask), model.bits_per_dim(pixels), rtol=1e-3
    )
    assert served.predict(pixels.astype(np.float32), params={"method": "sample", "n": 2}).shape == (
        2,
        8,
        8,
        1,
    )
    with pytest.raises(mlflow.exceptions.MlflowException, match="from 0 to 255"):
        served.predict(pixels.astype(np.float32) - 300)


def test_the_explorer_judges_by_what_the_run_remembers(finished):
    from flow_models.explore import judged, opened
    from flow_models.models.detector import load_detector

    found, detector = opened.load(str(finished[0])), load_detector(str(finished[0]))
    assert found.known_name == "held-out" and "mnist" in found.sets and not found.note
    image = found.sets["mnist"][:1]
    scores = detector.scores(image)
    tails = {name: float(tail[0]) for name, tail in detector.tails(scores).items()}
    assert judged.judge(found, image).tails == pytest.approx(tails)
    assert "likelihood_ratio" in tails
