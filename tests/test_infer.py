"""Your own problem as a run: the file of the page, its outputs, mistakes, failed simulations."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from in_process import status

import flow_models as fm
from flow_models import __main__ as commands
from flow_models.applications import own_problem
from flow_models.applications.inverse import truncated
from flow_models.applications.inverse.validity import Validity
from flow_models.runs.program import guarded
from flow_models.simulators.user_problem import UserProblem

PAGE = Path(__file__).parents[1] / "doc" / "inverse_problems.md"
TINY = "--steps 150 --pairs 600 --test-pairs 60 --posterior-samples 60 --depth 2 --hidden [16]"
TINY += " --batch-size 64 --resimulations 10 --mlflow false --bins 4 --jit false"
HEADER = "c_after_15_min,c_after_30_min,c_after_1_h,c_after_2_h\n"


def infer(*flags) -> int:
    return status(lambda: guarded(lambda: commands.main(["infer", *map(str, flags)])))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The file of the page, and data: a usual row and one that no simulation resembles."""
    place = tmp_path_factory.mktemp("infer")
    code = re.search(r'```python\n("""my_problem.*?)```', PAGE.read_text(), re.S).group(1)
    (place / "my_problem.py").write_text(code)
    (place / "data.csv").write_text(HEADER + "75.2,61.0,45.9,29.3\n20,90,20,90\n71,60,40,28\n")
    return place


@pytest.fixture(scope="module")
def finished(folder):
    """A run of it."""
    argv = sys.argv
    flags = ["--observed", folder / "data.csv", "--output-dir", folder / "run", *TINY.split()]
    flags += ["--simulations-folder", folder / "kept", "--jobs", "1"]
    assert infer(f"{folder}/my_problem.py:simulate", *flags) == 0
    sys.argv = argv
    return folder / "run", flags


