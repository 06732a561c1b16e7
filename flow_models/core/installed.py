"""What an installation may lack: packages of an extra, and files of the repository."""

import importlib
from pathlib import Path
from types import ModuleType

from flow_models.core.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]  # or, for an installed package, its site-packages


def package(name: str) -> ModuleType:
    """The package, imported. Raises UserError with the pip command if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UserError(f"the package {name} is not installed: pip install {name}") from None


def repository_file(path: Path) -> Path:
    """The path, of a file that is not installed. Raises UserError outside the repository."""
    if not path.is_file():
        raise UserError(
            f"{path.name} is not part of the installed package: run this command in a clone of the"
            " repository"
        )
    return path
