"""The API reference: docstrings, read without importing anything, as MyST Markdown.

griffe reads the sources, Sphinx indexes what comes out. Pages in doc/api/ say in comments what they
want:

    <!-- names flow_models.bijectors -->        all that the package or module exports
    <!-- names flow_models models training -->  what flow_models exports from these rooms
    <!-- modules flow_models.diagnostics -->    each module of a room, under a heading of its own
    <!-- table flow_models -->                  one line for each exported name
    <!-- help score -->                         what `python -m flow_models score --help` prints
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import flow_models  # noqa: E402  (loads none of its modules)

PACKAGE = "flow_models"
ALSO = ("flow_models.bijectors.conditioned", "flow_models.bijectors.amortised")
EXPORTING = ("architectures", "bijectors", "plots")  # rooms whose names have a path of their own
BAR = "&#124;"  # in a table
LONG = 30  # characters of a default value; a longer one is in the source
TITLES = {
    "parameters": "Arguments",
    "attributes": "Attributes",
    "raises": "Raises",
    "returns": "Returns",
    "yields": "Yields",
}
FENCE = "`" * 9  # of the outermost block


def fill(app, name: str, source: list[str]) -> None:
    """Puts the reference where the comments of a page of doc/api/ ask for it."""
    if name.startswith("doc/api/"):
        app.env.note_reread()  # the sources may have changed
        source[0] = re.sub(
            r"<!-- (\w+) (.+) -->", lambda found: _filled(*found.groups()), source[0]
        )


def _filled(kind: str, words: str) -> str:
    makers = {"names": names, "modules": modules, "table": table, "help": shown_help}
    return "\n".join(makers[kind](*words.split()))


@functools.cache
def package() -> griffe.Module:
    """The whole package; what griffe cannot read is a warning of the build."""
    griffe.patch_loggers(lambda name: logging.getLogger("griffe"))
    return griffe.load(
        PACKAGE,
        search_paths=[str(ROOT)],
        docstring_parser="google",
        docstring_options={"warn_unknown_params": False, "warn_missing_types": False},
        resolve_aliases=True,
    )


# which names, and where they stand


def exported(module: griffe.Module) -> dict[str, griffe.Object]:
    """Name -> object: `__all__`, or what a module without it defines."""
    found = flow_models.__all__ if module.path == PACKAGE else module.exports
    if found is None:
        found = [
            name
            for name, each in module.members.items()
            if not name.startswith("_")
            and not each.is_alias
            and (each.is_class or each.is_function)
        ]
    named = {str(name): _target(module, str(name)) for name in found if name in module.members}
    return {name: each for name, each in named.items() if not each.is_attribute}


def _target(module: griffe.Module, name: str) -> griffe.Object:
    """What a name stands for; an imported function may have the name of its own module."""
    path = module.imports.get(name, f"{module.path}.{name}")
    found = package_of(path)
    return found.final_target if found.is_alias else found


def place(name: str, found: griffe.Object) -> str:
    """The path by which a user knows an exported object: `flow_models.architectures.glow`."""
    room = found.canonical_path.split(".")[1]
    if found.is_module:
        return found.canonical_path
    if room in EXPORTING and name in exported(package()[room]):
        return f"{PACKAGE}.{room}.{name}"
    top = exported(package())
    return f"{PACKAGE}.{name}" if top.get(name) is found else found.canonical_path


@functools.cache
def known() -> dict[str, str]:
    """Bare name -> path, of all that has one meaning; code in prose links there."""
    paths: dict[str, set[str]] = {}
    for path in (*_homes(), *ALSO):
        for name, found in exported(package_of(path)).items():
            paths.setdefault(name, set()).add(place(name, found))
    return {name: min(found) for name, found in paths.items() if len(found) == 1}


def package_of(path: str) -> griffe.Module:
    """The module of a path such as flow_models.bijectors."""
    inside = path.removeprefix(PACKAGE).lstrip(".")
    return package()[inside] if inside else package()


def _homes() -> list[str]:
    return [PACKAGE, *(f"{PACKAGE}.{room}" for room in EXPORTING)]


# what a page asks for


def names(path: str, *rooms: str) -> Iterator[str]:
    """Entries of what a module exports, all or from some rooms, those of the rooms by their own
    names left out."""
    module = package_of(path)
    for name, found in exported(module).items():
        room = found.canonical_path.split(".")[1]
        if found.is_module or (rooms and room not in rooms):
            continue
        if rooms and place(name, found) != f"{PACKAGE}.{name}":
            continue
        yield entry(found, place(name, found) if path in _homes() else f"{path}.{name}")


def modules(path: str) -> Iterator[str]:
    """Each module of a room that defines public names: heading, docstring, entries."""
    for name, module in sorted(package_of(path).modules.items()):
        if exported(module):
            yield f"## {name}\n\n```{{py:module}} {module.path}\n```\n\n{described(module)}\n"
            yield from names(module.path)


def table(path: str) -> Iterator[str]:
    """A line for each exported name, with a link to its entry."""
    yield "| Name | |\n|---|---|"
    for name, found in sorted(exported(package()).items(), key=lambda each: each[0].lower()):
        said = found.docstring.value if found.docstring else ""
        first = re.split(r"(?<=[\w)`\]]\.)\s+(?=[A-Z`])|\n\n", said.strip())[0].replace("\n", " ")
        yield f"| {{py:obj}}`{name} <{place(name, found)}>` | {_prose(first).replace('|', BAR)} |"


def shown_help(*words: str) -> Iterator[str]:
    """What a command, or a script by its name, prints for --help."""
    program = [words[0]] if words[0].endswith(".py") else ["-m", PACKAGE, *words]
    done = subprocess.run(
        [sys.executable, *program, "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "88"},
        check=True,
        capture_output=True,
        text=True,
    )
    yield f"```text\n{done.stdout.rstrip()}\n```"


# an object as a directive of Sphinx


def entry(found: griffe.Object, path: str, depth: int = 0) -> str:
    """The object, its docstring and, of a class, its documented public members."""
    fence = FENCE[depth:]
    kind = "class" if found.is_class else "function"
    body = [described(found), *_based(found), *(_member(each, depth) for each in members(found))]
    body.append(f"*Defined in* `{found.relative_package_filepath.as_posix()}`.")
    module, _, name = path.rpartition(".")
    head = f"{fence}{{py:{kind}}} {_signature(found, name)}\n:module: {module}"
    return "\n\n".join([head, *filter(None, body), fence]) + "\n"


def members(found: griffe.Object) -> list[griffe.Object]:
    """Documented public members of a class, those of private base classes included."""
    if not found.is_class:
        return []
    hidden = [base for base in found.mro() if base.name.startswith("_")]
    own = {name: each for base in [*hidden[::-1], found] for name, each in base.members.items()}
    return [
        each
        for name, each in own.items()
        if not name.startswith("_") and each.has_docstring and not each.is_alias
    ]


def _member(found: griffe.Object, depth: int) -> str:
    fence = FENCE[depth + 2 :]
    if found.is_function:
        head = f"{fence}{{py:method}} {_signature(found, found.name)}"
    else:
        kind = "property" if "property" in found.labels else "attribute"
        head = f"{fence}{{py:{kind}}} {found.name}"
        head += f"\n:type: {found.annotation}" if found.annotation else ""
    return f"{head}\n\n{described(found)}\n{fence}"


def _signature(found: griffe.Object, name: str) -> str:
    shown = [each for each in found.parameters if each.name not in ("self", "cls")]
    for each in shown:
        if each.default and len(str(each.default)) > LONG:
            each.default = "..."
    made = griffe.Function(name, parameters=griffe.Parameters(*shown))
    made.returns = getattr(found, "returns", None)
    return made.signature()


def _based(found: griffe.Object) -> Iterator[str]:
    bases = [str(base) for base in found.bases] if found.is_class else []
    linked = [f"{{py:obj}}`{base} <{known()[base]}>`" for base in bases if base in known()]
    if linked:
        yield f"Has the methods of {', '.join(linked)}."


# docstrings as Markdown


def described(found: griffe.Object) -> str:
    """The sections of a docstring."""
    sections = found.docstring.parsed if found.docstring else []
    return "\n\n".join(_section(section) for section in sections)


def _section(section) -> str:
    kind, value = section.kind.value, section.value
    if kind == "text":
        return _text(value)
    if kind == "admonition":
        return f"**{section.title}**\n\n{_text(value.contents)}"
    if kind == "examples":
        return "**Examples**\n\n" + "\n\n".join(_text(text) for _, text in value)
    return f"**{TITLES[kind]}**\n\n" + "\n".join(f"- {_item(each)}" for each in value)


def _item(each) -> str:
    """A parameter, error or result, and what is said of it, on one line."""
    label = getattr(each, "name", "") or str(each.annotation or "")
    label += f" {each.annotation}" if label.endswith(",") else ""  # "lower, upper" is two names
    code = ", ".join(_linked(f"`{word}`") for word in label.split(", ") if word)
    said = _prose(" ".join(each.description.split()))
    return f"{code}: {said}" if code else said


def _text(value: str) -> str:
    """Paragraphs of prose; what is indented, and examples, are code."""
    return "\n\n".join(
        map(_paragraph, re.split(r"\n[ ]*\n(?!    )|\n\n(?=    )", value.strip("\n")))
    )


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>>"):
        return f"```pycon\n{text}\n```"
    if text.startswith("    "):
        return f"```text\n{text}\n```"
    return _prose(text)


def _prose(text: str) -> str:
    """Code in backticks links to what it names; other signs of Markdown are as they are."""
    parts = re.split(r"(`[^`]+`)", text)
    parts[::2] = [re.sub(r"([*<$\\]|^[#+])", r"\\\1", part, flags=re.M) for part in parts[::2]]
    parts[1::2] = [_linked(part) for part in parts[1::2]]
    return "".join(parts)


def _linked(code: str) -> str:
    """Code that names a class, an architecture, `fit` or `fm.anything` is a link to it; other words
    may be the names of arguments."""
    said = code.strip("`")
    name = said.removeprefix("fm.").removeprefix(f"{PACKAGE}.")
    path = known().get(name, "")
    sure = name != said or name[:1].isupper() or name.startswith("fit") or ".architectures." in path
    return f"{{py:obj}}`{said} <{path}>`" if path and sure else code