def test_a_run_writes_what_those_of_the_applications_write(finished):
    run, _ = finished
    assert {path.stem for path in (run / "figures").iterdir()} == {
        "sides",
        "predicted",
        "corner",
        "ranks",
        "coverage",
        "contraction",
        "training",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 < metrics["failed_fraction"] < 0.06 and metrics["observed_rows"] == 3
    assert metrics["observed_strange_rows"] == 1 and 0 < metrics["observed_misfit"] < 5
    assert any("the data of rows 2 lie outside" in line for line in metrics["warnings"])
    with open(run / "posterior.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["parameter"] for row in rows[:2]] == ["rate_per_h", "ambient_c"]
    labels = [row["observation"] for row in rows]
    assert labels[:2] == ["1", "1"] and labels[-2:] == ["3", "3"]
    assert ("2" in labels) != any(
        "row 2 of your data has no" in line for line in metrics["warnings"]
    )
    assert 0.3 < float(rows[0]["mean"]) < 1.3
    report = (run / "report.html").read_text()
    assert "python -m flow_models infer" in report and "did not converge" in report
    assert "Training: best at step" in report
    model = fm.load(str(run))
    draws = model.posterior([75.2, 61.0, 45.9, 29.3], 500)
    assert model.columns == ["rate_per_h", "ambient_c"]
    assert draws[:, 0].min() > 0.1 and draws[:, 0].max() < 2


@pytest.mark.slow
def test_a_finished_run_is_resumed_without_a_simulation(finished, capsys):
    run, flags = finished
    kept = {path: path.stat().st_mtime_ns for path in (run.parent / "kept").rglob("*.npz")}
    history = (run / "history.csv").read_bytes()
    assert infer(f"{run.parent}/my_problem.py:simulate", *flags, "--resume") == 0
    assert "600 of 600 simulations are in" in capsys.readouterr().err
    again = {path: path.stat().st_mtime_ns for path in (run.parent / "kept").rglob("*.npz")}
    assert again == kept and (run / "history.csv").read_bytes() == history


def test_proposals_of_a_round_are_the_prior_where_the_posterior_is(finished):
    run, _ = finished
    model, user = fm.load(str(run)), UserProblem.read(f"{run.parent}/my_problem.py:simulate")
    y = np.array([75.2, 61.0, 45.9, 29.3])
    x, share = truncated.proposals(user, model, y, 1500, (0, 2))
    assert x.shape == (1500, 2) and 0 < share < 0.9
    drawn = model.posterior(y, 1000, seed=9)
    level = model.log_prob(x, y).min()
    assert np.mean(model.log_prob(drawn, y) >= level) > 0.99
    plain = user.prior(10_000, (5,))
    inside = plain[model.log_prob(plain, y) >= level]
    assert len(inside) / len(plain) == pytest.approx(share, rel=0.2)
    np.testing.assert_allclose(x.mean(0), inside.mean(0), rtol=0.1)
    np.testing.assert_allclose(x.std(0), inside.std(0), rtol=0.1)


@pytest.mark.parametrize(
    "problem, flags, message",
    [
        ("my_problem.py", "", "give FILE.py:function"),
        ("none.py:simulate", "", "there is no file"),
        ("my_problem.py:simulat", "", "has no function simulat"),
        ("my_problem.py:simulate", "--rounds 2", "give --observed FILE"),
        ("my_problem.py:simulate", "--pairs 10", "pairs is 10"),
        ("my_problem.py:simulate", "--failures all", "failures is 'all'"),
        ("my_problem.py:simulate", "--observed other.csv", "has no column 'c_after_15_min'"),
        ("my_problem.py:simulate", "--observed data.csv --rounds 2", "rounds are for one"),
        ("my_problem.py:simulate", "--pear 10", "did you mean --pairs"),
        ("wrong.py:simulate", "", "wrong.py, line 2: NameError"),
        ("odd.py:simulate", "", "odd.py, prior: column 'a': its values are not whole numbers"),
    ],
)
def test_mistakes_are_one_line(folder, monkeypatch, capsys, problem, flags, message):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["flow-models"])
    (folder / "other.csv").write_text("a,b\n1,2\n")
    (folder / "odd.py").write_text(
        "from scipy import stats\nprior = {'a': stats.norm(0, 1)}\nkinds = {'a': 'integer'}\n"
        "def simulate(x, rng):\n    return x\n"
    )
    (folder / "wrong.py").write_text("prior = {'a': (0, 1)}\nnothing\n")
    assert infer(problem, *flags.split(), "--simulations-folder", "kept") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not (folder / "runs").exists()


def valid_share(x):
    return 1 / (1 + np.exp(-2 * x[:, 0] - 1))


def test_where_simulations_fail_is_learned():
    rng = np.random.default_rng(0)
    x, fresh = rng.normal(size=(3000, 1)), rng.normal(size=(1000, 1))
    valid = rng.uniform(size=len(x)) < valid_share(x)
    learned = Validity.of(x, valid)
    found = learned.probability(fresh)
    np.testing.assert_allclose(found, valid_share(fresh), atol=0.06)
    weights = learned.weights(x[valid])
    assert abs(x[valid].mean()) > 0.3 > 10 * abs(np.average(x[valid, 0], weights=weights))
    assert np.average(x[valid, 0] ** 2, weights=weights) == pytest.approx(1.0, abs=0.1)
    few = Validity.of(x[:50], np.arange(50) > 4)
    assert few.classifier is None and few.probability(fresh) == pytest.approx(0.9)


@pytest.mark.slow
def test_numerical_failures_are_weighed_away():
    """y = x + 0.5 noise, x standard normal: the posterior is N(0.8 y, 0.2), though simulations fail
    with a probability that depends on x."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 1))
    y = x + 0.5 * rng.normal(size=x.shape)
    valid = rng.uniform(size=len(x)) < valid_share(x)
    weights = Validity.of(x, valid).weights(x[valid])
    settings = fm.FitSettings(steps=300, batch_size=256, jit=False)
    options = {"settings": settings, "hidden": (16,), "depth": 2, "architecture": "maf"}
    ready = own_problem.prepare(x[valid], y[valid], weights=weights, **options)
    fm.Trainer(ready.model, ready.train, ready.held, settings).run(progress=False)
    for value in (-1.5, 0.0):
        draws = ready.model.posterior([value], 4000)
        assert draws.mean() == pytest.approx(0.8 * value, abs=0.15), "0.3 off without weights"
        assert draws.std() == pytest.approx(0.2**0.5, abs=0.06)


ROCK = """from scipy import stats
prior = {"layers": (1, 5), "rock": stats.randint(0, 2), "depth": (0.0, 3.0)}
kinds = {"layers": "integer", "rock": "categorical"}
def f(x, rng):
    noise = 0.5 * rng.normal(size=2)
    return [x[0] + noise[0], (1 if x[1] else -1) * x[2] + noise[1]]
"""


@pytest.mark.slow
def test_whole_numbers_and_categories_have_probabilities(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flow-models"])
    (folder / "rock.py").write_text(ROCK)
    (folder / "rock.csv").write_text("y1,y2\n5.3,1.5\n")
    flags = ["--observed", folder / "rock.csv", "--output-dir", folder / "rock", *TINY.split()]
    flags += ["--simulations-folder", folder / "kept", "--learning-curve", "true", "--rounds", "2"]
    assert infer(f"{folder}/rock.py:f", *flags) == 0
    said = capsys.readouterr().err
    assert "best at step" in said and "twice as many would gain" in said
    report = (folder / "rock" / "report.html").read_text()
    assert "Probabilities of your data" in report and "Learning curve" in report
    drawn = fm.load(str(folder / "rock")).posterior([5.3, 1.5], 1000)
    assert set(drawn.layers) <= {1, 2, 3, 4, 5} and (drawn.layers == 5).mean() > 0.5
    assert (drawn.rock == 1).mean() > 0.8 and drawn.depth.between(0, 3).all()


@pytest.mark.slow
def test_rounds_of_simulations_approach_the_exact_posterior(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["flow-models"])
    (folder / "narrow.py").write_text(
        "prior = {'a': (-50.0, 50.0), 'b': (-50.0, 50.0)}\n"
        "def f(x, rng):\n    return [x[0] + x[1] + rng.normal(), x[0] - x[1] + rng.normal()]\n"
    )
    (folder / "narrow.csv").write_text("y1,y2\n3.0,1.0\n")
    flags = "--pairs 3000 --rounds 3 --test-pairs 60 --posterior-samples 100 --mlflow false"
    place = ["--simulations-folder", folder / "kept", "--output-dir", folder / "narrow"]
    observed = ["--observed", folder / "narrow.csv"]
    assert infer(f"{folder}/narrow.py:f", *flags.split(), *place, *observed) == 0
    draws = fm.load(str(folder / "narrow")).posterior([3.0, 1.0], 5000)
    np.testing.assert_allclose(draws.mean(0), [2.0, 1.0], atol=0.15)
    np.testing.assert_allclose(draws.std(0), 0.5**0.5, atol=0.1)
    assert len(list((folder / "kept").rglob("proposals-*.npz"))) == 2
