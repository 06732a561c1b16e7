"""Opens MLflow's pages and the report of a run in a real browser, and checks that the figures are
visible.

    make check-dashboard                             # installs playwright; apt-get install chromium
    python benchmarks/dashboard.py --shots shots     # keeps the screenshots in shots/

It starts a server on loopback, to which application 1 logs a small run and a sweep of two. Headless
Chromium then opens the page of the run, its figure among the artifacts, the report, the charts of
all runs, and the figure of the sweep. Each figure must be an image that the browser has decoded
(naturalWidth above 0) and that has more than one colour. Exit status 0 if all are visible, 1 if
not; without a browser one line and 0.
"""

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

RUN = "--data moons --steps 200 --test-points 2000 --depth 2 --hidden [16,16] --jit false"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT = 60_000  # ms, for a page to show its content
DECODED = (
    "images => images.filter(i => i.naturalWidth > 100).map(i => [i.naturalWidth, i.naturalHeight])"
)


def logged(uri: str, folder: Path) -> tuple[str, str, str]:
    """Ids of the experiment, of a run, and of the parent run of a sweep, all made by a user's
    commands."""
    from mlflow import MlflowClient

    from flow_models.runs.tracking.parents import KEY

    place = {**os.environ, "MLFLOW_TRACKING_URI": uri, "CUDA_VISIBLE_DEVICES": ""}
    train = [
        sys.executable,
        "train_flowmodels1.py",
        *RUN.split(),
        "--output-dir",
        str(folder / "run"),
    ]
    sweep = [
        sys.executable,
        "-m",
        "flow_models",
        "sweep",
        "1",
        "learning_rate=1e-3,1e-2",
        f"--args={RUN}",
        "--output-dir",
        str(folder / "sweep"),
    ]
    for command in (train, sweep):
        subprocess.run(command, cwd=ROOT, env=place, check=True, stdout=subprocess.DEVNULL)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("flowmodels1").experiment_id
    runs = client.search_runs([experiment])
    (run,) = [each.info.run_id for each in runs if each.info.run_name == "run"]
    (above,) = [each.info.run_id for each in runs if KEY in each.data.tags]
    return experiment, run, above


class Looker:
    """A browser page that keeps a screenshot of everything it has checked."""

    def __init__(self, page, shots: Path):
        self.page, self.shots, self.wrong = page, shots, 0

    def look(self, name: str, url: str, text: str = "", images: int = 0, drawn: str = "") -> None:
        """Opens a page, which must show the text, a number of figures, and the element of a
        selector."""
        from playwright.sync_api import Error

        try:
            self.page.goto("about:blank")
            self.page.goto(url, timeout=WAIT)
            if text:
                self.page.get_by_text(text).first.wait_for(timeout=WAIT)
            if drawn:
                self.page.locator(drawn).first.wait_for(timeout=WAIT)
            found = self._images(images)
            self.page.screenshot(path=self.shots / f"{name}.png")
            said = f"'{text}' is there" if text else f"{len(found)} figures, {found[:3]}"
            print(f"ok     {name}: {said}", flush=True)
        except (Error, AssertionError) as error:
            self.wrong += 1
            with contextlib.suppress(Error):
                self.page.screenshot(path=self.shots / f"{name}.png")
            print(f"wrong  {name}: {str(error).splitlines()[0]}", flush=True)

    def _images(self, least: int) -> list[list[int]]:
        """Sizes of the figures of the page, once enough of them are decoded and drawn."""
        if not least:
            return []
        script = (
            f"least => {{ const images = [...document.images]; return ({DECODED})(images).length >="
            " least }"
        )
        self.page.wait_for_function(script, arg=least, timeout=WAIT)
        for image in self.page.locator("img").all():
            size = image.evaluate("i => [i.naturalWidth, i.naturalHeight]")
            if size[0] > 100 and image.is_visible():
                assert _has_colours(image.screenshot()), "a figure is of one colour"
        return self.page.locator("img").evaluate_all(DECODED)


def _has_colours(png: bytes) -> bool:
    from PIL import Image

    colours = Image.open(io.BytesIO(png)).convert("RGB").getcolors(2**24)
    return len(colours) > 20


def look_at_all(browser: str, shots: Path) -> int:
    """Number of pages that do not show what they should."""
    from mlflow_server import MlflowServer
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        server = MlflowServer(folder).start()
        stack.callback(server.stop)
        experiment, run, above = logged(server.uri, folder)
        root = f"{server.uri}/#/experiments/{experiment}/runs"
        playwright = stack.enter_context(sync_playwright())
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        looker = Looker(chromium.new_page(viewport={"width": 1400, "height": 1000}), shots)
        looker.look("run", f"{root}/{run}", text="kl_to_truth")
        looker.look("figure", f"{root}/{run}/artifacts/figures/density.png", images=1)
        looker.look(
            "charts", f"{root}?compareRunsMode=CHART", text="Model metrics", drawn=".main-svg"
        )
        looker.look("sweep", f"{root}/{above}", text="best_nll_val")
        looker.look("sweep-figure", f"{root}/{above}/artifacts/trials.png", images=1)
        looker.look("report", (folder / "run" / "report.html").as_uri(), images=6)
        chromium.close()
        return looker.wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shots",
        default="",
        metavar="FOLDER",
        help="where screenshots are kept (default: a temporary folder)",
    )
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("skipped: no Chromium on this machine (Debian: apt-get install chromium)")
        return
    shots = Path(given.shots or tempfile.mkdtemp(prefix="dashboard-"))
    shots.mkdir(parents=True, exist_ok=True)
    wrong = look_at_all(browser, shots)
    print(f"screenshots are in {shots}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
