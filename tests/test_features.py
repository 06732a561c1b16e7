"""A flow on the features of a user's network: its density, scores and maps, and what it lacks."""

import json

import numpy as np
import pytest
from in_process import application, status
from PIL import Image

import flow_models as fm
from flow_models.core.errors import UserError
from flow_models.explore import opened
from flow_models.models.backbones import absolute
from flow_models.models.detector import load_detector
from flow_models.models.feature_maps import FeatureMaps, strangeness
from flow_models.training.picture_features import PictureFeatures

NETWORK = """
import numpy as np

def maps(images):
    '''Means, spreads and slopes of squares of two pixels.'''
    b, h, w, c = images.shape
    parts = images.reshape(b, h // 2, 2, w // 2, 2, c)
    across, down = parts[:, :, :, :, 1] - parts[:, :, :, :, 0], parts[:, :, 1] - parts[:, :, 0]
    means = parts.mean((2, 4)), parts.std((2, 4)), across.mean(2), down.mean(3)
    return np.concatenate([*means, np.ones((b, h // 2, w // 2, 1))], -1)
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    file = tmp_path_factory.mktemp("network") / "mine.py"
    file.write_text(NETWORK)
    return f"{file}:maps"


def stripes(n: int, seed: int) -> np.ndarray:
    """Upright stripes of 8x8 pixels, with noise."""
    rng = np.random.default_rng(seed)
    at = np.arange(8) + rng.integers(0, 4, (n, 1, 1))
    wave = 120 + 80 * np.sin(np.pi / 2 * at) + 8 * rng.normal(size=(n, 8, 8))
    return np.clip(wave, 0, 255).astype(np.uint8)[..., None]


def test_maps_are_standardised_and_constant_channels_left_out(network):
    pixels = fm.Pixels(8, 8, 1, bits=3)
    images = stripes(50, 0)
    codec, maps = FeatureMaps.of(network, pixels, images)
    assert codec.padded_shape == (4, 4, 4) and codec.shape == (8, 8, 1) and codec.flat_size == 64
    np.testing.assert_allclose(maps.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(maps.std((0, 1, 2)), 1, rtol=1e-5)
    encoded = codec.encode(images.reshape(5, 10, 8, 8, 1), np.float32)
    np.testing.assert_allclose(encoded.rows, maps, atol=1e-6)
    assert encoded.lead == (5, 10)
    with pytest.raises(UserError, match="pictures must be uint8"):
        codec.encode(images[:, :4], np.float32)
    with pytest.raises(UserError, match="gives 0 features that vary"):
        FeatureMaps.of(network, pixels, images[:1] * 0)


WRONG = """
import numpy as np

def constant(images):
    return np.full((len(images), 2), 0.1)

def ragged(images):
    return np.arange(len(images) * (2 if len(images) == 256 else 3)).reshape(len(images), -1)
"""


def test_networks_that_fail_are_told_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "wrong_features.py").write_text(WRONG)
    (tmp_path / "damaged_features.py").write_text("1 / 0")
    (tmp_path / "damaged.keras").write_bytes(b"no network")
    monkeypatch.syspath_prepend(tmp_path)
    for name, said in {
        "wrong_features:constant": "gives 0 features that vary",
        "wrong_features:ragged": "of different shapes",
        "wrong_features:none": "no function none",
        "damaged_features:f": "ZeroDivisionError",
        ".relative:f": "TypeError",
        "nowhere:f": "No module named",
        f"keras:{tmp_path}/damaged.keras": "is no network that tf_keras saved",
    }.items():
        with pytest.raises(UserError, match=said):
            FeatureMaps.of(name, fm.Pixels(8, 8, 1, bits=3), stripes(300, 0))


def test_names_of_files_are_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("mine.py:f") == f"{tmp_path}/mine.py:f"
    assert absolute("keras:a.keras") == f"keras:{tmp_path}/a.keras"
    assert absolute("package.module:f") == "package.module:f"
    assert absolute("keras:ResNet50") == "keras:ResNet50"


def test_a_network_that_keras_saved_stands_in_front(tmp_path, monkeypatch):
    monkeypatch.setattr("flow_models.training.picture_features.STEPS", 2)
    images = stripes(20, 1)
    PictureFeatures(images).save(str(tmp_path / "small.keras"))
    codec, maps = FeatureMaps.of(f"keras:{tmp_path}/small.keras", fm.Pixels(8, 8, 1, 3), images)
    assert maps.shape[:3] == (20, 2, 2) and codec.padded_shape[2] == maps.shape[3] > 20
    np.testing.assert_allclose(codec.encode(images[:3], np.float32).rows, maps[:3], atol=1e-4)


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    """A run of application 2 on stripes, with lying ones as near anomalies."""
    root = tmp_path_factory.mktemp("features")
    for part, number, seed in (("train", 60, 1), ("val", 20, 2)):
        for name, turned in (("upright", False), ("lying", True)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i, image in enumerate(stripes(number, seed)[..., 0]):
                Image.fromarray(image.T if turned else image).save(folder / f"{i:02d}.png")
    small = "--steps 60 --depth 2 --hidden [8] --batch-size 16 --eval-every-steps 20"
    places = ["--train-uri", root / "train", "--val-uri", root / "val"]
    places += ["--output-dir", root / "run"]
    rest = "--resamples 50 --jit false --mlflow false --classes [upright] --cache-dir"
    with pytest.MonkeyPatch.context() as patch:
        flags = [*places, "--features", network, *small.split(), *rest.split(), root / "cache"]
        assert application(patch, 2, *flags) == 0
    return root / "run"


def test_a_run_scores_by_features_and_has_no_bits(run, tmp_path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["auroc_nll_near"] > 0.95
    assert not [name for name in metrics if "bits" in name or name.startswith("samples_")]
    assert {path.stem for path in (run / "figures").iterdir()} >= {"where", "scores", "anomalies"}
    assert "features of" in (run / "report.html").read_text()


def test_scores_of_the_command_are_those_of_the_run_and_pictures_cannot_be_drawn(run, tmp_path):
    from flow_models.__main__ import main
    from flow_models.runs.program import guarded

    out = tmp_path / "scores.csv"
    main(["score", str(run), str(run.parent / "val"), "--csv", str(out)])
    header, *rows = out.read_text().splitlines()
    assert "bits_per_dim" not in header and "latent_norm" in header and len(rows) == 40
    nll = [float(row.split(",")[header.split(",").index("nll")]) for row in rows]
    assert min(nll[:20]) > max(nll[20:])  # lying ones come first by name
    assert status(lambda: guarded(lambda: main(["sample", str(run), "-n", "1"]))) == 2
    with pytest.raises(UserError, match="without samples: use score --maps"):
        opened.load(str(run))
    with pytest.raises(UserError, match="bits per dimension are of pixels"):
        fm.load(str(run), jit=False).bits_per_dim(stripes(2, 3))


def test_a_defect_is_strange_where_it_is(run):
    images = stripes(10, 5)
    images[:, :4, :4] = images[:, :4, :4].transpose(0, 2, 1, 3)
    detector = load_detector(str(run), jit=False)
    maps = detector.maps(images)
    assert maps.shape == (10, 8, 8)
    np.testing.assert_allclose(maps, strangeness(detector.model, images))
    assert (maps[:, :4, :4].mean((1, 2)) > maps[:, :, 4:].mean((1, 2))).mean() > 0.8
