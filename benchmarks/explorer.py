"""Opens the explorer on trained models in a real browser, and checks that every control does
something visible.

    make check-explorer                                     # installs playwright
    python benchmarks/explorer.py --shots shots             # keeps the screenshots in shots/
    python benchmarks/explorer.py runs/flowmodels1/latest   # of a run instead of small models

The command serves each model on loopback, and headless Chromium opens every view. It moves each
slider, steps each number, chooses in each list, changes a cell and drops a file in; a figure, a
number or a message must change each time. Nothing may be asked of another host, nothing may go
wrong in the page, and at 400 and 1,200 pixels nothing may be wider than it. Exit status 0 if all is
well, 1 if not; without a browser one line and 0.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from dashboard import BROWSERS  # noqa: E402

WAIT = 600_000  # ms, for a first computation on a busy machine
PATIENCE = 120_000  # ms, in which a change must show
WIDTHS = (400, 1200)
RUNS = {  # whose posteriors have figures of their own, on data of a user
    "gravity": ("train_flowmodels6.py", "--observed", "data/gravity_profile.csv"),
    "seismograms": ("train_flowmodels7.py", "--observed", "data/traces.csv", "--sigma", "0.01"),
    "dispersion": (
        *("train_flowmodels7.py", "--problem", "dispersion", "--observed", "data/dispersion.csv"),
    ),
}
SHORT = ("--preset", "smoke", "--steps", "20", "--simulations", "1000", "--mlflow", "false")
OF_TESTS = ("kinds", "classes", "pictures", "class pictures", "posterior", "own problem")
KINDS = (*OF_TESTS, *RUNS)
SEEN = """() => JSON.stringify([
  [...document.querySelectorAll('[data-testid="stMain"] img')].map(each => each.src),
  [...document.querySelectorAll('[data-testid="stMetric"], [data-testid="stAlert"]')]
    .map(each => each.innerText)])"""
IDLE = """() => document.querySelector('[data-test-script-state="notRunning"]')
  && !document.querySelector('[data-testid="stSpinner"]')
  && !document.querySelector('[data-stale="true"]')"""
WIDER = """() => { const main = document.querySelector('[data-testid="stMain"]');
  return Math.max(main.scrollWidth - main.clientWidth,
    document.documentElement.scrollWidth - window.innerWidth); }"""


def part(name: str) -> str:
    return f'[data-testid="{name}"]'


class Looker:
    """A page of the explorer, what went wrong on it, and how long changes took."""

    def __init__(self, page, name: str, url: str, shots: Path):
        self.page, self.name, self.url, self.shots = page, name, url, shots
        self.wrong: list[str] = []
        page.on("request", self._asked)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._note(f"the page failed: {error}"))

    def _asked(self, request) -> None:
        own = request.url.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:"))
        if not own:
            self._note(f"asked another host: {request.url}")

    def _said(self, message) -> None:
        if message.type == "error":
            self._note(f"the console says: {message.text[:200]}")

    def _note(self, text: str) -> None:
        self.wrong.append(text)
        print(f"wrong  {self.name}: {text}", flush=True)

    def open(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 1700})
        self.page.goto(self.url, timeout=WAIT)
        self.page.locator(part("stRadio")).first.wait_for(timeout=WAIT)
        self.settled()

    def settled(self) -> None:
        self.page.wait_for_timeout(400)  # the change is on its way
        self.page.wait_for_function(IDLE, timeout=WAIT)

    def views(self) -> list[str]:
        return self.page.locator(part("stRadio")).first.locator("label p").all_inner_texts()[1:]

    def view(self, name: str) -> None:
        radio, before = self.page.locator(part("stRadio")).first, self.page.evaluate(SEEN)
        choice = radio.locator("label:has(input)", has_text=name)
        if not choice.locator("input").is_checked():
            choice.click()
            shown = f"before => ({SEEN})() != before"
            self.page.wait_for_function(shown, arg=before, timeout=WAIT)
        self.settled()

    def shot(self, view: str, width: int) -> None:
        wider = self.page.evaluate(WIDER)
        if wider > 0:
            self._note(f"{view} is {wider} pixels wider than {width}")
        if self.page.locator(part("stException")).count():
            self._note(f"{view}: {self.page.locator(part('stException')).first.inner_text()[:300]}")
        if not self.page.locator(f"{part('stMain')} img").count():
            self._note(f"{view} has no figure")
        file = f"{self.name} {view} {width}.png".replace(" ", "_")
        self.page.screenshot(path=self.shots / file)

    def changes(self, what: str, act) -> None:
        """Acts on a control, which must change what is seen."""
        from playwright.sync_api import Error

        before = self.page.evaluate(SEEN)
        try:
            act()
        except Error as error:
            return self._note(f"{what}: {str(error).splitlines()[0]}")
        try:
            self.page.wait_for_function(
                f"before => ({SEEN})() != before", arg=before, timeout=PATIENCE
            )
            self.settled()
        except Error:
            return self._note(f"{what} changes nothing")
        print(f"ok     {self.name}: {what}", flush=True)

    def controls(self, view: str, file: str) -> None:
        """Acts on each control of a view; what an act adds or removes is left alone."""
        if self.page.get_by_text("can be changed").count():
            self.changes(f"{view}: a cell", lambda: _type(self.page))
        for kind, act in ACTS.items():
            for number in range(self.page.locator(part(kind)).count()):
                control = self.page.locator(part(kind)).nth(number)
                if kind == "stRadio" and (
                    number == 0 or control.locator("label:has(input)").count() < 2
                ):
                    continue  # the choice of the view
                said = (control.inner_text().splitlines() or [""])[0]
                self.changes(f"{view}: {said}", lambda act=act, c=control: act(self.page, c))
                if kind == "stRadio":  # back, for what it offers is looked at next
                    control.locator("label:has(input)").nth(0).click()
                    self.settled()
        self._drop(view, file)

    def _drop(self, view: str, file: str) -> None:
        """Chooses a file of the user's, in the last list that offers it."""
        offers = self.page.get_by_text("a file of mine", exact=True)
        if offers.count():
            offers.last.click()
        elif self.page.locator(part("stSelectbox")).count() and view == "Posterior":
            box = self.page.locator(part("stSelectbox")).first
            box.locator("input").fill("a file of mine")
            box.locator("input").press("Enter")
        else:
            return
        self.settled()
        field = self.page.locator('input[type="file"]').last
        self.changes(f"{view}: a file", lambda: field.set_input_files(file))


