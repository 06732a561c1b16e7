"""The seven scripts are alike, each shows its row of the figure, and yours can be the eighth."""

import ast
import importlib
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import flow_models as fm
from flow_models.applications.application import form_of
from flow_models.runs.config import flat, parse

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [f"train_flowmodels{number}" for number in range(1, 8)]
MOST_LINES = 130
FUNCTIONS = ["partitions", "load_data", "build_model", "training", "evaluate"]


def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / f"{name}.py").read_text())


def test_there_are_seven():
    assert sorted(path.stem for path in ROOT.glob("train_*.py")) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_have_the_same_parts_in_the_same_order(name):
    assert len((ROOT / f"{name}.py").read_text().splitlines()) <= MOST_LINES
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Assign)
    parts = [node for node in tree(name).body if isinstance(node, kinds)]
    said = [node.targets[0].id if isinstance(node, ast.Assign) else node.name for node in parts]
    constants = {"PRESETS", "APPLICATION"}
    said = [each for each in said if not each.isupper() or each in constants]
    assert said == ["Config", "PRESETS", *FUNCTIONS, "APPLICATION"]
    last = tree(name).body[-1]
    assert ast.unparse(last) == "if __name__ == '__main__':\n    fm.run(APPLICATION)"


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_application_is_made_of_the_functions_of_its_script(name):
    script = importlib.import_module(name)
    application = script.APPLICATION
    assert application.name == name.removeprefix("train_")
    assert application.config is script.Config and application.presets is script.PRESETS
    for each in FUNCTIONS:
        assert getattr(application, each) is getattr(script, each)
    assert {"smoke", "default", "full"} == set(script.PRESETS)
    fields = flat(script.Config())
    assert not {key for preset in script.PRESETS.values() for key in preset} - set(fields)


@pytest.mark.parametrize("name", SCRIPTS)
def test_partitions_are_written_out_and_the_docstring_has_the_row_of_the_figure(name):
    script = importlib.import_module(name)
    assert "fm.Partition(" in inspect.getsource(script.partitions)
    rows = [line for line in script.__doc__.splitlines() if "<->" in line]
    assert rows and all(re.match(r"    x .*  <->  .*\b[yz]\b", row) for row in rows)
    assert f"python {name}.py --preset smoke" in script.__doc__ and "Expect" in script.__doc__


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_prints_the_row_of_the_figure_at_once_and_without_tensorflow(name):
    code = (
        f"import runpy, sys; sys.argv = ['{name}.py', '--help']\n"
        f"try: runpy.run_path('{name}.py', run_name='__main__')\n"
        "finally: assert 'tensorflow' not in sys.modules"
    )
    before = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.times().children_user - before < 1.0, "seconds of the processor"
    rows = [line for line in importlib.import_module(name).__doc__.splitlines() if "<->" in line]
    assert all(row in done.stdout.splitlines() for row in rows)
    assert "--output-dir" in done.stdout and "--eval-every-steps" in done.stdout


ROWS = {  # application: form -> blocks of inputs, of outputs, and given
    1: {"density": ("x", "z", "")},
    2: {"images": ("x", "z", "")},
    3: {
        "conditional": ("x", "z", "y"),
        "mixture": ("x", "z", "y"),
        "joint": ("x", "y z", ""),
        "unconditional": ("x", "z", ""),
    },
    4: {"mixture": ("x", "z", "y"), "conditional": ("x", "z", "y"), "joint": ("x", "y z", "")},
    5: {"conditional": ("x", "z", "y"), "joint": ("x", "y z", "")},
    6: {"conditional": ("x", "z", "y"), "joint": ("x", "y z", "")},
    7: {"conditional": ("x", "z", "y"), "joint": ("x eps", "y z", "log_sigma")},
}
SMALL = {
    1: "--data moons",
    2: "--data digits --classes [3] --anomalies []",
    4: "--data iris",
    5: "--simulations 1000",
    6: "--simulations 1000",
    7: "--simulations 1000",
}


def partitions_of(number: int, *flags: str):
    """The settings of the smoke preset, and the partitions of its problem."""
    script = importlib.import_module(SCRIPTS[number - 1])
    config = parse(script.Config, script.PRESETS, "", ["--preset", "smoke", *flags])
    return config, script.partitions(config, script.load_data(config))


@pytest.mark.parametrize("number", ROWS)
def test_partitions_are_the_rows_of_the_figure(number):
    config, found = partitions_of(number, *SMALL.get(number, "").split())
    blocks = {
        form: tuple(" ".join(side) for side in (each.inputs, each.outputs, each.given))
        for form, each in found.items()
    }
    assert blocks == ROWS[number]
    for each in found.values():
        assert sum(each.inputs.values()) == sum(each.outputs.values()) == each.size
    assert (form_of(config) or next(iter(found))) in found


def test_fewer_dimensions_than_classes_are_filled_up_with_noise():
    joint = partitions_of(4)[1]["joint"]
    assert (joint.inputs, joint.outputs) == ({"x": 2, "pad": 6}, {"y": 8}), "of the eight modes"


def test_the_drawing_of_the_sides_names_blocks_and_widths():
    drawn = fm.plots.sides(fm.Partition({"x": 20, "eps": 1192}, {"y": 1192, "z": 20}, {"s": 1}))
    (axes,) = drawn.axes
    said = {text.get_text() for text in axes.texts}
    assert {"x  (20)", "eps  (1,192)", "y  (1,192)", "z  (20)", "given s (1)"} <= said
    plain = fm.plots.sides(fm.Partition({"x": 2}, {"z": 2}))
    assert not any("given" in text.get_text() for text in plain.axes[0].texts)


