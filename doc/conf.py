"""The site that `make docs` builds: Sphinx with MyST reads the Markdown pages as they are.

Sphinx, because it is kept (Material for MkDocs, the other choice, ends in May 2027), and MyST-NB
can render notebooks from a cache of executed ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

project = "flow_models"
author = "the flow_models authors"
root_doc = "README"
extensions = ["myst_nb"]
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "doc/*.md"]
html_theme = "furo"
html_title = "flow_models"
myst_heading_anchors = 4

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
    "Reference": ["CONTRIBUTING", "CHANGELOG"],
}


def setup(app) -> None:
    app.connect("source-read", complete)
    app.connect("build-finished", home)


def complete(app, name: str, source: list[str]) -> None:
    """Adds what GitHub would show as code: the contents, to the README."""
    if name == root_doc:
        source[0] += "".join(
            "\n```{toctree}\n:hidden:\n:caption: " + title + "\n\n" + "\n".join(pages) + "\n```\n"
            for title, pages in SECTIONS.items()
        )


def home(app, error) -> None:
    """The README is the home page."""
    if error is None:
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")
