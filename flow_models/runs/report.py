"""One self-contained page a run: numbers, tables, figures, settings, machine."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from flow_models import __version__
from flow_models.core.errors import UserError

HISTORY_ROWS = 12
PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-probability",
    "numpy",
    "scipy",
    "matplotlib",
    "mlflow",
)
TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
# Names of metrics as a reader knows them, and their units; the first of them that a run has become
# its headline.
METRICS = {
    "kl_to_truth": ("Divergence from the truth", "nats"),
    "bits_per_dim": ("Bits per dimension", "bits"),
    "accuracy": ("Accuracy", "%"),
    "ece": ("Expected calibration error", "%"),
    "auroc": ("AUROC", ""),
    "aupr": ("Average precision", ""),
    "fpr95": ("FPR at 95% TPR", ""),
    "resimulation_error": ("Resimulation error", ""),
    "posterior_mmd": ("Posterior MMD", ""),
    "c2st": ("Classifier two-sample test", ""),
    "nats_above_laplace": ("Validation loss above the Laplace entropy", "nats"),
    "kl_to_posterior": ("KL(flow || exact posterior)", "nats"),
    "effective_share": ("Effective share of importance weights", "%"),
    "sbc_max_deviation": ("Worst rank deviation (SBC)", ""),
    "hdr_coverage": ("Coverage of highest densities", "%"),
    "tarp_deviation": ("Worst deviation of TARP", ""),
    "misfit": ("Simulated again, rms in noise", "sigma"),
    "observed_p_value": ("Your data among simulated ones, p", ""),
    "coverage": ("Coverage", "%"),
    "nll_test": ("Negative log-likelihood, test", "nats"),
    "nll_class": ("-log p(class | x)", "nats"),
    "nll_val": ("Negative log-likelihood, validation", "nats"),
    "train_seconds": ("Training time", "s"),
    "compile_seconds": ("Compile time", "s"),
    "steps_per_second": ("Training speed", "steps/s"),
    "peak_memory_mb": ("Peak memory", "MB"),
    "latent_ks_p": ("Latents normal, smallest p", ""),
    "latent_radius_p": ("Latent radius, p", ""),
    "latent_mean_worst": ("Largest latent mean", ""),
    "latent_sd_worst": ("Largest latent sd error", ""),
    "latent_correlation_worst": ("Largest latent correlation", ""),
}
HEADLINE = 8  # cards at most
ERRORS = ("_standard_error", "_se")  # what the name of a metric's standard error ends with
INTERVALS = ("_low", "_high")  # and the ends of its interval


def write_report(
    run_folder: str | os.PathLike,
    title: str,
    summary: str,
    figures: Sequence[tuple[str, str]],
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = (),
    command: str = "",
) -> Path:
    """Writes run_folder/report.html and returns its path; the page needs no other file.

    figures: (file name in run_folder/figures or in run_folder, caption); tables: (heading, column
    names, rows);
    command: the line that makes this run again. Metrics, settings and history come from
    metrics.json, config.yaml and history.csv of the run, each shown where it is there. The page is
    put in place whole, or not at all.

    Raises:
        UserError: the folder or a figure is not there, or a table's rows are not as long as its
        columns.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise UserError(
            f"There is no run folder {folder}; give the folder that a training script wrote."
        )
    metrics = _read_metrics(folder / "metrics.json")
    page = _template().render(
        title=title,
        summary=summary,
        command=command,
        when=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z"),
        headline=_headline(metrics),
        figures=[_figure(folder, name, caption) for name, caption in figures],
        tables=[_table(*table) for table in tables],
        folds=[fold for fold in _folds(folder, metrics) if fold["rows"]],
    )
    path, partial = folder / "report.html", folder / f".report.{os.getpid()}.tmp"
    try:
        partial.write_text(
            page, encoding="utf-8", errors="replace"
        )  # names of files that are not UTF-8
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def metric_name(name: str) -> tuple[str, str]:
    """What to call a metric of metrics.json and its unit: auroc_nll_digits -> ("AUROC, nll digits",
    "")."""
    if name in METRICS:
        return METRICS[name]
    stem = next((known for known in METRICS if name.startswith(known + "_")), None)
    if stem is None:
        return name.replace("_", " "), ""
    rest = name.removeprefix(stem + "_").replace("_", " ")
    if stem == "coverage":
        return f"Coverage of the {rest}% region", "%"
    if f"_{rest.replace(' ', '_')}" in ERRORS:
        return f"{METRICS[stem][0]}, standard error", METRICS[stem][1]
    return f"{METRICS[stem][0]}, {rest}", METRICS[stem][1]