OWN = '''"""A ring of points

    x points (D)   <->   z (D)
"""

import dataclasses

import numpy as np

import flow_models as fm


@dataclasses.dataclass
class Ring:
    name: str
    source: str
    train: np.ndarray
    validation: np.ndarray


@fm.settings
class Config:
    """Settings of the ring."""

    width: float = 0.1
    """sd of the radius"""
    depth: int = 3
    """layers"""
    temperature: float = 1.0
    """of the ring, which no other application knows"""
    fit: fm.FitSettings = fm.FitSettings(eval_every_steps=20)
    run: fm.RunSettings = fm.RunSettings()

    def __post_init__(self):
        if not self.width > 0:
            raise fm.UserError(f"width is {self.width}, must be above 0")


PRESETS = {"smoke": {"steps": 60, "depth": 2, "batch_size": 64}, "default": {"steps": 400}}


def partitions(config, problem):
    return {"density": fm.Partition(inputs={"x": 2}, outputs={"z": 2})}


def load_data(config):
    chance = np.random.default_rng(config.fit.seed)
    angle, radius = chance.uniform(0, 2 * np.pi, 1000), chance.normal(1, config.width, 1000)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
    return Ring("a ring", "drawn here", x[:800], x[800:])


def build_model(config, problem, partition):
    flow = fm.realnvp(2, depth=config.depth, hidden=(8,), seed=config.fit.seed)
    return fm.Model(flow, partition, {"x": ["east", "north"]}, jit=config.fit.jit)


def evaluate(run):
    nll = -float(run.model.log_prob(run.problem.validation).mean())
    table = ("Ring", ["width", "nll"], [[run.config.width, nll]])
    return fm.Results({"nll_ring": nll}, tables=[table], summary="Points on a ring.")


APPLICATION = fm.Application(Config, PRESETS, partitions, load_data, build_model, evaluate)

if __name__ == "__main__":
    fm.run(APPLICATION)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A function that starts a user's own script in its folder."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "train_ring.py").write_text(OWN)
    place = {**os.environ, "PYTHONPATH": str(ROOT)}
    common = ["--preset", "smoke", "--mlflow", "false", "--jit", "false"]

    def start(*flags):
        command = [sys.executable, "train_ring.py", *common, *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=folder, env=place, **pipes)

    def run(*flags):
        process = start(*flags)
        out, error = process.communicate(timeout=200)
        return process.returncode, out, error

    return folder, start, run


def test_an_application_of_your_own_runs_as_a_program_and_writes_its_folder(own):
    folder, _, run = own
    ended, out, error = run("--width", "0.2", "--temperature", "3")
    assert (ended, error) == (0, ""), error
    (place,) = {path.resolve() for path in (folder / "runs" / "ring").iterdir()}
    assert "runs/ring/" in out and (folder / "runs" / "ring" / "latest").resolve() == place
    found = {path.name for path in place.iterdir()}
    assert {
        "about.json",
        "config.yaml",
        "metrics.json",
        "history.csv",
        "figures",
        "model",
        "report.html",
    } <= found
    assert [path.name for path in (place / "figures").iterdir()] == ["sides.png"]
    settings = yaml.safe_load((place / "config.yaml").read_text())
    assert (settings["width"], settings["steps"], settings["depth"]) == (0.2, 60, 2)
    assert settings["temperature"] == 3 and settings["eval_every_steps"] == 20
    metrics = json.loads((place / "metrics.json").read_text())
    assert {"nll_ring", "train_seconds", "peak_memory_mb"} <= set(metrics)
    report = (place / "report.html").read_text()
    assert "A ring of points: a ring" in report and "Points on a ring." in report
    model = fm.load(str(place))
    assert model.columns == ["east", "north"] and np.isfinite(model.log_prob(np.ones((1, 2))))


def test_an_application_of_your_own_resumes_where_it_was_stopped(own):
    folder, start, run = own
    long = ["--steps", "6000", "--eval-every-steps", "300", "--checkpoint-seconds", "0"]
    process = start("--output-dir", "stopped", *long)
    until = time.monotonic() + 120
    while not (folder / "stopped" / "history.csv").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75 and "--resume --output-dir stopped" in error
    assert not (folder / "stopped" / "metrics.json").exists()
    ended, _, error = run("--output-dir", "stopped", "--resume", *long)
    assert ended == 0, error
    rows = (folder / "stopped" / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 20
    assert (folder / "stopped" / "metrics.json").exists()


def test_a_mistake_in_the_settings_of_your_own_application_is_one_line(own):
    folder, _, run = own
    for flags, message in [
        (["--width", "-1"], "width is -1.0, must be above 0"),
        (["--widht", "1"], "did you mean --width?"),
        (["--steps", "0"], "steps is 0"),
        (["--preset", "full"], "no preset 'full'; there are smoke, default"),
    ]:
        ended, _, error = run(*flags, "--output-dir", "wrong")
        assert ended == 2 and error.startswith("error: ") and error.count("\n") == 1, error
        assert message in error and not (folder / "wrong").exists()
    ended, out, _ = run("--help")
    assert ended == 0 and "x points (D)   <->   z (D)" in out and "sd of the radius" in out


@pytest.mark.parametrize("arguments", [["train_flowmodels1.py"], ["-m", "flow_models", "score"]])
def test_a_python_without_our_packages_is_told_of_the_environment(arguments):
    done = subprocess.run(
        [sys.executable, "-S", *arguments, "a", "b"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.endswith("make create-env, then source .venv/bin/activate\n")
