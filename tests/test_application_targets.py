"""Application 1 on a density without data, as its users run it."""

import dataclasses
import json
import os
import subprocess
import sys

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


@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_steps_towards_a_density_of_the_users_own(own, tmp_path, monkeypatch):
    """A stochastic flow from the command to its report; another process finds the density beside
    the saved model, with the folder of the file on its path."""
    folder = tmp_path / "run"
    sizes = [*TINY, "--steps", 80, "--depth", 1, "--architecture", "stochastic"]
    flags = [*sizes, "--target", own, "--size", 2, "--output-dir", folder, "--mlflow", "false"]
    assert application(monkeypatch, 1, *flags) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["modes_found"] == 2
    assert metrics["log_z"] == pytest.approx(2, abs=0.3)
    assert 0.1 < metrics["ess_fraction"] <= 1
    code = f"import flow_models as fm; print(fm.load({str(folder / 'model')!r}).sample(3, seed=0))"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), str(tmp_path)])}
    again = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True)
    x = fm.load(str(folder / "model")).sample(3, seed=0)
    assert str(x) in again.stdout


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


@pytest.mark.parametrize(
    "size, modes, method, layer",
    [
        (4, 1, "reverse_kl", "Autoregressive"),
        (2, 9, "annealed", "GaussianMixture"),
        (32, 0, "reverse_kl", "Coupling"),
        (1, 3, "annealed", "GaussianMixture"),
    ],
)
def test_the_network_and_the_method_follow_what_draws_show(size, modes, method, layer):
    from train_flowmodels1 import APPLICATION, PRESETS, Config

    target = targets.Target("mine", "a density", size, lambda x: x[:, 0], 3.0)
    problem, config = targets.Problem(target, 0.0, modes), Config(target="mine")
    assert targets.method_of(config, problem) == method
    model = APPLICATION.build_model(config, problem, APPLICATION.partition(config, problem))
    assert layer in repr(model.layer) and model.event_size == size
    config = dataclasses.replace(config, fit=fm.FitSettings(steps=PRESETS["default"]["steps"]))
    assert targets.fit_settings(config, problem, PRESETS).steps < config.fit.steps


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.parametrize(
    "name, size, modes, share",
    [("funnel", 3, 1, 0.9), ("mixture_3x3", 2, 9, 0.98), ("two_moons_ring", 2, 2, 0.9)],
)
def test_the_network_that_suits_a_target_learns_it(name, size, modes, share):
    """In a fraction of the default steps; no mode is lost."""
    from train_flowmodels1 import APPLICATION, PRESETS, Config

    target = targets.targets.get(name, size)
    problem, fit = targets.Problem(target, 0.0, modes), fm.FitSettings(steps=12_000)
    config = Config(target=name, fit=dataclasses.replace(fit, batch_size=256, jit=False))
    model = APPLICATION.build_model(config, problem, APPLICATION.partition(config, problem))
    settings = dataclasses.replace(targets.fit_settings(config, problem, PRESETS), steps=400)
    options = {"method": targets.method_of(config, problem), "scale": target.scale}
    fm.fit_density(target.log_density, model, settings, progress=False, **options)
    found = targets.measured(model, target)
    print(name, found)
    assert found["ess_fraction"] > share and found["log_z_mae"] < 0.02
    assert found["modes_lost"] == 0 and found["mass_error"] < 0.02


def test_a_network_of_the_users_own_takes_the_place_of_the_recipe():
    from train_flowmodels1 import APPLICATION, PRESETS, Config

    target = targets.Target("mine", "a density", 4, lambda x: x[:, 0], 3.0)
    problem, config = targets.Problem(target, 0.0, 9), Config(target="mine")
    chosen = dataclasses.replace(config, network=type(config.network)(depth=2, hidden=(8,)))
    partition = APPLICATION.partition(chosen, problem)
    assert dict(partition.inputs) == {"x": 4}
    assert "Mixture" not in repr(APPLICATION.build_model(chosen, problem, partition).layer)
    assert targets.fit_settings(chosen, problem, PRESETS) == chosen.fit
