"""Application 1 on a density without data, as its users run it."""

import json

import pytest
from in_process import application

import flow_models as fm
from flow_models.applications import targets

OWN = """
import math
import tensorflow as tf

def two(x):
    # e^2 times two Gaussians of sd 1 at x1 = -3 and 3
    far = [tf.reduce_sum((x - tf.constant([[c, 0.0]])) ** 2, -1) for c in (-3.0, 3.0)]
    return 2 + tf.reduce_logsumexp(-0.5 * tf.stack(far), 0) - math.log(4 * math.pi)
"""
SIZES = {"steps": 300, "depth": 3, "hidden": "[16]", "batch-size": 128, "bins": 6, "jit": "false"}
TINY = [text for name, value in SIZES.items() for text in (f"--{name}", value)]


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return f"{path}:two"


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_a_density_of_the_users_own_is_learned_and_reported(own, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    flags = [*TINY, "--target", own, "--size", 2, "--output-dir", folder, "--mlflow", "false"]
    assert application(monkeypatch, 1, *flags) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["log_z"] == pytest.approx(2, abs=0.1)
    assert 0 < metrics["log_z_se"] < 0.1 and 0.3 < metrics["ess_fraction"] <= 1
    assert 0 < metrics["ess_fraction_plain"] <= 1 and metrics["nuts_rhat"] > 0.9
    report = (folder / "report.html").read_text()
    assert "plain reverse KL" in report and "NUTS" in report
    assert (folder / "figures" / "draws.png").exists()
    x = fm.load(str(folder / "model")).sample(2000, seed=0)
    assert 0.3 < (x[:, 0] < 0).mean() < 0.7


@pytest.mark.parametrize(
    "name, size, said",
    [
        ("mixture_33", None, "mixture_3x3"),
        ("nothing.py:f", 2, "a file that exists"),
        ("own", None, "--size"),
        ("own", 0, "at least 1"),
        ("other", 2, "no function other"),
        ("many_well", 5, "even number"),
    ],
)
def test_targets_that_do_not_fit_are_one_line(own, name, size, said, monkeypatch, capsys):
    named = {"own": own, "other": own.replace(":two", ":other")}.get(name, name)
    flags = ["--target", named, *(["--size", size] if size is not None else [])]
    assert application(monkeypatch, 1, *flags) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1


def test_a_method_that_there_is_not_is_one_line(monkeypatch, capsys, tmp_path):
    flags = ["--target", "funnel", "--method", "kl", "--output-dir", tmp_path / "run"]
    assert application(monkeypatch, 1, *flags) == 2
    assert "must be one of annealed, reverse_kl" in capsys.readouterr().err


def test_a_network_of_the_users_own_takes_the_place_of_the_recipe():
    from train_flowmodels1 import PRESETS, Config

    problem, config = targets.load("funnel", 4, 0.0), Config()
    partition = fm.Partition({"x": 4}, {"z": 4})
    recipe = targets.build_model(config, problem, partition, PRESETS)
    assert "Autoregressive" in repr(recipe.layer)
    network = type(config.network)(depth=2, hidden=(8,))
    chosen = type(config)(network=network)
    assert "Coupling" in repr(targets.build_model(chosen, problem, partition, PRESETS).layer)
