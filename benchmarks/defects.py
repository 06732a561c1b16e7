"""Maps of where pictures are strange, on pictures with planted defects of known place.

    make bench-defects                                    # writes a table of doc/anomaly_scores.md
    make bench-defects ARGS="--sets photo_patches --most 20"    # prints, and writes nothing

Trains application 2 for each set, or takes what runs/defects has, and spoils a patch of each held-
out picture: a piece of another picture, a blur, noise, or the colour of the border. Beside the maps
of the detector: the known patches that they use, not weighed by the model, and the squared residual
of principal components, whose number and smoothing validation pictures with defects choose.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.ndimage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import flow_models as fm  # noqa: E402
import train_flowmodels2 as script  # noqa: E402
from flow_models.applications.application import Run  # noqa: E402
from flow_models.applications.pictures import sets  # noqa: E402
from flow_models.data.images.dataset import ImageData  # noqa: E402
from flow_models.diagnostics import defects, maps  # noqa: E402
from flow_models.diagnostics.baselines import PictureBaselines  # noqa: E402
from flow_models.models.detector import Detector  # noqa: E402
from flow_models.runs.config import nested  # noqa: E402

SETS = {
    "silhouettes": {"classes": ["cat"], "steps": 1500},
    "photo_patches": {"classes": ["coffee"], "anomalies": [], "steps": 300},
}
RUNS = ROOT / "runs" / "defects"
DOC = ROOT / "doc" / "anomaly_scores.md"
START, END = "<!-- make bench-defects -->", "<!-- end -->"
HEAD = f"| set | map | {' | '.join(defects.KINDS)} | all | pointing |"
SHARES, SIGMAS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99), (0.0, 1.0, 2.0, 3.0)  # tried for the residual

Maps = Callable[[np.ndarray], np.ndarray]  # images [n, H, W, C] -> [n, H, W]
Spoiled = dict[str, tuple[np.ndarray, np.ndarray]]  # kind -> pictures and masks


def detector_of(name: str) -> tuple[ImageData, Detector]:
    """The known pictures of a set, and the detector trained on them, without a background."""
    place = RUNS / name
    settings = {**script.PRESETS["default"], "data": name, "background": "none", **SETS[name]}
    config = nested(script.Config, {**settings, "score": "complexity"})
    if not (place / "model.json").exists():
        problem = script.load_data(config)
        model, _ = Run(script.APPLICATION, config, problem, None, None, None, None).train()
        model.save(str(place))
    known = sets.open_known(config.pictures, config.fit)
    print(f"{name}: {known.rows:,} pictures, {SETS[name]['steps']:,} steps", flush=True)
    return known, Detector(fm.load(str(place))).remembering(known.examples)


def spoiled(images: np.ndarray, seed: int) -> Spoiled:
    return {kind: defects.planted(images, kind, seed) for kind in defects.KINDS}


def residual(known: ImageData, share: float, sigma: float) -> Maps:
    """The squared residual of principal components, smoothed."""
    pca = PictureBaselines(known.examples, explained=share)

    def of(images: np.ndarray) -> np.ndarray:
        rest = images.reshape(len(images), -1) - pca.mean
        rest = rest - (rest @ pca.directions.T) @ pca.directions
        squares = np.square(rest).reshape(images.shape).sum(-1)
        return scipy.ndimage.gaussian_filter(squares, (0, sigma, sigma))

    return of


def best_residual(known: ImageData, validation: Spoiled) -> Maps:
    """The residual with the highest mean pixel AUROC on validation pictures with defects."""

    def quality(of: Maps) -> float:
        found = [defects.pixel_auroc(of(x), masks) for x, masks in validation.values()]
        return float(np.mean(found))

    return max((residual(known, a, b) for a in SHARES for b in SIGMAS), key=quality)


def row_of(name: str, title: str, of: Maps, test: Spoiled) -> str:
    """A row of the table: pixel AUROC by kind of defect, and over all with its interval."""
    found = {kind: of(pictures) for kind, (pictures, _) in test.items()}
    values = [defects.pixel_auroc(found[kind], masks) for kind, (_, masks) in test.items()]
    every = np.concatenate(list(found.values()))
    masks = np.concatenate([each for _, each in test.values()])
    low, high = defects.interval(every, masks)
    cells = " | ".join(f"{value:.3f}" for value in values)
    whole = f"{defects.pixel_auroc(every, masks):.3f} ({low:.3f} to {high:.3f})"
    pointing = defects.pointing_game(every, masks)
    return f"| {name} | {title} | {cells} | {whole} | {pointing:.2f} |"


def rows_of(name: str, most: int) -> list[str]:
    """The rows of a set."""
    known, detector = detector_of(name)
    test = spoiled(known.held_out[0][:most], seed=2)
    found: dict[str, Maps] = {
        "of the detector": detector.maps,
        "known patches alone": lambda x: maps.anomaly_maps(None, x, detector.known),
        "residual of components": best_residual(known, spoiled(known.validation[:most], seed=1)),
    }
    rows = []
    for title, of in found.items():
        rows.append(row_of(name, title, of, test))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=["silhouettes"], choices=SETS)
    parser.add_argument("--most", type=int, default=40, help="held-out pictures of a set")
    asked = parser.parse_args()
    rows = [HEAD, "|" + "---|" * (HEAD.count("|") - 1)]
    print("\n".join(rows))
    for name in asked.sets:
        rows += rows_of(name, asked.most)
    if asked == parser.parse_args([]):
        before, _, rest = DOC.read_text().partition(START)
        table = "\n".join(rows)
        DOC.write_text(f"{before}{START}\n\n{table}\n\n{END}{rest.partition(END)[2]}")
        print(f"wrote {DOC.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
