"""Writes report.html of a run: numbers, tables, figures, settings and machine on one page."""

import base64
import json
import math
import mimetypes
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from flow_models import __version__
from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.runs.history import read_history
from flow_models.runs.metric_names import INTERVALS, STANDARD_ERRORS, in_reading_order, metric_name

HISTORY_ROWS = 12  # the last rows of the history that are shown
HEADLINE = 8  # cards at most
OBSERVED = "observed_"  # metrics of the user's own data, which have a tile of their own
WORDS, LONG = 24, 40  # letters of a cell that keeps some width, and of a word that may break
PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-probability",
    "numpy",
    "scipy",
    "matplotlib",
    "mlflow",
)


def write_report(
    run_folder: str | os.PathLike,
    title: str,
    summary: str,
    figures: Sequence[tuple[str, str]],
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = (),
    command: str = "",
) -> Path:
    """Writes run_folder/report.html, whole or not at all; the page needs no other file.

    Metrics, settings and history come from metrics.json, config.yaml and history.csv where they
    exist.

    Args:
      figures: (name of a file in run_folder/figures or in run_folder, caption).
      tables: (heading, column names, rows).
      command: the line that repeats this run.

    Returns:
      The path of the page.

    Raises:
      UserError: the folder or a figure is missing, or a row is not as long as the columns.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise UserError(
            f"There is no run folder {folder}; give the folder that a training script wrote."
        )
    metrics, warnings = _read_metrics(folder / "metrics.json")
    page = _template().render(
        title=title,
        summary=summary,
        command=command,
        when=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z"),
        warnings=warnings,
        observed=_observed(metrics, folder / "config.yaml"),
        headline=headline(metrics),
        figures=[_figure(folder, name, caption) for name, caption in figures],
        tables=[_table(*table) for table in tables],
        folds=[fold for fold in _folds(folder, metrics) if fold["rows"]],
    )
    path = folder / "report.html"
    # File names on the page may not be UTF-8.
    storage.write_bytes(path, page.encode("utf-8", errors="replace"))
    return path


def format_number(value: Any) -> str:
    """A cell as text: a number with four digits or grouped thousands, any other value as it is."""
    if not _is_number(value):
        return str(value)
    if value is None:
        return ""
    value = float(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    whole = value == int(value) and abs(value) < 1e15
    return f"{value:,.0f}" if whole or 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _is_number(value: object) -> bool:
    """Whether the value counts as a number in a column; None is a missing one."""
    return value is None or (hasattr(value, "__float__") and not isinstance(value, (bool, str)))


def headline(metrics: Mapping[str, float]) -> list[dict[str, str]]:
    """The first HEADLINE metrics as cards, each with its standard error where there is one."""
    names = [
        name
        for name in in_reading_order(metrics)
        if not name.endswith(STANDARD_ERRORS + INTERVALS) and not name.startswith(OBSERVED)
    ]
    cards = []
    for name in names[:HEADLINE]:
        label, unit = metric_name(name)
        scale = 100.0 if unit == "%" else 1.0
        errors = [metrics[name + end] for end in STANDARD_ERRORS if name + end in metrics]
        cards.append(
            {
                "name": label,
                "unit": unit,
                "value": format_number(scale * metrics[name]),
                "error": f"{scale * errors[0]:.2g}" if errors else "",
            }
        )
    return cards


def _observed(metrics: Mapping[str, float], config: Path) -> dict[str, Any]:
    """The tile of the user's own data: its file, and what was measured of it."""
    lines = []
    for name in metrics:
        if name.startswith(OBSERVED):
            label, unit = metric_name(name)
            lines.append((label, f"{format_number(metrics[name])} {unit}".strip()))
    file = dict(_settings(config)).get("observed", "")
    return {"file": os.path.basename(file), "lines": lines} if lines or file else {}


def _table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict:
    """A table for the template, which aligns columns of numbers to the right."""
    rows = [list(row) for row in rows]
    if any(len(row) != len(columns) for row in rows):
        raise UserError(
            f"Table {heading!r} has {len(columns)} columns, but a row of another length."
        )
    heads = [
        {"name": str(name), "number": bool(rows) and all(_is_number(row[i]) for row in rows)}
        for i, name in enumerate(columns)
    ]
    cells = [[_cell(format_number(cell)) for cell in row] for row in rows]
    return {"heading": heading, "columns": heads, "rows": cells}


def _cell(text: str) -> dict[str, str]:
    """A cell; words keep some width, and a word too long for a column may break anywhere."""
    word = max(map(len, text.split()), default=0)
    return {
        "text": text,
        "kind": "long" if word > LONG else "words" if len(text) > WORDS else "text",
    }


def _figure(folder: Path, name: str, caption: str) -> dict[str, str]:
    """A figure as base64, from run_folder/figures or run_folder."""
    kind = mimetypes.guess_type(name, strict=False)[0] or ""
    places = [path for path in (folder / "figures" / name, folder / name) if path.is_file()]
    if not places or not kind.startswith("image/"):
        raise UserError(
            f"There is no figure {name} in {folder / 'figures'}; save it there as PNG or JPEG"
            " before the report."
        )
    data = base64.b64encode(places[0].read_bytes()).decode()
    return {"type": kind, "data": data, "caption": caption}


def _read_metrics(path: Path) -> tuple[dict[str, float], list[str]]:
    """The numbers, and the warnings of the run."""
    if not path.is_file():
        return {}, []
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a flat JSON object of numbers: {error}.") from error
    warnings = [str(line) for line in found.pop("warnings", ())]
    numbers = {k: float(value) for k, value in found.items() if isinstance(value, (int, float))}
    return numbers, warnings


def _folds(folder: Path, metrics: Mapping[str, float]) -> list[dict]:
    """The folded tables at the end of the page."""
    history = read_history(folder)
    columns, last = list(history[0]) if history else [], history[-HISTORY_ROWS:]
    heading = f"History (history.csv), last {len(last)} of {len(history)} epochs"
    return [
        _table(
            "All metrics",
            ("metric", "value", "name in metrics.json"),
            [_metric_row(name, value) for name, value in metrics.items()],
        ),
        _table("Settings (config.yaml)", ("setting", "value"), _settings(folder / "config.yaml")),
        _table(heading, columns, [list(row.values()) for row in last]),
        _table("Versions and machine", ("", ""), _machine()),
    ]


def _metric_row(name: str, value: float) -> tuple[str, str, str]:
    label, unit = metric_name(name)
    return label, f"{format_number(100 * value if unit == '%' else value)} {unit}".strip(), name


def _settings(path: Path) -> list[tuple[str, str]]:
    import yaml

    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return [
        (str(name), json.dumps(value, default=str).strip('"'))
        for name, value in (settings or {}).items()
    ]


def _machine() -> list[tuple[str, str]]:
    """Versions, system, processor and GPUs; imports nothing to find out."""
    rows = [("flow_models", __version__), ("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            rows.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    rows.append(("System", f"{platform.system()} {platform.machine()}"))
    rows.append(("Processor", f"{_processor()}, {_cores()} cores usable"))
    tensorflow: Any = sys.modules.get("tensorflow")
    if hasattr(tensorflow, "config"):
        rows.append(("GPUs", str(len(tensorflow.config.list_physical_devices("GPU")))))
    return rows


def _processor() -> str:
    linux = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", linux.read_text()) if linux.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _template():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
