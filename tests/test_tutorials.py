"""The tutorials: notebooks that parse, name what exists, hold their outputs and, in the slow tests,
run from first to last cell and find what their text says."""

import ast
import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import types
from pathlib import Path

import pytest

import flow_models as fm

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "doc" / "tutorials"
NAMES = sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))
MOST_SECONDS = 180  # of two processors
MOST_BYTES = 250_000

# what must hold of the variables of a notebook after its last cell
CLAIMS = {
    "01_what_a_flow_is": "best - found < 0.06 and best - keras_found < 0.3 and weights == 36",
    "02_training_a_glow": "abs(gap.mean()) < 0.02"
    " and kept[True][-1] < 1.1 * kept[True][0] < 0.3 * kept[False][-1]"
    " and worst < 1e-4 * largest",
    "03_conditional_flows": "truth - found < 0.08 and 0.87 < inside.mean() < 0.93",
    "04_your_own_layer": "abs(gap.mean()) < 0.05"
    " and np.exp(found['rad'])[between].sum() < np.exp(found['spline_coupling'])[between].sum()",
    "05_a_table": "score[:3].min() > np.quantile(score[3:], 0.8)"
    " and np.mean((low <= truth) & (truth <= high)) > 0.7",
    "06_pictures": "table['nll'][1] < 0.5 and table['complexity'][1] > 0.9",
    "07_classes": "auroc(*strange) > 0.99 > auroc(*unsure) and right.mean() > 0.95",
    "08_an_inverse_problem": "metrics['coverage_90'] < 0.75 and len(caught) == 1"
    " and abs((p * r).sum() - draws[:, 0].mean()) < 0.03",
    "09_density_without_data": "abs(drawn.log_z) < 0.05 and chains.rhat > 1.05",
}


def cells(name: str, kind: str) -> list[dict]:
    book = json.loads((TUTORIALS / f"{name}.ipynb").read_text())
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def code(name: str) -> str:
    return "\n\n".join("".join(cell["source"]) for cell in cells(name, "code"))


def test_there_are_claims_of_every_tutorial():
    assert NAMES and NAMES == sorted(CLAIMS)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_whole(name):
    path = TUTORIALS / f"{name}.ipynb"
    text = path.read_text()
    assert json.loads(text)["nbformat"] == 4 and path.stat().st_size < MOST_BYTES
    assert not re.search(r"(?<![\w.])/(work|home|root|tmp|Users|opt)/", text), "a path of a machine"
    compile(code(name), name, "exec")
    blocks = cells(name, "code")
    assert [cell["execution_count"] for cell in blocks] == list(range(1, len(blocks) + 1))
    outputs = [output for cell in blocks for output in cell["outputs"]]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert "stream" in {output["output_type"] for output in outputs}
    assert not any(output["output_type"] == "error" for output in outputs)


@pytest.mark.parametrize("installed", [False, True])
def test_the_first_cell_installs_the_library_where_it_is_missing(monkeypatch, installed):
    (first,) = {"".join(cells(name, "code")[0]["source"]) for name in NAMES}
    asked, shell = [], types.SimpleNamespace(run_line_magic=lambda *words: asked.append(words))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if installed else None)
    exec(first, {"get_ipython": lambda: shell})
    assert asked == ([] if installed else [("pip", "install -q ../..")])
    assert (TUTORIALS / "../.." / "pyproject.toml").exists()


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_notebook_lead_to_files(name):
    text = "\n".join("".join(cell["source"]) for cell in cells(name, "markdown"))
    assert text.startswith(f"# {int(name[:2])}. ")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        assert "://" in link or (TUTORIALS / link).exists(), f"no {link}"


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_library_exist(name):
    tree = ast.parse(code(name))
    chains = {chain for node in ast.walk(tree) if (chain := chain_of(node))}
    assert chains
    for first, *rest in chains:
        assert first in fm.__all__, f"no fm.{first}"
        if rest and is_module(f"flow_models.{first}"):
            check_chain(f"flow_models.{first}", rest)
    for node in (each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)):
        if node.module.startswith("flow_models"):
            for each in node.names:
                check_chain(node.module, [each.name])


def chain_of(node) -> tuple[str, ...]:
    """("plots", "sides") of fm.plots.sides; nothing of anything else."""
    found = []
    while isinstance(node, ast.Attribute):
        found, node = [node.attr, *found], node.value
    return tuple(found) if isinstance(node, ast.Name) and node.id == "fm" else ()


def is_module(name: str) -> bool:
    """Whether there is such a module; a package above it is imported, the module itself is not."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def check_chain(module: str, names: list[str]) -> None:
    """Asserts that module.names[0].names[1] ... exists, as far as modules go."""
    name, *rest = names
    if is_module(f"{module}.{name}") and name not in defined(module, imports=False):
        return check_chain(f"{module}.{name}", rest) if rest else None
    assert name in defined(module), f"{module} has no {name}"


def defined(module: str, imports: bool = True) -> set[str]:
    """Names that the source of a module gives at its top level."""
    found: set[str] = set()
    for node in ast.parse(Path(importlib.util.find_spec(module).origin).read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        elif imports and isinstance(node, ast.ImportFrom):
            found |= {each.asname or each.name for each in node.names}
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, tmp_path):
    """All cells in order in a fresh process, within the time that is promised, counted in seconds
    of processors: other work on the machine does not matter."""
    script = tmp_path / "notebook.py"
    script.write_text(f"{code(name)}\n\nassert {CLAIMS[name]}, 'the text of {name} is wrong'\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    before = processor_seconds()
    done = subprocess.run(
        [sys.executable, script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert processor_seconds() - before < 2 * MOST_SECONDS


def processor_seconds() -> float:
    """Of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