def _slide(page, control) -> None:
    handle = control.locator('input[type="range"]')
    high = float(handle.input_value()) == float(handle.get_attribute("max"))
    for _ in range(12):
        handle.press("ArrowLeft" if high else "ArrowRight")


def _step(page, control) -> None:
    control.locator(part("stNumberInputStepUp")).click()


def _choose(page, control) -> None:
    field = control.locator("input")
    field.click()
    field.press("ArrowDown")
    field.press("Enter")


def _other(page, control) -> None:
    control.locator("label:has(input)").last.click()


def _type(page) -> None:
    """Another number into the last cell of the first row that holds one; others may take dates."""
    from playwright.sync_api import Error

    table = page.locator(part("stDataFrame")).first
    row = table.locator('[role="gridcell"][id$="-0"]').all_text_contents()
    last = max(place for place, text in enumerate(row) if _is_number(text))
    field = page.locator("#portal").locator("input, textarea").last  # loaded when it first opens
    for _ in range(3):  # a page that is still drawn anew may move below the mouse
        table.scroll_into_view_if_needed()
        box = table.bounding_box()
        page.keyboard.press("Escape")
        page.mouse.click(box["x"] + box["width"] - 40, box["y"] + 52)
        page.wait_for_timeout(1000)  # the table takes keys once it has the focus
        for _ in row[last + 1 :]:
            page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        with contextlib.suppress(Error):
            field.wait_for(timeout=10_000)
            break
    field.fill("1.5")
    field.press("Enter")


def _is_number(text: str) -> bool:
    try:
        return bool(float(text.replace(",", "")) or True)
    except ValueError:
        return False


ACTS = {"stSlider": _slide, "stNumberInput": _step, "stSelectbox": _choose, "stRadio": _other}


@contextlib.contextmanager
def served(place: str):
    """The address of the explorer on a model, as the command prints it."""
    command = [sys.executable, "-m", "flow_models", "explore", place, "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            yield line.partition(" at ")[2].split()[0]
        finally:
            process.terminate()


def look(place: str, name: str, file: str | None, chromium, shots: Path) -> int:
    """Number of things that are wrong on the pages of one model."""
    with served(place) as url:
        looker = Looker(chromium.new_page(), name, url, shots)
        for width in WIDTHS:
            looker.open(width)
            for view in looker.views():
                looker.view(view)
                looker.shot(view, width)
                if file and width == WIDTHS[-1]:
                    looker.controls(view, file)
                    looker.shot(f"{view} changed", width)
        looker.page.close()
        return len(looker.wrong)


def file_of(place: str, folder: Path) -> str:
    """A file of events of a model: one of its samples, or simulated data."""
    import numpy as np
    import pandas as pd

    from flow_models.explore import opened, posterior

    found = opened.load(place)
    if found.kind == "pictures":
        from flow_models.data.images.export import png

        (folder / "mine.png").write_bytes(png(found.model.sample(1, seed=5)[0]))
        return str(folder / "mine.png")
    if found.kind == "posterior":
        names = found.model.simulator.data_names
        row = posterior.background(found).simulated[-1:]
        rows = pd.DataFrame(np.asarray(row), columns=list(names))
    else:
        rows = opened.as_frame(found.model.sample(3, seed=5), found.model.columns)
    rows.to_csv(folder / "mine.csv", index=False)
    return str(folder / "mine.csv")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="default: a small model a kind")
    parser.add_argument("--shots", default="", metavar="FOLDER", help="where screenshots are kept")
    still = "screenshots of each view alone, no control is touched"
    parser.add_argument("--still", action="store_true", help=still)
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("skipped: no Chromium on this machine (Debian: apt-get install chromium)")
        return
    from playwright.sync_api import sync_playwright

    shots = Path(given.shots or tempfile.mkdtemp(prefix="explorer-"))
    shots.mkdir(parents=True, exist_ok=True)
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        places = {Path(run).name: run for run in given.runs} or small_models(folder)
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, place in places.items():
            file = None if given.still else file_of(place, folder)
            wrong += look(place, name, file, chromium, shots)
    print(f"{wrong} wrong; screenshots are in {shots}")
    sys.exit(1 if wrong else 0)


def small_models(folder: Path) -> dict[str, str]:
    """Saved models of all kinds, as the tests have them, and short runs."""
    from command_models import every

    made = {name: kind.place for name, kind in every(folder).items() if name in KINDS}
    for name in set(RUNS) & set(KINDS):
        made[name] = str(folder / name)
        command = [sys.executable, *RUNS[name], *SHORT, "--output-dir", made[name]]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return made


if __name__ == "__main__":
    main()
