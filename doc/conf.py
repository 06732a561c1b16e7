"""The site that `make docs` builds: Sphinx with MyST reads the Markdown pages as they are.

Sphinx, because it is kept (Material for MkDocs, the other choice, ends in May 2027), and MyST-NB
can render notebooks from a cache of executed ones.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import reference

project = "flow_models"
author = "the flow_models authors"
root_doc = "README"
extensions = ["myst_nb"]
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
    "doc/*.md",
    "doc/api/*.md",
    "doc/tutorials/*.ipynb",
]
nb_execution_mode = "off"  # notebooks hold their outputs: make tutorials executes them
html_theme = "furo"
html_title = "flow_models"
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]  # the thumbnails of the README
html_static_path = ["site.css"]
html_css_files = ["site.css"]
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
nitpicky = True  # a link to a name that no page documents is a warning
nitpick_ignore_regex = [("py:.*", r"(?!flow_models\.).*")]

# every page stands here: one that does not is a warning, and warnings are errors
SECTIONS = {
    "Start": ["doc/index", "doc/runs", "doc/python", "doc/faq"],
    "Tutorials": sorted(
        f"doc/tutorials/{path.stem}" for path in Path(__file__).parent.glob("tutorials/*.ipynb")
    ),
    "Applications": [f"doc/application{number}" for number in range(1, 8)],
    "Guides": [
        *("doc/tables", "doc/anomaly_scores", "doc/sample_quality", "doc/classification"),
        "doc/inverse_problems",
        *(
            "doc/your_own_problem",
            "doc/densities",
            "doc/commands",
            "doc/explorer",
            "doc/scikit_learn",
        ),
        *("doc/serving", "data/README"),
    ],
    "Flows": ["doc/which_flow", "doc/families"],
    "Cloud": ["doc/ec2_gpu", "doc/aws_batch", "doc/shards", "doc/scaling"],
    "Results": [
        *("doc/results", "doc/results_flowmodels1", "doc/results_targets"),
        *("doc/benchmarks_flows", "doc/benchmarks_images", "doc/benchmarks_data"),
        "doc/benchmarks_inverse",
    ],
    "API reference": [
        *("doc/api/index", "doc/api/models", "doc/api/architectures", "doc/api/bijectors"),
        *("doc/api/training", "doc/api/inverse", "doc/api/estimators", "doc/api/diagnostics"),
        *("doc/api/data", "doc/api/simulators", "doc/api/references", "doc/api/plots"),
        "doc/api/commands",
    ],
    "Project": ["CONTRIBUTING", "CHANGELOG", "doc/citation"],
}


def setup(app) -> None:
    app.connect("source-read", complete)
    app.connect("source-read", reference.fill)
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
