"""The pages: links lead somewhere, the README is short, and its numbers stand in doc/ as well."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_tutorials import check_chain

import flow_models as fm
from flow_models.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("doc/*.md"),
    *ROOT.glob("doc/api/*.md"),
    *ROOT.glob("data/*.md"),
]
README = (ROOT / "README.md").read_text()


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in (each for each in links if "://" not in each):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: no {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: no heading {link}"


@pytest.mark.parametrize(
    "page", [each for each in PAGES if each.name != "CHANGELOG.md"], ids=lambda page: page.name
)
def test_names_of_the_library_exist(page):
    text = page.read_text()
    imports = re.findall(r"from (flow_models[\w.]*) import ([\w, ]+)", text)
    paths = [f"{module}.{name}" for module, names in imports for name in names.split(", ")]
    paths += re.findall(r"`(flow_models\.[\w.]*\w)[`(]", text)
    paths += [f"flow_models.{name}" for name in re.findall(r"(?<![\w/.])fm\.([\w.]*\w)", text)]
    for _, first, *rest in (path.split(".") for path in set(paths)):
        if first in fm.__all__ and not (ROOT / "flow_models" / first).is_dir():
            continue  # a class or function; its attributes are not looked at
        assert (ROOT / "flow_models" / first).is_dir(), f"{page.name}: no flow_models.{first}"
        if rest:
            check_chain(f"flow_models.{first}", rest)


def test_the_reference_has_all_commands():
    asked = re.findall(r"<!-- help (\S+) -->", (ROOT / "doc/api/commands.md").read_text())
    assert {each for each in asked if not each.endswith(".py")} == set(COMMANDS)


def test_the_figure_has_a_frame_for_each_application():
    figures = ROOT / "doc" / "figures"
    with Image.open(figures / "applications.gif") as animation:
        frames = [Image.open(each).size for each in figures.glob("application[1-7].png")]
        assert set(frames) == {animation.size} and animation.n_frames == len(frames) == 7
    assert (figures / "applications.gif").stat().st_size < 2e6


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_numbers_of_the_summary_stand_in_a_page_with_their_command():
    rows = re.findall(
        r"(?m)^\| (.+) \| (.+) \| (.+) \| `([^`]+)` \|$", README.split("## Results")[1]
    )
    assert len(rows) > 9
    pages = {page.name: page.read_text() for page in ROOT.glob("doc/*.md")}
    for what, here, best, command in rows:
        numbers = re.findall(r"\d+\.\d+", f"{here} {best}")
        found = [
            name
            for name, text in pages.items()
            if command in text and all(number in text for number in numbers)
        ]
        assert found, f"{what}: {numbers} are on no page with {command}"


def test_numbers_of_the_applications_stand_in_the_results():
    results = (ROOT / "doc" / "results.md").read_text()
    for page in ROOT.glob("doc/application[1-7].md"):
        numbers = re.findall(r"\d+\.\d+", page.read_text().split("## Numbers")[1])
        assert len(numbers) > 3 and not [each for each in numbers if each not in results], page.name


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 8))
def test_flags_in_the_pages_are_flags_of_the_script(number):
    script = f"train_flowmodels{number}.py"
    shown = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    texts = [page.read_text() for page in PAGES]
    lines = [line for text in texts for line in re.findall(rf"{script}([^`\n#|]*)", text)]
    flags = {flag for line in lines for flag in re.findall(r"(?<!\S)--[a-z-]+", line)}
    assert lines and all(re.search(rf"{flag}\b", shown) for flag in flags), flags
