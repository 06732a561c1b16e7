"""Objects that are saved: frozen dataclasses as dictionaries for JSON, and back, exactly.

A saved object names its class as "module:class", as pickle does. Loading a model imports the
modules that it names, which runs their code: load only models that you trust. Nothing but
`Serializable` classes is ever built.
"""

import dataclasses
import functools
import importlib
import os
import sys
from typing import Any

import numpy as np

from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Serializable:
    """A frozen dataclass whose fields are numbers, strings, tuples, dictionaries or other
    `Serializable` objects.

    Subclass it anywhere, at the top level of a file. A new process loads what was saved if it can
    import that file, as a module or from a folder on its path. A class of the script that runs is
    named by the script's file, so a script that trains when it is imported needs
    `if __name__ == "__main__":`.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _freeze(getattr(self, field.name)))


def _freeze(value):
    """Lists, ranges and arrays as tuples, NumPy numbers as Python numbers: what survives JSON."""
    if isinstance(value, (list, tuple, range, np.ndarray)):
        return tuple(_freeze(v) for v in value)
    if isinstance(value, dict):
        return {key: _freeze(v) for key, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def to_config(value):
    """Dictionary of a `Serializable` object: `{"__class__": "module:class", field: value, ...}`,
    nested.

    Raises:
      UserError: a class is defined inside a function, where no other process can find it.
    """
    if isinstance(value, Serializable):
        fields = {f.name: to_config(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"__class__": import_name(type(value)), **fields}
    if isinstance(value, (list, tuple)):
        return [to_config(v) for v in value]
    if isinstance(value, dict):
        return {k: to_config(v) for k, v in value.items()}
    return value


def from_config(config):
    """The object that `to_config` wrote down.

    Raises:
      UserError: a module cannot be imported, has no such class, or the class has other fields.
    """
    if isinstance(config, list):
        return tuple(from_config(v) for v in config)
    if not isinstance(config, dict):
        return config
    fields = {k: from_config(v) for k, v in config.items() if k != "__class__"}
    if "__class__" not in config:
        return fields
    name = config["__class__"]
    cls = imported(name)
    if not (isinstance(cls, type) and issubclass(cls, Serializable)):
        raise UserError(f"the saved model names {name} as a part, which is no Serializable class")
    try:
        return cls(**fields)
    except TypeError as error:
        raise UserError(f"the saved {name} does not fit this version of it: {error}") from None


def import_name(part) -> str:
    """The name "module:class" (or function) by which `imported` finds it in any process.

    Raises:
      UserError: it is defined inside a function.
    """
    if "<" in part.__qualname__:  # <locals>, <lambda>
        raise UserError(
            f"{part.__qualname__} has no name that a saved model could find it by: define it at the"
            " top level of a file"
        )
    module = _main_name() if part.__module__ == "__main__" else part.__module__
    return f"{module}:{part.__qualname__}"


def imported(name: str) -> Any:
    """The class or function that `import_name` named; imports its module.

    Raises:
      UserError: the module cannot be imported or does not have it.
    """
    module, _, path = str(name).partition(":")
    if not path:
        raise UserError(
            f"the saved model names its part {name!r} without a module: an older flow_models wrote"
            " it; load it with that version, or train it again"
        )
    try:
        home = (
            sys.modules["__main__"] if module == _main_name() else importlib.import_module(module)
        )
    except (Exception, SystemExit) as error:
        raise UserError(
            f"the saved model needs {path} of the module {module!r}, which cannot be imported"
            f" ({' '.join(str(error).split())}): put the folder of its file on PYTHONPATH, or"
            " install its package"
        ) from error
    try:
        return functools.reduce(getattr, path.split("."), home)
    except AttributeError:
        raise UserError(
            f"the saved model needs {path!r}, which the module {module!r} does not have: define it"
            " there before loading"
        ) from None


def _main_name() -> str:
    """The name by which another process imports the script that runs; "__main__" of a session."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec:  # python -m module
        return spec.name
    file = getattr(main, "__file__", None)
    return os.path.splitext(os.path.basename(file))[0] if file else "__main__"
