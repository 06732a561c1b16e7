"""The site that `make docs` builds: Sphinx with MyST reads the Markdown pages as they are.

Sphinx, because it is kept (Material for MkDocs, the other choice, ends in May 2027), reads
docstrings through the package itself, and MyST-NB can render notebooks from a cache of runs.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

project = "flow_models"
author = "the flow_models authors"
root_doc = "README"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "doc/*.md"]
html_theme = "furo"
html_title = "flow_models"
myst_heading_anchors = 4
autodoc_typehints = "none"

# every page stands here: one that does not is a warning, and warnings are errors
SECTIONS = {
    "Start": ["doc/index", "doc/runs", "doc/python", "doc/faq"],
    "Applications": [f"doc/application{number}" for number in range(1, 8)],
    "Guides": [
        *("doc/tables", "doc/anomaly_scores", "doc/classification", "doc/inverse_problems"),
        *("doc/your_own_problem", "doc/densities", "doc/commands", "doc/scikit_learn"),
        *("doc/serving", "data/README"),
    ],
    "Flows": ["doc/which_flow", "doc/families"],
    "Cloud": ["doc/ec2_gpu", "doc/aws_batch", "doc/scaling"],
    "Results": [
        *("doc/results", "doc/results_flowmodels1", "doc/results_targets"),
        *("doc/benchmarks_flows", "doc/benchmarks_images", "doc/benchmarks_data"),
        "doc/benchmarks_inverse",
    ],
    "Reference": ["doc/api", "CONTRIBUTING", "CHANGELOG"],
}


def setup(app) -> None:
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", as_written)
    app.connect("build-finished", home)


def complete(app, name: str, source: list[str]) -> None:
    """Adds what GitHub would show as code: the contents to the README, the names to the API."""
    if name == root_doc:
        source[0] += "".join(
            "\n```{toctree}\n:hidden:\n:caption: " + title + "\n\n" + "\n".join(pages) + "\n```\n"
            for title, pages in SECTIONS.items()
        )
    if name == "doc/api":
        source[0] += "".join(entries())


def entries():
    """A heading and a directive for each public name."""
    import inspect

    import flow_models

    for name in sorted(flow_models.__all__, key=str.lower):
        found = getattr(flow_models, name)
        if inspect.ismodule(found):
            continue
        kind = "autoclass" if inspect.isclass(found) else "autofunction"
        members = "   :members:\n" if kind == "autoclass" else ""
        yield f"\n## {name}\n\n```{{eval-rst}}\n.. {kind}:: flow_models.{name}\n{members}```\n"


def as_written(app, what, name, found, options, lines: list[str]) -> None:
    """Docstrings have formulas in ASCII: the first paragraph is prose, the rest stays as it is."""
    text = "\n".join(lines).strip()
    first, _, rest = text.partition("\n\n")
    prose = re.sub(r"([*|_`\\])", r"\\\1", first)
    literal = "\n".join(f"    {line}" for line in rest.rstrip().split("\n"))
    lines[:] = [*prose.split("\n"), "", *(["::", "", *literal.split("\n"), ""] if rest else [])]


def home(app, error) -> None:
    """The README is the home page."""
    if error is None:
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")
