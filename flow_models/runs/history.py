"""history.csv of a run: one row for each evaluation during training."""

import csv
import math
from pathlib import Path
from typing import Any


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv, none where there is no file; rows without a step are left out."""
    path = folder / "history.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            {name: to_number(cell) for name, cell in line.items() if name}
            for line in csv.DictReader(file)
        ]
    return [row for row in rows if math.isfinite(row.get("step", math.nan))]


def to_number(cell: Any) -> float:
    """The cell as a number; NaN where it is not one."""
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan
