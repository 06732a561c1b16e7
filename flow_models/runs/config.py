"""Settings of a run, presets and the command line. Loads nothing heavy: `--help` answers at once.

The settings of an application are a frozen dataclass of its own fields and of groups, dataclasses
that several applications share. On the command line and in config.yaml all fields stand side by
side: `--steps` sets `config.fit.steps`.
"""

import dataclasses
import difflib
import os
import re
import sys
import typing
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from flow_models.core.errors import UserError
from flow_models.core.shown import shown

Config = TypeVar("Config")
LONGEST = 300  # characters of a message of the parser, which may quote a whole file
# settings of earlier versions, whose flags and files still work
RENAMED = {
    "epoch_steps": "eval_every_steps",
    "shards": "microbatches",
    "unroll": "layers_per_loop_body",
    "tilt": "rare_oversampling",
    "waves": "fourier_features",
    "temperature": "sampling_temperature",
}


@typing.dataclass_transform(frozen_default=True)
def settings(cls: type[Config]) -> type[Config]:
    """Makes a class of settings: a frozen dataclass whose fields are flags or groups of flags, and
    whose `repr` fits one screen."""
    made = dataclasses.dataclass(frozen=True, repr=False)(cls)
    made.__repr__ = lambda self: shown(self, flat(self), flat(type(self)()))  # type: ignore
    return made


@settings
class RunSettings:
    """Where a run writes, and how it starts."""

    preset: str = "default"
    """smoke (under a minute, to see it run), default, or full; other flags override it"""
    output_dir: str = ""
    """folder of this run, local or s3://bucket/prefix; empty: runs/<application>/<time>"""
    resume: bool = False
    """go on with the run in output_dir, exactly where it stopped; start it where there is none"""
    overwrite: bool = False
    """delete what an earlier run left in output_dir"""
    mlflow: bool = True
    """log to MLflow"""
    register_model: bool = False
    """register the trained model in MLflow, so that it can be served (doc/serving.md)"""
    tracking_uri: str = ""
    """MLflow server or store; empty: MLFLOW_TRACKING_URI, or mlflow.db in the project folder"""


def refuse(*wrong: tuple[bool, str]) -> None:
    """Raises UserError with the message of the first that is wrong."""
    for is_wrong, message in wrong:
        if is_wrong:
            raise UserError(message)


def groups(config_class: type) -> dict[str, Any]:
    """The groups of a class of settings, by name, with their defaults in this application."""
    defaults = {field.name: _default(field) for field in dataclasses.fields(config_class)}
    return {name: each for name, each in defaults.items() if dataclasses.is_dataclass(each)}


def flat(config) -> dict[str, Any]:
    """All settings side by side, as on the command line and in config.yaml."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def nested(config_class: type[Config], values: dict[str, Any]) -> Config:
    """The settings of flat values; what is not among them has its default.

    Raises:
      UserError: a value that the settings refuse.
    """
    remaining = dict(values)
    fields: dict[str, Any] = {}
    for name, group in groups(config_class).items():
        names = {field.name for field in dataclasses.fields(group)} & set(remaining)
        fields[name] = dataclasses.replace(group, **{each: remaining.pop(each) for each in names})
    return config_class(**fields, **remaining)


def replace(config: Config, **values) -> Config:
    """The settings with some flat values changed."""
    return nested(type(config), {**flat(config), **values})


def _default(field: dataclasses.Field) -> Any:
    return (
        field.default
        if field.default is not dataclasses.MISSING
        else field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else None
    )


def parse(
    config_class: type[Config],
    presets: dict[str, dict[str, Any]],
    description: str,
    argv: list[str],
) -> Config:
    """The settings that arguments ask for: defaults, then a preset, then --config, then flags.

    Args:
      config_class: made by `settings`.
      presets: name -> flat settings that differ from the defaults of the class.

    Raises:
      UserError: unknown flag or preset, bad value, missing file; one line.
    """
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = _parser(config_class, description)
    _read_earlier_names(parser, _renamed(config_class))
    argv = _normal_form(argv, config_class)
    parser.set_defaults(_preset(presets, argv))
    if {"-h", "--help"} & set(argv):
        _print_help(parser)
    _check_flags(argv, {name for action in parser._actions for name in action.option_strings})
    try:
        values = parser.parse_args(argv).as_dict()
    except (jsonargparse.ArgumentError, OSError, UnicodeDecodeError) as error:
        raise UserError(_one_line(str(error))) from None
    values.pop("config", None)
    return nested(config_class, values)


def _parser(config_class, description):
    """A parser with a flag for each field, of the application's own first, then group by group."""
    import argparse

    import jsonargparse

    formatter = type(
        "Formatter", (argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter), {}
    )
    parser = jsonargparse.ArgumentParser(
        prog=Path(sys.argv[0]).name,
        usage="%(prog)s [--preset PRESET] [--config FILE] [--FLAG VALUE ...]",
        description=description,
        formatter_class=formatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of settings, for example config.yaml of a run"
    )
    shared = groups(config_class)
    parser.add_class_arguments(config_class, None, as_group=False, skip=set(shared))
    for group in shared.values():
        parser.add_class_arguments(type(group), None, as_group=True)
        parser.set_defaults(flat(group))
    return parser


