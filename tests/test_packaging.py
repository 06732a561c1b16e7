"""The installed package: its metadata, its files, and that it runs outside the repository."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in ROOT.glob("train_flowmodels*.py"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The files of the wheel, as pip would lay them into site-packages. Needs no network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT / "flow_models", source / "flow_models", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in (*SCRIPTS, "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("flow_models-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def metadata(site: Path) -> Message:
    (file,) = site.glob("*.dist-info/METADATA")
    return email.message_from_string(file.read_text(encoding="utf-8"))


def required(site: Path) -> dict[str, list[Requirement]]:
    """Requirements by extra; "" are those that every installation has."""
    found: dict[str, list[Requirement]] = {"": []}
    for line in metadata(site).get_all("Requires-Dist"):
        requirement = Requirement(line)
        extra = re.search(r"extra == [\"'](\w+)", str(requirement.marker or ""))
        found.setdefault(extra[1] if extra else "", []).append(requirement)
    return found


def pins() -> dict[str, str]:
    """Direct dependencies of the environment and their versions."""
    lines = [
        line.split("#")[0].strip()
        for file in sorted(ROOT.glob("requirements*.txt"))
        for line in file.read_text().splitlines()
    ]
    requirements = [Requirement(line) for line in lines if line]
    assert all(re.fullmatch(r"==[\w.]+", str(each.specifier)) for each in requirements)
    return {canonicalize_name(each.name): str(each.specifier)[2:] for each in requirements}


def outside(site: Path, folder: Path, *arguments: str, **variables: str):
    """Runs Python in an empty folder with the wheel's files as its only flow_models."""
    surroundings = os.environ | {"PYTHONPATH": str(site)} | variables
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=surroundings, capture_output=True, text=True
    )


def test_the_wheel_holds_the_package_and_the_scripts_alone(installed):
    top = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert top == {"flow_models", *SCRIPTS} and len(SCRIPTS) >= 7
    here = {path.relative_to(ROOT) for path in ROOT.glob("flow_models/**/*.py")}
    here |= {Path("flow_models/py.typed"), Path("flow_models/runs/templates/report.html")}
    there = {path.relative_to(installed) for path in installed.glob("flow_models/**/*.*")}
    assert there == here
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "flow-models = flow_models.__main__:console" in entry.read_text()


def test_an_installation_takes_ranges_and_nothing_of_the_tests(installed):
    core = required(installed)[""]
    names = {canonicalize_name(each.name) for each in core}
    assert {"tensorflow", "tensorflow-probability", "tf-keras", "numpy", "mlflow"} <= names
    strange = ("pytest", "moto", "hadolint", "cfn-lint", "seaweedfs", "ruff", "mypy", "boto3")
    assert not [name for name in names if name.startswith(strange)]
    assert not [each for each in core if "==" in str(each.specifier)]
    assert all(each.specifier for each in core), "each has a version that is known to work"
    extras = set(metadata(installed).get_all("Provides-Extra"))
    assert extras == {"aws", "dispersion", "explore", "demo", "docs", "test", "dev"}


def test_pins_lie_in_the_ranges_and_each_is_a_dependency_or_in_an_extra(installed):
    ranges = {
        canonicalize_name(each.name): each
        for group in required(installed).values()
        for each in group
        if canonicalize_name(each.name) != "flow-models"
    }
    pinned = pins()
    assert set(pinned) == set(ranges)
    for name, version in pinned.items():
        assert ranges[name].specifier.contains(version), f"{name} {version} {ranges[name]}"


def test_commands_and_applications_answer_from_an_installed_package(installed, tmp_path):
    for arguments, begin in [
        (["-m", "flow_models", "--help"], "usage: python -m flow_models "),
        (["-c", console("--help")], "usage: flow-models "),
        (["-c", console("sweep", "--help")], "usage: flow-models sweep "),
        (["-c", console("train", "1", "--help")], "usage: train_flowmodels1.py "),
        *((["-m", name[:-3], "--help"], f"usage: {name} ") for name in SCRIPTS),
    ]:
        done = outside(installed, tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(begin)
    assert not list(tmp_path.iterdir())


def console(*arguments: str) -> str:
    """What the script `flow-models` does that pip writes for the entry point."""
    return (
        "import sys; from flow_models.__main__ import console;"
        f" sys.argv = ['flow-models', *{arguments!r}]; sys.exit(console())"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "9"], "there is no application '9'; there are 1, 2, 3, 4, 5, 6, 7"),
        (["train", "1", "--stps", "3"], "no flag --stps; did you mean --steps?"),
        (["sweep", "1", "stps=3,5"], "no flag --stps; did you mean --steps?"),
        (["batch", "deploy", "--dry-run"], "template.yaml is not part of the installed package"),
        (["batch", "build", "--dry-run"], "Dockerfile is not part of the installed package"),
    ],
)
def test_a_mistake_outside_the_repository_is_one_line(installed, tmp_path, arguments, message):
    done = outside(
        installed, tmp_path, "-m", "flow_models", *arguments, AWS_DEFAULT_REGION="eu-central-1"
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_missing_package_of_an_extra_is_one_line(installed, tmp_path):
    """As if boto3 were not installed."""
    (tmp_path / "boto3.py").write_text("raise ModuleNotFoundError('none', name='boto3')")
    done = outside(
        installed, tmp_path, "-m", "flow_models", "score", "s3://bucket/model", "table.csv"
    )
    assert done.returncode == 2
    assert done.stderr == "error: the package boto3 is not installed: pip install boto3\n"


def test_doctor_runs_without_the_repository(installed, tmp_path):
    done = outside(installed, tmp_path, "-m", "flow_models", "doctor", "--quick")
    assert "python" in done.stdout and "Traceback" not in done.stderr
