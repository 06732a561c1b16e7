"""Saved descriptions name their classes, and only classes of parts are built."""

import dataclasses
import json
import subprocess
import sys

import pytest

import flow_models as fm
from flow_models.core.serializable import Serializable, from_config, to_config


@dataclasses.dataclass(frozen=True)
class Pair(Serializable):
    first: object
    second: object = None


class Outer:
    @dataclasses.dataclass(frozen=True)
    class Pair(Serializable):
        """A class of the same name as another: both are found."""

        first: object


def test_objects_come_back_through_json():
    value = Pair([1, (2.5, None)], {"a": Outer.Pair("b"), "c": True})
    config = to_config(value)
    assert config["__class__"].endswith("test_serializable:Pair")
    assert config["second"]["a"]["__class__"].endswith("test_serializable:Outer.Pair")
    assert from_config(json.loads(json.dumps(config))) == value


def test_a_class_without_a_place_is_refused_when_it_is_saved():
    class Hidden(Serializable):
        pass

    with pytest.raises(fm.UserError, match="Hidden has no name .* top level of a file"):
        to_config(Hidden())


@pytest.mark.parametrize(
    "name, message",
    [
        ("Pair", "without a module"),
        ("no_such_module:Pair", "'no_such_module', which cannot be imported .* PYTHONPATH"),
        ("flow_models.core.serializable:Pair", "'Pair', which the module .* does not have"),
        ("subprocess:Popen", "no Serializable class"),
        ("builtins:eval", "no Serializable class"),
        (":Pair", "cannot be imported"),
        (None, "without a module"),
    ],
)
def test_what_cannot_be_found_is_one_clear_line(name, message):
    with pytest.raises(fm.UserError, match=message) as caught:
        from_config({"__class__": name, "args": ["true"]})
    assert "\n" not in str(caught.value)


SCRIPT = """
import dataclasses, json, sys
from flow_models.core.serializable import Serializable, from_config, to_config

@dataclasses.dataclass(frozen=True)
class Own(Serializable):
    number: int

if __name__ == "__main__":
    config = to_config(Own(3))
    assert from_config(config) == Own(3), "the running script is not imported a second time"
    print(json.dumps(config))
"""
LOADER = """
import json, sys
from flow_models.core.serializable import from_config
print(from_config(json.loads(sys.argv[1])))
"""


def python(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], check=False, cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("how", [["own_script.py"], ["-m", "own_script"]])
def test_a_class_of_a_script_is_named_by_its_file(how, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(fm.__path__[0])[: -len("/flow_models")])
    (tmp_path / "own_script.py").write_text(SCRIPT)
    saved = python(tmp_path, *how)
    assert json.loads(saved.stdout) == {"__class__": "own_script:Own", "number": 3}, saved.stderr
    assert python(tmp_path, "-c", LOADER, saved.stdout).stdout == "Own(number=3)\n"
    (tmp_path / "own_script.py").unlink()
    lost = python(tmp_path, "-c", LOADER, saved.stdout).stderr.splitlines()[-1]
    assert "'own_script', which cannot be imported" in lost
