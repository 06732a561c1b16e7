"""Opens each page of the built site in a real browser, narrow and wide: is the layout whole?

    make docs check-site                             # installs playwright; apt-get install chromium
    python benchmarks/site.py --shots shots          # keeps the screenshots in shots/

At 400 and 1,200 pixels no page may be wider than its window, nothing may reach past it unless it
lies in a box that scrolls, every picture must be decoded and be large enough to see, and the search
must find the API. Exit status 0 if all is well, 1 if not; without a browser one line and 0.
"""

import argparse
import shutil
import sys
from pathlib import Path

from dashboard import BROWSERS

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (400, 1200)
FAULTS = """() => {
  const width = document.documentElement.clientWidth, faults = [];
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  const boxed = e => e && e !== document.body && (scrolls(e) || boxed(e.parentElement));
  if (document.documentElement.scrollWidth > width)
    faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide`);
  for (const e of document.querySelectorAll('article *')) {
    const right = Math.round(e.getBoundingClientRect().right);
    if (right > width + 1 && !boxed(e.parentElement))
      faults.push(`${e.tagName.toLowerCase()} reaches to ${right}: ${e.textContent.slice(0, 40)}`);
  }
  for (const i of document.querySelectorAll('article img')) {
    if (!i.complete || !i.naturalWidth) faults.push(`no picture: ${i.getAttribute('src')}`);
    else if (i.width < Math.min(i.naturalWidth, 60)) faults.push(`a picture ${i.width} wide`);
  }
  return faults;
}"""
DECODED = """() => Promise.allSettled([...document.images].map(i => {
  i.loading = 'eager';
  return i.decode();
}))"""


def look_at_all(browser: str, site: Path, shots: Path | None) -> int:
    """Number of faults, each of which is printed."""
    from playwright.sync_api import sync_playwright

    pages = sorted(each for each in site.rglob("*.html") if "_static" not in each.parts)
    if not pages:
        sys.exit(f"no pages in {site}: make docs")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        faults = [
            fault for width in WIDTHS for fault in _faults(chromium, width, pages, site, shots)
        ]
        faults += _search(chromium.new_page(), site)
        chromium.close()
    print("\n".join(faults))
    print(f"{len(pages)} pages, {len(faults)} faults")
    return len(faults)


def _faults(chromium, width: int, pages: list[Path], site: Path, shots: Path | None):
    tab = chromium.new_page(viewport={"width": width, "height": 2400})
    for page in pages:
        name = page.relative_to(site).with_suffix("").as_posix()
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate(DECODED)
        if shots:
            tab.screenshot(path=shots / f"{name.replace('/', '-')}-{width}.png")
        yield from (f"{name} at {width}: {fault}" for fault in tab.evaluate(FAULTS)[:5])


def _search(tab, site: Path) -> list[str]:
    """The search of the site finds an entry of the API."""
    from playwright.sync_api import Error

    try:
        tab.goto((site / "search.html").as_uri() + "?q=bits_per_dim")
        tab.locator("#search-results a", has_text="bits_per_dim").first.wait_for(timeout=20_000)
    except Error:
        return ["the search does not find bits_per_dim"]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", default=ROOT / "build" / "site", type=Path, metavar="FOLDER")
    parser.add_argument("--shots", type=Path, metavar="FOLDER", help="where to keep screenshots")
    given = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("skipped: no Chromium on this machine (Debian: apt-get install chromium)")
        return
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
    sys.exit(bool(look_at_all(browser, given.site, given.shots)))


if __name__ == "__main__":
    main()
