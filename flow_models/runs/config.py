"""Typed settings, presets and the command line. Loads nothing heavy: `--help` and mistakes answer
at once."""

import dataclasses
import difflib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flow_models.training import cluster
from flow_models.core.errors import EX_TEMPFAIL, Terminated, UserError, WorkerLost
from flow_models.training.settings import FitSettings

Config = TypeVar("Config")
LONGEST = 300  # characters of a message of the parser, which may quote a whole file


@dataclasses.dataclass(frozen=True)
class RunConfig(FitSettings):
    """Settings that every application has; a flag each."""

    preset: str = "default"
    """smoke (under a minute, to see it run), default, or full; other flags override it"""
    output_dir: str = ""
    """folder of this run, local or s3://bucket/prefix; empty: runs/<application>/<time>"""
    resume: bool = False
    """go on with the run in output_dir, exactly where it stopped; start it where there is none
    yet"""
    overwrite: bool = False
    """delete what an earlier run left in output_dir"""
    mlflow: bool = True
    """log to MLflow"""
    tracking_uri: str = ""
    """MLflow server or store; empty: MLFLOW_TRACKING_URI, or mlflow.db in the project folder"""

    def fit_settings(self) -> FitSettings:
        """The part that `fit` takes."""
        return FitSettings(
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(FitSettings)}
        )


def parse(
    config_class: type[Config],
    presets: dict[str, dict[str, Any]],
    description: str,
    argv: list[str],
) -> Config:
    """The settings that the arguments ask for: fields of the class, then a preset, then --config,
    then flags.

    Args:
      config_class: a frozen dataclass; every field is a flag of its name.
      presets: name -> fields that differ from the defaults of the class.

    Raises:
      UserError: unknown flag or preset, bad value, missing file; one line.
    """
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(
        prog=Path(sys.argv[0]).name,
        usage="%(prog)s [--preset PRESET] [--config FILE] [--FLAG VALUE ...]",
        description=description,
        formatter_class=_help_formatter(),
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", action="config", help="YAML file of settings, for example config.yaml of a run"
    )
    parser.add_class_arguments(config_class, None, as_group=False)
    argv = _normal_form(argv, config_class)
    try:
        parser.set_defaults(_preset(presets, argv))
        if {"-h", "--help"} & set(argv):
            print(
                re.sub(r"--[a-z_]+", lambda flag: flag[0].replace("_", "-"), parser.format_help())
            )
            sys.exit(0)
        _check_flags(
            argv, {option for action in parser._actions for option in action.option_strings}
        )
        values = parser.parse_args(argv).as_dict()
    except (jsonargparse.ArgumentError, OSError) as error:
        raise UserError(_one_line(str(error))) from None
    values.pop("config", None)
    return config_class(**values)


def _help_formatter():
    """Defaults and types as jsonargparse shows them, and the description as it stands."""
    import argparse

    import jsonargparse

    return type(
        "Formatter", (argparse.RawDescriptionHelpFormatter, jsonargparse.DefaultHelpFormatter), {}
    )


def _normal_form(argv, config_class):
    """--output-dir is --output-dir, and a switch alone is that switch set to true."""
    switches = {f"--{f.name}" for f in dataclasses.fields(config_class) if f.type in (bool, "bool")}
    normal = []
    for i, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if re.match(r"--[a-zA-Z]", flag):
            argument = "--" + flag[2:].replace("-", "_") + equals + value
        follows = argv[i + 1].lower() if i + 1 < len(argv) else "--"
        normal.append(
            f"{argument}=true"
            if argument in switches and follows not in ("true", "false")
            else argument
        )
    return normal


def _preset(presets, argv):
    """The preset of --preset, else of the --config file: looked up before the rest is parsed, which
    overrides it."""
    name, file = _value(argv, "--preset"), _value(argv, "--config")
    if name is None and file is not None:
        import yaml

        try:
            settings = yaml.safe_load(Path(file).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            settings = None  # what is wrong with the file is said where it is parsed
        name = settings.get("preset") if isinstance(settings, dict) else None
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
    message = re.sub(r'Parser key "(\w+)":\s*', r"--\1: ", message)
    message = message.replace("typing.", "").replace("<class '", "").replace("'>", "")
    message = " ".join(message.split())
    union = (
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*?), NoneType\] Errors:"
        r" .* value: ?(.*)"
    )
    message = re.sub(union, r"Expected \1 or null. Got value: \2", message)
    if re.search(r"Expected (a )?(list|tuple)", message):
        message += "; a list is written '[a, b]'"
    return message if len(message) <= LONGEST else f"{message[:LONGEST]} ..."


def run(main: Callable[[Any], None], config_class: type, presets: dict, description: str) -> None:
    """Runs main(config) as a program: a user's mistake is one line on stderr and status 2, Ctrl-C
    130, SIGTERM or a lost worker 75."""
    guarded(lambda: _started(main, parse(config_class, presets, description, sys.argv[1:])))


def _started(main, config) -> None:
    """main(config), after this process has joined the other workers, if there are any: TensorFlow
    wants that first."""
    if cluster.join(config.strategy).count > 1:
        from flow_models.core.startup import load_tensorflow

        load_tensorflow()
        from flow_models.training import devices

        devices.get(config.strategy)
    main(config)


def guarded(action: Callable[[], None]) -> None:
    """Runs an action as a program, see `run`."""
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # names of files that are not UTF-8, as on stderr
    try:
        action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except WorkerLost as error:
        _leave(f"error: {error}", EX_TEMPFAIL)
    except Terminated:
        _leave("terminated: the same command with --resume goes on", EX_TEMPFAIL)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _terminate(*_):
    """SIGTERM, once: a second one must not break off the saving that the first one began."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def _leave(line: str, status: int) -> None:
    print(line, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # background threads of MLflow and TensorFlow would hold the process
