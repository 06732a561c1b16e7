"""The command line: fast, typed, one clear line for a mistake."""

import importlib
import subprocess
import sys
import time

import pytest
import yaml

from flow_models import FitSettings, RunSettings, UserError
from flow_models.runs.config import flat, parse, replace, settings


@settings
class Shared:
    """Settings that several applications share."""

    rate: float = 0.5
    """of something"""
    choice: bool | None = None
    """a switch that may be left open"""


@settings
class Config:
    """Settings of a test."""

    width: int = 3
    """of something"""
    bounds: list[float | None] | None = None
    """of columns"""
    switch: bool = False
    """a switch"""
    shared: Shared = Shared(rate=0.25)
    fit: FitSettings = FitSettings()
    run: RunSettings = RunSettings()


PRESETS = {"smoke": {"steps": 7, "width": 1}, "default": {}, "full": {"width": 9}}


def parsed(*argv):
    return parse(Config, PRESETS, "A test.", list(argv))


def test_defaults_presets_files_and_flags_in_this_order(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("width: 5\nsteps: 11\n")
    assert parsed().width == 3
    assert (parsed("--preset", "smoke").width, parsed("--preset=smoke").fit.steps) == (1, 7)
    mixed = parsed("--preset", "smoke", "--config", str(file), "--steps", "13")
    assert (mixed.width, mixed.fit.steps, mixed.run.preset) == (5, 13, "smoke")


def test_forms_of_flags():
    assert parsed("--batch-size", "8").fit.batch_size == 8
    assert parsed("--batch_size=8").fit.batch_size == 8
    assert parsed("--switch").switch and parsed("--switch", "--resume").run.resume
    assert not parsed("--switch", "false").switch and not parsed("--mlflow=false").run.mlflow
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
    file = tmp_path / "config.yaml"
    given = parsed("--width", "4", "--bounds", "[null, 1]")
    file.write_text(yaml.safe_dump(flat(given)))
    assert parsed("--config", str(file)) == given
    file.write_text("preset: smoke\n")
    small = parsed("--config", str(file))
    assert (small.fit.steps, small.run.preset) == (7, "smoke")
    file.write_text("preset: bogus\n")
    with pytest.raises(UserError, match="no preset 'bogus'"):
        parsed("--config", str(file))


def test_groups_are_flat_flags_and_a_flat_file_that_config_takes_back(tmp_path):
    assert parsed().shared == Shared(rate=0.25), "the default of the application, not of the group"
    given = parsed("--rate", "0.75", "--choice", "--steps", "9", "--output-dir", "there")
    assert given.shared == Shared(0.75, True)
    assert (given.fit.steps, given.run.output_dir, given.width) == (9, "there", 3)
    side_by_side = flat(given)
    assert {"width", "rate", "steps", "output_dir"} <= set(side_by_side)
    assert not {"shared", "fit", "run"} & set(side_by_side)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(side_by_side))
    assert parsed("--config", str(file)) == given
    assert parsed("--config", str(file), "--rate", "1").shared == Shared(1.0, True)
    changed = replace(given, rate=0.1, steps=2)
    assert (changed.shared.rate, changed.fit.steps, given.shared.rate) == (0.1, 2, 0.75)


@pytest.mark.parametrize("switch", [True, False, None])
def test_a_switch_that_may_be_left_open(switch):
    word = {True: "true", False: "false", None: "null"}[switch]
    assert parsed("--choice", word).shared.choice is parsed(f"--choice={word}").shared.choice
    assert parsed("--choice", word).shared.choice is switch


@pytest.mark.parametrize("line", ["wdth: 4", "fit: {steps: 4}", "shared: {rate: 1}"])
def test_an_unknown_key_of_a_file_is_refused(line, tmp_path):
    (tmp_path / "config.yaml").write_text(f"steps: 3\n{line}\n")
    with pytest.raises(UserError, match=line.split(":")[0]) as caught:
        parsed("--config", str(tmp_path / "config.yaml"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_clear_line(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\x00\x01\xff")
    with pytest.raises(UserError, match="codec can't decode"):
        parsed("--config", str(tmp_path / "config.yaml"))


OLD_FLAGS = {
    "--epoch-steps": ("eval_every_steps", "train_flowmodels1", "20"),
    "--shards": ("microbatches", "train_flowmodels1", "2"),
    "--unroll": ("layers_per_loop_body", "train_flowmodels1", "0"),
    "--tilt": ("rare_oversampling", "train_flowmodels5", "0.25"),
    "--waves": ("fourier_features", "train_flowmodels5", "3"),
    "--temperature": ("sampling_temperature", "train_flowmodels2", "0.7"),
}


@pytest.mark.parametrize("old", OLD_FLAGS)
def test_an_old_flag_still_works(old, tmp_path):
    new, name, value = OLD_FLAGS[old]
    script = importlib.import_module(name)

    def of_script(*argv):
        return flat(parse(script.Config, script.PRESETS, "", list(argv)))[new]

    assert of_script() != float(value)
    for argv in (
        [old, value],
        [f"{old}={value}"],
        [old.replace("-", "_").replace("__", "--"), value],
    ):
        assert of_script(*argv) == float(value)
    (tmp_path / "config.yaml").write_text(f"{old[2:].replace('-', '_')}: {value}\n")
    assert of_script("--config", str(tmp_path / "config.yaml")) == float(value)


def test_an_old_name_is_free_for_settings_of_your_own():
    @settings
    class Own:
        """Settings of another application."""

        temperature: float = 20.0
        """of the sample, degrees"""
        run: RunSettings = RunSettings()

    assert parse(Own, {"default": {}}, "", ["--temperature", "25"]).temperature == 25


def test_help_answers_without_loading_anything_heavy():
    best = min(_timed_help() for _ in range(3))
    assert best < 1.0
    code = (
        "import sys, train_flowmodels1 as script; from flow_models.runs.config import parse;"
        " sys.argv[0] = 'x'; parse(script.Config, script.PRESETS, '', []); print([m for m in"
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


@pytest.mark.parametrize("number", range(1, 8))
def test_settings_are_shown_on_one_screen_what_differs_first(number):
    script = importlib.import_module(f"train_flowmodels{number}")
    config = replace(script.Config(), steps=77, output_dir="x" * 300)
    head, changed, *rest = repr(config).splitlines()
    assert head == f"Config: Settings of application {number}."
    assert changed.startswith("  changed: ") and "steps=77" in changed and len(rest) < 23
    assert all(len(line) <= 100 for line in [head, changed, *rest])
    assert all(f"{name}=" in repr(config) for name in flat(config))
    assert repr(script.Config()).splitlines()[1] == "  changed: nothing"


def test_groups_and_the_settings_of_a_training_are_shown_alike():
    shown = repr(FitSettings(steps=100)).splitlines()
    assert shown[:2] == ["FitSettings: How to train.", "  changed: steps=100"]
    assert shown[2].startswith("  by default: minutes=0.0, batch_size=512, eval_every_steps=0")
    assert repr(RunSettings()).startswith("RunSettings: Where a run writes, and how it starts.")
