"""The public names as a type checker, an editor and Python see them."""

import subprocess
import sys
import time
from pathlib import Path

import flow_models as fm

ROOT = Path(__file__).parents[1]
RIGHT = """
import flow_models as fm

settings = fm.FitSettings(steps=3, learning_rate=1e-3)
flow: fm.FlowBijector = fm.realnvp(2, depth=4)
partition = fm.Partition({"x": 2}, {"z": 2})
try:
    print(settings.steps + 1, fm.plots.density, fm.losses, partition)
except fm.UserError as error:
    print(error)
"""
WRONG = """
import flow_models as fm

fm.nope
fm.FitSettings(stps=3)
fm.FitSettings(steps="many")
fm.realnvp("two")
"""


def check(folder: Path, **files: str) -> subprocess.CompletedProcess:
    """Runs mypy with this project's settings on snippets of a user."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(folder / "cache")]
    command += [str(folder / f"{name}.py") for name in files]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_checker_finds_wrong_names_and_arguments_and_passes_what_is_right(tmp_path):
    began = time.monotonic()
    done = check(tmp_path, right=RIGHT, wrong=WRONG)
    seconds = time.monotonic() - began
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    expected = [
        'wrong.py:4: error: Module has no attribute "nope"',
        'wrong.py:5: error: Unexpected keyword argument "stps" for "FitSettings"; did you mean',
        'wrong.py:6: error: Argument "steps" to "FitSettings" has incompatible type "str"',
        'wrong.py:7: error: Argument 1 to "realnvp" has incompatible type "str"; expected "int"',
    ]
    assert len(errors) == len(expected), done.stdout + done.stderr
    for line, begin in zip(errors, expected, strict=True):
        assert line.startswith(f"{tmp_path}/{begin}")
    assert seconds < 60


def test_every_public_name_is_there_and_listed():
    for name in fm.__all__:
        assert getattr(fm, name).__name__.rpartition(".")[2] == name
    assert set(fm.__all__) <= set(dir(fm)) and not hasattr(fm, "nope")