def _headline(metrics: Mapping[str, float]) -> list[dict[str, str]]:
    """The first HEADLINE metrics of METRICS, in its order, each with its standard error where there
    is one."""
    families = [[name for name in metrics if re.match(rf"{stem}(_|$)", name)] for stem in METRICS]
    names = dict.fromkeys(
        name for family in families for name in family if not name.endswith(ERRORS + INTERVALS)
    )
    cards = [_nice(name, metrics[name]) for name in names][:HEADLINE]
    for name, card in zip(names, cards, strict=False):
        error = next((name + end for end in ERRORS if name + end in metrics), None)
        card["error"] = (
            f"{metrics[error] * (100.0 if card['unit'] == '%' else 1.0):.2g}" if error else ""
        )
    return cards


def _nice(name: str, value: float) -> dict[str, str]:
    label, unit = metric_name(name)
    return {"name": label, "unit": unit, "value": number(100.0 * value if unit == "%" else value)}


def number(value: object) -> str:
    """A cell of a table: four digits of a number and grouped thousands, words where it is not
    finite, else the text."""
    if value is None or not hasattr(value, "__float__") or isinstance(value, (bool, str)):
        return "" if value is None else str(value)
    value = float(value)
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{'-' * (value < 0)}infinite"
    whole = value == int(value) and abs(value) < 1e15
    return f"{value:,.0f}" if whole or 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict:
    """A table for the template; a column of numbers is set to the right."""
    rows = [list(row) for row in rows]
    if any(len(row) != len(columns) for row in rows):
        raise UserError(
            f"Table {heading!r} has {len(columns)} columns, but a row of another length."
        )
    numeric = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    heads = [
        {"name": str(name), "number": right} for name, right in zip(columns, numeric, strict=True)
    ]
    return {
        "heading": heading,
        "columns": heads,
        "rows": [[number(cell) for cell in row] for row in rows],
    }


def _is_number(value: object) -> bool:
    return value is None or (hasattr(value, "__float__") and not isinstance(value, (bool, str)))


def _figure(folder: Path, name: str, caption: str) -> dict[str, str]:
    """A figure as base64, from run_folder/figures or run_folder."""
    path = next(
        (path for path in (folder / "figures" / name, folder / name) if path.is_file()), None
    )
    if path is None or path.suffix.lower() not in TYPES:
        raise UserError(
            f"There is no figure {name} in {folder / 'figures'}; save it there as PNG or JPEG"
            " before the report."
        )
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": TYPES[path.suffix.lower()], "data": data, "caption": caption}


def _read_metrics(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): float(value)
            for name, value in found.items()
            if isinstance(value, (int, float))
        }
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a flat JSON object of numbers: {error}.") from error


def _folds(folder: Path, metrics: Mapping[str, float]) -> list[dict]:
    """The folded tables at the end of the page."""
    named = [(_nice(name, value), name) for name, value in metrics.items()]
    all_metrics = [
        [nice["name"], f"{nice['value']} {nice['unit']}".strip(), name] for nice, name in named
    ]
    lines = (
        (folder / "history.csv").read_text().splitlines()
        if (folder / "history.csv").is_file()
        else []
    )
    history = list(csv.reader(lines)) or [[]]
    tail = [
        [_parsed(cell) for cell in row]
        for row in history[1:][-HISTORY_ROWS:]
        if len(row) == len(history[0])
    ]
    return [
        _table("All metrics", ("metric", "value", "name in metrics.json"), all_metrics),
        _table("Settings (config.yaml)", ("setting", "value"), _settings(folder / "config.yaml")),
        _table(
            f"History (history.csv), last {len(tail)} of {len(history) - 1} epochs",
            history[0],
            tail,
        ),
        _table("Versions and machine", ("", ""), _machine()),
    ]


def _settings(path: Path) -> list[tuple[str, str]]:
    import yaml

    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return [
        (str(name), json.dumps(value, default=str).strip('"'))
        for name, value in (settings or {}).items()
    ]


def _parsed(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _machine() -> list[tuple[str, str]]:
    """Versions of what counts, and the machine, as far as the system tells; no module is imported
    for it."""
    rows = [("flow_models", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        cpu = found.group(1) if found else cpu
    rows += [
        ("System", f"{platform.system()} {platform.machine()}"),
        ("Processor", f"{cpu}, {len(_cores())} cores usable"),
    ]
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and hasattr(tensorflow, "config"):
        rows.append(("GPUs", str(len(tensorflow.config.list_physical_devices("GPU")))))
    return rows


def _cores() -> Sequence[int]:
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else range(os.cpu_count() or 1)
    )


def _template():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    settings = {
        "autoescape": True,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    return Environment(loader=loader, **settings).get_template("report.html")
