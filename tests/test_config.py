"""The command line: fast, typed, one clear line for a mistake."""

import dataclasses
import subprocess
import sys
import time

import pytest

from flow_models import UserError
from flow_models.runs.config import RunConfig, parse


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Settings of a test."""

    width: int = 3
    """of something"""
    bounds: list[float | None] | None = None
    """of columns"""
    switch: bool = False
    """a switch"""


PRESETS = {"smoke": {"steps": 7, "width": 1}, "default": {}, "full": {"width": 9}}


def parsed(*argv):
    return parse(Config, PRESETS, "A test.", list(argv))


def test_defaults_presets_files_and_flags_in_this_order(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("width: 5\nsteps: 11\n")
    assert parsed().width == 3
    assert (parsed("--preset", "smoke").width, parsed("--preset=smoke").steps) == (1, 7)
    mixed = parsed("--preset", "smoke", "--config", str(file), "--steps", "13")
    assert (mixed.width, mixed.steps, mixed.preset) == (5, 13, "smoke")
    assert mixed.fit_settings().steps == 13


def test_forms_of_flags():
    assert parsed("--batch-size", "8").batch_size == parsed("--batch_size=8").batch_size == 8
    assert parsed("--switch").switch and parsed("--switch", "--resume").resume
    assert not parsed("--switch", "false").switch and not parsed("--mlflow=false").mlflow
    assert parsed("--bounds", "[0, null]").bounds == [0.0, None]


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--widht", "3"], "no flag --widht; did you mean --width?"),
        (["--width", "three"], "--width: Expected a int. Got value: three"),
        (["--width"], "expected one argument"),
        (["--preset", "larg"], "no preset 'larg'; there are smoke, default, full"),
        (["--steps", "-5"], "steps is -5, must be at least 1"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--schedule", "cos"], "schedule is 'cos', must be one of constant, exponential, cosine"),
        (["--config", "nothing.yaml"], "--config: File does not exist"),
        (["--bounds", "[a]"], "--bounds"),
        (
            ["--bounds", "3"],
            (
                "--bounds: Expected list[float | None] or null. Got value: 3; a list is written"
                " '[a, b]'"
            ),
        ),
        (["stray"], "stray"),
    ],
)
def test_mistakes_are_one_clear_line(argv, message):
    with pytest.raises(UserError) as caught:
        parsed(*argv)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_resolved_config_can_be_given_back(tmp_path):
    import yaml

    file = tmp_path / "config.yaml"
    file.write_text(
        yaml.safe_dump(dataclasses.asdict(parsed("--width", "4", "--bounds", "[null, 1]")))
    )
    assert parsed("--config", str(file)) == parsed("--width", "4", "--bounds", "[null, 1]")
    file.write_text("preset: smoke\n")
    assert (parsed("--config", str(file)).steps, parsed("--config", str(file)).preset) == (
        7,
        "smoke",
    )
    file.write_text("preset: bogus\n")
    with pytest.raises(UserError, match="no preset 'bogus'"):
        parsed("--config", str(file))
    file.write_text("wdth: 4\n")
    with pytest.raises(UserError, match="wdth"):
        parsed("--config", str(file))


def test_help_answers_without_loading_anything_heavy():
    best = min(_timed_help() for _ in range(3))
    assert best < 1.0
    code = (
        "import sys, train_flowmodels1; from flow_models.runs.config import parse; sys.argv[0] = 'x';"
        " parse(train_flowmodels1.Config, train_flowmodels1.PRESETS, '', []); print([m for m in"
        " ('tensorflow', 'mlflow', 'boto3', 'matplotlib', 'pandas', 'sklearn') if m in"
        " sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "[]"
    )


def _timed_help():
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "train_flowmodels1.py", "--help"], capture_output=True, text=True
    )
    assert (
        result.returncode == 0
        and "--output-dir" in result.stdout
        and "kl_to_truth" in result.stdout
    )
    return time.perf_counter() - start
