"""A Python file of the user's: loaded by its path, its mistakes told by file and line."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from flow_models.core.errors import UserError

LONGEST = 200  # characters of a message


PREFIX = "user_file_"  # of the names of such modules


def load(path: str) -> ModuleType:
    """The file as a module, loaded again only where it has changed; what lies beside it can be
    imported from it.

    Raises:
      UserError: there is no such file, or it raises an error: file, line and the error.
    """
    if not os.path.isfile(path):
        raise UserError(f"there is no file {path}")
    return _loaded(path, os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _loaded(path: str, _: int) -> ModuleType:
    folder, name = os.path.dirname(os.path.abspath(path)), PREFIX + Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(place(error, path)) from error
    return module


def place(error: BaseException, path: str, function=None) -> str:
    """ "my_problem.py, line 12: ValueError: message": the last line of the file that the error
    went through, or else where `function` begins."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == path]
    line = frames[-1].lineno if frames else getattr(function, "__code__", None)
    line = getattr(line, "co_firstlineno", line)
    if isinstance(error, SyntaxError) and error.filename == path:
        line = error.lineno
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    message = " ".join(f"{type(error).__name__}: {text}".rstrip(": ").split())[:LONGEST]
    return f"{os.path.basename(path)}, line {line}: {message}"


def sources(path: str) -> list[tuple[str, bytes]]:
    """Names and content of the file and of all that was imported from its folder so far."""
    folder = Path(path).resolve().parent
    found = {Path(path).resolve()}
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "/").resolve()
        is_own = not name.startswith((PREFIX, "flow_models")) and file.suffix == ".py"
        if is_own and folder in file.parents and "site-packages" not in file.parts:
            found.add(file)
    return [(str(file.relative_to(folder)), file.read_bytes()) for file in sorted(found)]
