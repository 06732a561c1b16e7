"""One animal is known, the other nine are near anomalies: all scores and baselines, with intervals.

    make bench-anomalies                            # writes a table of doc/anomaly_scores.md
    make bench-anomalies ARGS="--classes horse"   # prints, and writes nothing

Trains model and background of application 2 for each known class, or takes what runs/anomalies has.
Dogs are those on which `combined` was chosen; the other classes judge it. The last row is the AUROC
of `combined` less that of the best baseline of the class, both of the same bootstrap draws.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import flow_models as fm  # noqa: E402
import train_flowmodels2 as script  # noqa: E402
from flow_models.applications.application import Run  # noqa: E402
from flow_models.applications.pictures import detection  # noqa: E402
from flow_models.diagnostics import detection as measured  # noqa: E402
from flow_models.diagnostics import scored  # noqa: E402
from flow_models.diagnostics.baselines import PictureBaselines  # noqa: E402
from flow_models.diagnostics.classification import auroc  # noqa: E402
from flow_models.models.detector import Detector  # noqa: E402
from flow_models.runs.config import nested  # noqa: E402

RUNS = ROOT / "runs" / "anomalies"
DOC = ROOT / "doc" / "anomaly_scores.md"
START, END = "<!-- make bench-anomalies -->", "<!-- end of bench-anomalies -->"
CLASSES = ("dog", "cat", "sheep", "elephant")
STEPS, RESAMPLES = 400, 1000
SMALL = {"depth": 4, "hidden": (32, 32)}  # networks that train in a minute
SHOWN = ("combined", "nll", "likelihood_ratio", "complexity", "nearest", "pca", "compressed_size")
DIFFERENCE = "combined less the best baseline"


def config_of(name: str, steps: int):
    settings = {"classes": [name], "anomalies": [], "steps": steps}
    settings["eval_every_steps"] = max(steps // 2, 1)
    return nested(script.Config, {**script.PRESETS["default"], **SMALL, **settings})


def detector_of(config, problem, place: Path) -> Detector:
    """Model and background, trained or as they lie there, and what they know."""
    run = Run(script.APPLICATION, config, problem, None, None, None, None)
    if not (place / "model" / "model.json").exists():
        model, _ = run.train()
        model.save(str(place / "model"))
    if not (place / "background" / "model.json").exists():
        detection.background_of(run, None).save(str(place / "background"))
    model, background = (fm.load(str(place / part)) for part in ("model", "background"))
    return (
        Detector(model, background)
        .remembering(problem.known.examples)
        .knowing(problem.known.validation)
    )


def scores_of(name: str, steps: int) -> scored.Scores:
    """Every score and baseline of known and other held-out pictures."""
    config = config_of(name, steps)
    problem = script.load_data(config)
    place = RUNS / f"{name}-{steps}"
    detector = detector_of(config, problem, place)
    detector.save(str(place))
    return scored.score_sets(detector, PictureBaselines(problem.known.examples), problem.sets)


def cells(scores: scored.Scores) -> dict[str, str]:
    """AUROC and interval of each score, and the difference from the best baseline."""
    known, near = detection.KNOWN, detection.NEAR
    found = {}
    for name in SHOWN:
        each = measured.detection(scores[name][known], scores[name][near], RESAMPLES)
        found[name] = f"{each['auroc']:.3f} ({each['auroc_low']:.3f} to {each['auroc_high']:.3f})"
    best = max(PictureBaselines.NAMES, key=lambda b: auroc(scores[b][known], scores[b][near]))
    low, middle, high = difference(scores["combined"], scores[best], known, near)
    found[DIFFERENCE] = f"{middle:+.3f} ({low:+.3f} to {high:+.3f}; {best.replace('_', ' ')})"
    return found


def difference(one, other, known: str, near: str) -> tuple[float, float, float]:
    """AUROC of one score less that of another, with its 95% interval by paired bootstrap."""
    rng, drawn = np.random.default_rng(0), []
    n, m = len(one[known]), len(one[near])
    for _ in range(RESAMPLES):
        i, j = rng.integers(0, n, n), rng.integers(0, m, m)
        drawn.append(auroc(one[known][i], one[near][j]) - auroc(other[known][i], other[near][j]))
    middle = auroc(one[known], one[near]) - auroc(other[known], other[near])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(middle), float(high)


def table(columns: dict[str, dict[str, str]]) -> str:
    """Scores by known class."""
    rows = [f"| score | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    for name in (*SHOWN, DIFFERENCE):
        title = name.replace("_", " ") + (", a baseline" if name in PictureBaselines.NAMES else "")
        rows.append(f"| {title} | {' | '.join(column[name] for column in columns.values())} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", nargs="+", default=list(CLASSES))
    parser.add_argument("--steps", type=int, default=STEPS, help="of the model; half of background")
    asked = parser.parse_args()
    columns = {}
    for name in asked.classes:
        columns[name] = cells(scores_of(name, asked.steps))
        print(name, columns[name], flush=True)
    print(table(columns))
    if asked == parser.parse_args([]):
        before, _, rest = DOC.read_text().partition(START)
        text = f"{before}{START}\n\n{table(columns)}\n\n{END}{rest.partition(END)[2]}"
        DOC.write_text(text)
        print(f"wrote {DOC.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
