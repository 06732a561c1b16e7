"""Every public name says what it does: shapes, units, errors, and the paper that it follows.

Read from the sources alone (`ast`), so nothing is imported.
"""

import ast
import dataclasses
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# what the pages of the API reference ask for: `names` of a module, or all `modules` of a room
ASKED = [
    words.split()
    for page in sorted((ROOT / "doc" / "api").glob("*.md"))
    for words in re.findall(r"<!-- ((?:names|modules) .+) -->", page.read_text())
]
# architectures and layers that follow no paper
OWN = {
    *("ARCHITECTURES", "build", "build_image", "flat_realnvp", "flow_mixture", "framed"),
    *("in_units_of_the_data", "known_options", "mixed", "mixture", "noise_columns"),
    *("of_whole_numbers", "pixels_of", "with_missing"),
    *("Chain", "Composed", "Domain", "Elementwise", "Flatten", "FlowBijector", "FromTFP"),
    *("HalfTurn", "Inverse", "Layer", "LeakyReLU", "OnTorus", "Permutation", "Repeat", "Roll"),
    "Standardise",
}
ERRORS = {"UserError", "ValueError", "TypeError"}
DENSITY = re.compile(r"log_prob|nll|entropy|score_samples|anomaly_score|log_z|log_density")


@dataclasses.dataclass(frozen=True)
class Public:
    """A name that users see: where, its node, the classes that it stands in or inherits from."""

    name: str
    module: str
    node: ast.AST
    owners: tuple[ast.ClassDef, ...] = ()

    @property
    def place(self) -> str:
        inside = f"{self.owners[0].name}." if self.owners and self.is_method else ""
        return f"{self.module}: {inside}{self.name}"

    @property
    def is_method(self) -> bool:
        return isinstance(self.node, ast.FunctionDef) and bool(self.owners)

    @property
    def text(self) -> str:
        """Its docstring, or that of the method of a base class that it overrides."""
        if not self.is_method:
            return ast.get_docstring(self.node) or ""
        of_bases = [each for owner in self.owners for each in _methods(owner)]
        found = [ast.get_docstring(each) for each in of_bases if each.name == self.name]
        return next(filter(None, [ast.get_docstring(self.node), *found]), "")

    @property
    def texts(self) -> str:
        """The same, and what its class says of all methods."""
        return "\n".join([self.text, *(ast.get_docstring(each) or "" for each in self.owners)])


@functools.cache
def tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text())


