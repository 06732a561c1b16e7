"""The floors of the house: data flows one way, and nothing imports from a floor above its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "flow_models"
FLOORS = (
    "core",
    "diagnostics",
    "simulators",
    "data",
    "plots",
    "bijectors",
    "models",
    "references",
    "training",
    "architectures",
    "runs",
    "applications",
    "estimators",
    "explore",
    "sweep",
    "aws_batch",
    "commands",
)  # ground floor first


def imported(path: Path) -> set[tuple[str, int]]:
    """(module of this package, line) for each import in a file, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {(alias.name, node.lineno) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {(f"{node.module}.{alias.name}", node.lineno) for alias in node.names}
    return {(name, line) for name, line in found if name.split(".")[0] == PACKAGE.name}


def rooms() -> dict[str, list[Path]]:
    """The files of each folder of the package."""
    return {room: sorted((PACKAGE / room).rglob("*.py")) for room in FLOORS}


def test_every_folder_has_a_floor_and_the_top_holds_folders_alone():
    folders = {
        path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set(FLOORS)
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"__init__.py", "__main__.py", "py.typed"}


@pytest.mark.parametrize("room", FLOORS)
def test_no_import_goes_up(room):
    above = set(FLOORS[FLOORS.index(room) + 1 :])
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in rooms()[room]
        for name, line in imported(path)
        if len(name.split(".")) > 1 and name.split(".")[1] in above
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_among_modules():
    modules = {path: _dotted(path) for paths in rooms().values() for path in paths}
    known = set(modules.values())
    graph = {
        modules[path]: {_module(name, known) for name, _ in imported(path)} - {None, modules[path]}
        for path in modules
    }
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in done:
            return
        path.append(module)
        for other in sorted(graph.get(module, ())):
            visit(other)
        path.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


def _dotted(path: Path) -> str:
    parts = [PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, known: set[str]) -> str | None:
    """The module that an imported name lives in; None for what is not of the rooms."""
    return (
        name
        if name in known
        else name.rpartition(".")[0]
        if name.rpartition(".")[0] in known
        else None
    )


def test_warnings_are_issued_at_one_place():
    """What is printed instead reaches neither the report nor metrics.json nor MLflow."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} warns past core.errors.warn"
        for paths in rooms().values()
        for path in paths
        if path != PACKAGE / "core" / "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _warns(node)
    ]
    assert not wrong, "\n".join(wrong)


def _warns(call: ast.Call) -> bool:
    """Whether it is warnings.warn(...), or print("warning: ...") outside runs/warned.py."""
    if ast.unparse(call.func) == "warnings.warn":
        return True
    first = call.args[0] if call.args else None
    text = first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first
    said = text.value if isinstance(text, ast.Constant) else ""
    shows = isinstance(first, ast.JoinedStr) and "{message}" in ast.unparse(first)
    return (
        ast.unparse(call.func) == "print" and str(said).lower().startswith("warning") and not shows
    )
