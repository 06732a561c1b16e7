"""The report is one whole page that needs nothing else, says what the run's files say, and trusts
no text."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from flow_models.core.errors import UserError
from flow_models.runs.metric_names import in_reading_order, metric_name
from flow_models.runs.report import format_number, write_report

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
HISTORY = "epoch,step,seconds,train_objective,val_objective\n" + "".join(
    f"{e},{100 * e},{1.5 * e},{5 - e / 100},{5.5 - e / 100}\n" for e in range(30)
)


class Page(HTMLParser):
    """Tags that are open at the end, the links of the page, and its text."""

    VOID = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.text, self.tags = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "density.png").write_bytes(PIXEL)
    (tmp_path / "history.csv").write_text(HISTORY)
    (tmp_path / "config.yaml").write_text("seed: 0\nhidden: [128, 128]\nnote: <b>bold</b>\n")
    metrics = {
        "nll_test": 4.22591,
        "kl_to_truth": 0.00173,
        "kl_to_truth_se": 0.00021,
        "accuracy": 0.9876,
        "odd": 5,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"latent_ks_p": float("nan")}))
    return tmp_path


def write(run, **changed):
    settings = {
        "title": "Distribution mapping",
        "summary": "A flow & its data.",
        "figures": [("density.png", "Data and density.")],
        "tables": [("Compared", ("model", "nats"), [("ours", 0.00173), ("theirs", None)])],
        "command": "python train_flowmodels1.py --seed 0",
    }
    path = write_report(run, **(settings | changed))
    return path.read_text(encoding="utf-8")


def test_the_page_holds_everything_and_links_to_nothing(run):
    text = write(run)
    page = Page(text)
    assert page.open == [] and "script" not in page.tags and "link" not in page.tags
    assert page.links == ["data:image/png;base64," + base64.b64encode(PIXEL).decode()]
    assert not re.search(r"https?://|@import|url\(", text)
    for said in (
        "Distribution mapping",
        "A flow & its data.",
        "Data and density.",
        "Compared",
        "theirs",
    ):
        assert said in page.text
    assert "python train_flowmodels1.py --seed 0" in page.text


def test_numbers_carry_names_units_and_errors(run):
    page = Page(write(run))
    cards = [
        " ".join(card.split())
        for card in re.findall(r'<div class="card">(.*?)</div></div>', write(run), re.S)
    ]
    assert [re.sub("<[^>]*>", " ", card).split() for card in cards][:3] == [
        ["Divergence", "from", "the", "truth", "0.00173", "&plusmn;", "0.00021", "nats"],
        ["Accuracy", "98.76", "%"],
        ["Negative", "log-likelihood,", "test", "4.226", "nats"],
    ]
    for said in (
        "kl_to_truth_se",
        "Divergence from the truth, standard error",
        "not a number",
        "odd",
    ):
        assert said in page.text


def test_settings_and_the_end_of_the_history_are_there(run):
    page = Page(write(run))
    assert "[128, 128]" in page.text and "<b>bold</b>" in page.text
    assert "last 12 of 30 epochs" in page.text
    assert "2,900" in page.text and "1,700" not in page.text
    assert "tensorflow-probability" in page.text and "Processor" in page.text


def test_text_is_never_markup(run):
    evil = "<script>alert('x')</script>"
    text = write(
        run,
        title=evil,
        summary=evil,
        command=evil,
        figures=[("density.png", evil)],
        tables=[(evil, [evil], [[evil]])],
    )
    assert evil not in text and "script" not in Page(text).tags
    assert Page(text).text.count(evil) >= 6


def test_a_run_that_has_only_a_folder_still_has_a_report(tmp_path):
    page = Page(write_report(tmp_path, "Bare", "", []).read_text())
    assert "Bare" in page.text and "Versions and machine" in page.text
    assert "Figures" not in page.text and "History" not in page.text


def test_a_failed_report_leaves_the_last_one_whole(run):
    before = write(run)
    with pytest.raises(UserError, match=r"no figure missing\.png"):
        write(run, figures=[("missing.png", "?")])
    assert (run / "report.html").read_text(encoding="utf-8") == before
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda run: write_report(run / "nowhere", "t", "", []), "no run folder"),
        (lambda run: write(run, figures=[("notes.txt", "?")]), r"no figure notes\.txt"),
        (lambda run: write(run, tables=[("T", ("a", "b"), [(1, 2), (1,)])]), "'T' has 2 columns"),
        (
            lambda run: ((run / "metrics.json").write_text("[1, 2]"), write(run)),
            "not a flat JSON object",
        ),
        (
            lambda run: ((run / "metrics.json").write_text("{"), write(run)),
            "not a flat JSON object",
        ),
    ],
)
def test_a_wrong_input_is_told_in_one_line(run, spoil, message):
    (run / "notes.txt").write_text("text")
    with pytest.raises(UserError, match=message) as caught:
        spoil(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, said",
    [
        ("auroc_nll_digits", ("AUROC, nll digits", "")),
        ("coverage_90", ("Coverage of the 90% region", "%")),
        ("resimulation_mse", ("Re-simulation, mean squared error", "")),
        ("kl_to_truth_standard_error", ("Divergence from the truth, standard error", "nats")),
        ("my_own_number", ("my own number", "")),
    ],
)
def test_names_of_metrics(name, said):
    assert metric_name(name) == said


def test_the_headline_is_in_the_order_of_the_names_and_ends_with_a_users_own():
    given = ["mine", "nll_test", "coverage_90", "coverage_50", "accuracy"]
    said = ["accuracy", "coverage_90", "coverage_50", "nll_test", "mine"]
    assert in_reading_order(given) == said


@pytest.mark.parametrize(
    "value, said",
    [
        (0.00173, "0.00173"),
        (12345, "12,345"),
        (1234.56, "1,235"),
        (-2.5, "-2.5"),
        (3.0, "3"),
        (1e-12, "1e-12"),
        (float("inf"), "infinite"),
        (float("-inf"), "-infinite"),
        (None, ""),
        (True, "True"),
        ("text", "text"),
    ],
)
def test_numbers_in_cells(value, said):
    assert format_number(value) == said


def test_warnings_are_a_box_at_the_top_and_the_users_data_a_tile(run):
    told = ["the data lie outside <b>what</b> the simulator makes", "posterior too narrow"]
    numbers = json.loads((run / "metrics.json").read_text())
    of_observed = {"observed_misfit": 30.25, "observed_p_value": 0.0005}
    (run / "metrics.json").write_text(json.dumps(numbers | of_observed | {"warnings": told}))
    (run / "config.yaml").write_text("observed: s3://bucket/data/stations.csv\n")
    text = write(run)
    page = Page(text)
    assert page.open == [] and all(line in page.text for line in told)
    assert text.index('class="warnings"') < text.index('class="card own"') < text.index("<main>")
    tile = text.partition('class="card own"')[2].partition('class="cards"')[0]
    assert "Your data: stations.csv" in tile and "30.25 sigma" in tile and "5e-04" not in tile
    assert "0.0005" in tile and "All metrics" in page.text


def test_a_run_without_warnings_has_neither_box_nor_tile(run):
    text = write(run)
    assert 'class="warnings"' not in text and 'class="card own"' not in text


def test_columns_of_words_break_between_words_and_only_long_words_inside(run):
    uri = "s3://bucket/" + "folder" * 20
    text = write(
        run,
        tables=[
            (
                "T",
                ("name", "n"),
                [("a few words", 1), (uri, 2), ("a few words that wrap at blanks", 3)],
            )
        ],
    )
    assert '<td class="text">a few words</td>' in text and f'<td class="long">{uri}</td>' in text
    assert '<td class="words">a few words that wrap at blanks</td>' in text
    rule = re.search(r"td\.words[^{]*{([^}]*)}", text)[1]
    assert "anywhere" not in rule and "min-width" in rule


# words of at most 40 letters that stand on two lines, and what tables hide at their right
MEASURE = """<script>
const broken = [];
for (const cell of document.querySelectorAll("th, td")) {
  const text = cell.firstChild;
  for (const word of text ? text.data.matchAll(/[\\w.]+/g) : []) {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    if (word[0].length <= 40 && range.getClientRects().length > 1) broken.push(word[0]);
  }
}
for (const value of document.querySelectorAll(".digits"))
  if (value.getClientRects().length > 1) broken.push(value.textContent);