def _renamed(config_class):
    """Settings of earlier versions, less the names that this application uses itself."""
    taken = flat(config_class())
    return {old: new for old, new in RENAMED.items() if old not in taken and new in taken}


def _read_earlier_names(parser, renamed):
    """The parser takes files with the names of earlier versions too."""
    import jsonargparse
    import yaml

    read = jsonargparse.get_loader("yaml")

    def read_renamed(text):
        found = read(text)
        if not isinstance(found, dict):
            return found
        return {renamed.get(name, name): value for name, value in found.items()}

    jsonargparse.set_loader("settings", read_renamed, (yaml.YAMLError,))
    parser.parser_mode = "settings"


def _print_help(parser) -> NoReturn:
    """Prints the help and ends the program, also where the reader has seen enough of it."""
    try:
        print(re.sub(r"--[a-z_]+", lambda at: at[0].replace("_", "-"), parser.format_help()))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _normal_form(argv, config_class):
    """Flags with underscores, renamed ones under their new name; a switch alone is set to true."""
    defaults = flat(config_class())
    switches = {f"--{name}" for name, value in defaults.items() if isinstance(value, bool)}
    switches |= {f"--{name}" for name in _optional_switches(config_class)}
    renamed = _renamed(config_class)
    normal = []
    for i, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if re.match(r"--[a-zA-Z]", flag):
            name = flag[2:].replace("-", "_")
            argument = f"--{renamed.get(name, name)}{equals}{value}"
        follows = argv[i + 1].lower() if i + 1 < len(argv) else "--"
        alone = argument in switches and follows not in ("true", "false", "null")
        normal.append(f"{argument}=true" if alone else argument)
    return normal


def _optional_switches(config_class):
    """Names of the fields that are true, false or null."""
    classes = [config_class, *(type(group) for group in groups(config_class).values())]
    fields = [field for each in classes for field in dataclasses.fields(each)]
    return [field.name for field in fields if field.type in ("bool | None", bool | None)]


def _preset(presets, argv):
    """The settings of the preset that --preset names, else the --config file; flags override it."""
    name, file = _value(argv, "--preset"), _value(argv, "--config")
    if name is None and file is not None:
        import yaml

        try:
            found = yaml.safe_load(Path(file).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            found = None  # the parser says what is wrong with the file
        name = found.get("preset") if isinstance(found, dict) else None
    name = name or "default"
    if name not in presets:
        raise UserError(f"no preset {name!r}; there are {', '.join(presets)}")
    return {**presets[name], "preset": name}


def _value(argv, flag):
    """The last value given to a flag, None where it is not there."""
    value = None
    for i, argument in enumerate(argv):
        if argument == flag and i + 1 < len(argv):
            value = argv[i + 1]
        elif argument.startswith(f"{flag}="):
            value = argument.split("=", 1)[1]
    return value


def _check_flags(argv, known):
    for argument in argv:
        flag = argument.split("=", 1)[0]
        if re.match(r"--[a-zA-Z]", flag) and flag.removesuffix("+") not in known:
            near = difflib.get_close_matches(flag, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "; --help lists all"
            raise UserError(f"no flag {flag}{hint}".replace("_", "-"))


def _one_line(message: str) -> str:
    """A message of the parser on one line, in the words of the command line."""
    message = re.sub(r'Parser key "(\w+)":\s*', r"--\1: ", message)
    message = message.replace("typing.", "").replace("<class '", "").replace("'>", "")
    message = " ".join(message.split())
    union = (
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*?), NoneType\]"
        r" Errors: .* value: ?(.*)"
    )
    message = re.sub(union, r"Expected \1 or null. Got value: \2", message)
    if re.search(r"Expected (a )?(list|tuple)", message):
        message += "; a list is written '[a, b]'"
    return message if len(message) <= LONGEST else f"{message[:LONGEST]} ..."