@functools.cache
def imports(module: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, name there), of all `from ... import` of a file."""
    found = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ImportFrom)]
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in found
        for alias in node.names
    }


@functools.cache
def resolved(module: str, name: str) -> tuple[str, ast.AST] | None:
    """The module and node that define a name; None for modules, constants and other packages."""
    for node in tree(module).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return module, node
    source, there = imports(module).get(name, ("", ""))
    path = ROOT.joinpath(*source.split("."), there)
    if not source.startswith("flow_models") or path.is_dir() or path.with_suffix(".py").exists():
        return None
    return resolved(source, there)


@functools.cache
def exported(module: str) -> list[str]:
    """The names under `if TYPE_CHECKING` of the package, `__all__` of others, or all public."""
    body = tree(module).body
    if module == "flow_models":
        block = next(node for node in body if isinstance(node, ast.If))
        return [node.names[0].name for node in block.body if isinstance(node, ast.ImportFrom)]
    lists = [
        node.value
        for node in body
        if isinstance(node, (ast.Assign, ast.AugAssign)) and "__all__" in ast.unparse(node)
    ]
    if lists:
        return [each.value for found in lists for each in found.elts]
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [each.name for each in body if isinstance(each, kinds) and each.name[0] != "_"]


def bases(module: str, node: ast.ClassDef) -> list[ast.ClassDef]:
    """The classes of this package that a class inherits from, the nearest first."""
    found = [resolved(module, ast.unparse(base)) for base in node.bases]
    return [
        each
        for source, base in filter(None, found)
        if isinstance(base, ast.ClassDef)
        for each in (base, *bases(source, base))
    ]


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    functions = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    setters = {each.name for each in functions if "setter" in map(_last, each.decorator_list)}
    return [each for each in functions if each.name not in setters]


def _last(decorator) -> str:
    return getattr(decorator, "attr", "")


def _modules(kind: str, path: str) -> list[str]:
    if kind == "names":
        return [path]
    folder = ROOT.joinpath(*path.split("."))
    return [f"{path}.{each.stem}" for each in folder.glob("*.py") if each.stem != "__init__"]


@functools.cache
def public() -> tuple[Public, ...]:
    """All public names, and the public methods of classes among them."""
    modules = [module for kind, path, *_ in ASKED for module in _modules(kind, path)]
    found = {}
    for module in modules:
        for name in exported(module):
            known = resolved(module, name)
            if known is None:
                continue
            where, node = known
            owners = (node, *bases(where, node)) if isinstance(node, ast.ClassDef) else ()
            found[where, name] = Public(name, where, node, owners)
            for each in _methods(node) if owners else []:
                if not each.name.startswith("_"):
                    found[where, name, each.name] = Public(each.name, where, each, owners)
    return tuple(found.values())


def functions() -> list[Public]:
    return [each for each in public() if isinstance(each.node, ast.FunctionDef)]


def test_the_names_are_found():
    names = {each.name for each in public()}
    assert {"Model", "fit", "realnvp", "Coupling", "corner", "c2st", "Gravity"} <= names
    assert {"log_prob", "posterior", "predict_proba", "open_images", "fit_posterior"} <= names
    assert len(public()) > 600


def test_all_are_documented():
    wrong = [each.place for each in public() if len(each.text.split()) < 3]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", sorted({path for _, path, *_ in ASKED}))
def test_modules_are_documented(module):
    assert len((ast.get_docstring(tree(module)) or "").split()) > 5


def test_arrays_have_shapes():
    arrays = re.compile(r"ndarray|Tensor\b")
    wrong = [
        each.place
        for each in functions()
        if arrays.search(ast.unparse(each.node.args) + ast.unparse(each.node.returns or ast.Pass()))
        and not re.search(r"\[[^\]]+\]|a number", each.text)
    ]
    assert not wrong, "\n".join(wrong)


def test_errors_are_told():
    def raised(node):
        found = [each.exc for each in ast.walk(node) if isinstance(each, ast.Raise) and each.exc]
        return {getattr(getattr(each, "func", each), "id", "") for each in found} & ERRORS

    wrong = [
        f"{each.place} raises {', '.join(raised(each.node))}"
        for each in functions()
        if raised(each.node) and not re.search(r"[Rr]aises|[Rr]efuse|Error", each.texts)
    ]
    assert not wrong, "\n".join(wrong)


def test_densities_have_units():
    wrong = [
        each.place
        for each in functions()
        if DENSITY.search(each.name) and not re.search(r"nats|bits|log-|log p", each.texts)
    ]
    assert not wrong, "\n".join(wrong)


def test_architectures_and_layers_name_their_papers():
    rooms = ("flow_models.architectures", "flow_models.bijectors")
    entries = {
        name: resolved(module, name)[1]
        for module in rooms
        for name in exported(module)
        if resolved(module, name)
    }
    cited = {
        name for name, node in entries.items() if re.search(r"\b(19|20)\d\d\b", _doc(node))
    } | {name for name, node in entries.items() if re.search(r"rguments as in `", _doc(node))}
    assert set(entries) - cited <= OWN
    assert not cited & OWN, "OWN names some that do follow a paper"


def _doc(node) -> str:
    return ast.get_docstring(node) or ""


def test_described_arguments_exist():
    wrong = [
        f"{each.place} has no {name}"
        for each in public()
        for name in _described(_doc(each.node))
        if not _exists(each, name)
    ]
    assert not wrong, "\n".join(wrong)


def _described(text: str) -> list[str]:
    """The names that the sections Args and Attributes tell of."""
    found, listed = [], False
    for line in text.splitlines():
        if line and not line.startswith(" "):
            listed = line.rstrip() in ("Args:", "Attributes:")
        item = re.match(r"  (\*{0,2}\w+(, \*{0,2}\w+)*):( |$)", line) if listed else None
        found += [name.strip(" *") for name in (item[1].split(",") if item else [])]
    return found


def _exists(each: Public, name: str) -> bool:
    nodes = [each.node] if isinstance(each.node, ast.FunctionDef) else list(each.owners)
    known = {word.arg for node in nodes for word in ast.walk(node) if isinstance(word, ast.arg)}
    targets = [word for node in nodes for word in ast.walk(node)]
    known |= {ast.unparse(word.target) for word in targets if isinstance(word, ast.AnnAssign)}
    known |= {word.attr for word in targets if isinstance(word, ast.Attribute)}
    known |= {word.name for word in targets if isinstance(word, ast.FunctionDef)}
    is_open = isinstance(each.node, ast.FunctionDef) and each.node.args.kwarg  # **options
    return name in known or name.endswith("_") or bool(is_open)