const hidden = [...document.querySelectorAll(".scroll")].map(s => s.scrollWidth - s.clientWidth);
document.body.innerHTML = "<pre id='m'>" + JSON.stringify({ broken, hidden }) + "</pre>";
</script></body>"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.mark.timeout(180)
def test_tables_at_1200_pixels_in_a_browser(run, tmp_path):
    """No word of a table is broken, and no column is cut, in tables as the applications make."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    numbers = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(numbers | {"kl_to_truth": -9.103e-05}))
    why = "depth_km +3.1, northing_km +2.2, alarms +0.4"
    station = "a station with a name of several words"
    strange = [(station, "training", 1234, 0.0012, 12.3456, -4.5, 6.7, why)] * 3
    forms = [("logistic regression with validation rows", 0.9731, 0.0121, 0.0841, 11.23, 79.5)] * 3
    columns = [f"quantity_{i}, unit" for i in range(12)]
    dense = [("conditional, beta 1 (this run)", *[1234.5 + i for i in range(11)])] * 2
    long = [("s3://bucket/" + "folder" * 20, "unreadable", "not a readable picture")]
    names = ("row", "part", "number", "tail", "depth_km", "northing_km", "alarms", "driven by")
    headings = ("", "accuracy", "ECE", "-log p(y | x), nats", "-log p(x), nats", "training, s")
    tables = [("S", names, strange), ("F", headings, forms), ("D", columns, dense)]
    text = write(run, tables=[*tables, ("L", ("name", "kind", "reason"), long)])
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", MEASURE).replace("<details>", "<details open>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2000"]
    call = [browser, *flags, f"--user-data-dir={tmp_path / 'user'}", "--dump-dom", page.as_uri()]
    shown = subprocess.run(call, capture_output=True, text=True, timeout=170).stdout
    found = json.loads(re.search(r"<pre id=\"m\">(.*?)</pre>", shown)[1])
    assert found["broken"] == [], "words that are broken"
    assert len(found["hidden"]) >= 4 and max(found["hidden"]) <= 0, "columns that are cut"
