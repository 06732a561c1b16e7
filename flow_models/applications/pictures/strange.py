"""Which pictures are strange and where, and how sure that is, for the report of application 2."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from flow_models import plots
from flow_models.applications.pictures.figures import Figures
from flow_models.diagnostics import defects, scored
from flow_models.diagnostics.baselines import PictureBaselines
from flow_models.models.detector import Detector

STRANGE, USUAL = 8, 3  # pictures of the figure
LONG = 18  # letters of a name in the figure
SPOILED = 6  # known held-out pictures that get a defect of each kind

Named = Mapping[str, Sequence[str]]


def of_maps(
    detector: Detector,
    sets: Mapping[str, np.ndarray],
    names: Named,
    scores: scored.Scores,
    known: str,
    by: str,
) -> tuple[Figures, bytes]:
    """The strangest pictures of all sets above their maps, beside the most usual known ones; and
    these maps as an .npz file, by the names of the pictures.

    Args:
      names: of every picture of each set, its file where it is one.
    """
    order = scored.ranked(scores, by, STRANGE)
    usual = [(known, int(row)) for row in np.argsort(scores[by][known], kind="stable")[:USUAL]]
    usual = [each for each in usual if each not in order]
    rows = [*order, *usual]
    images = np.stack([sets[name][row] for name, row in rows])
    maps = detector.maps(images)
    captions = [f"{_end(names[name][row])}\n{scores[by][name][row]:.4g}" for name, row in rows]
    title = by.replace("_", " ")
    figure = plots.anomaly_maps(
        images, maps, f"The strangest by {title} and the most usual", captions, len(usual)
    )
    files = [f"{names[name][row]} ({name})" for name, row in rows]
    caption = (
        "Where the strangest held-out pictures are strange: bright pixels would change if their"
        f" surroundings were drawn anew. The strangest first: {'; '.join(files[: len(order)])}."
        f" Apart, the most usual known ones: {'; '.join(files[len(order) :])}."
    )
    return [("strange_maps", figure, caption)], _npz(files, maps)


def found_defects(detector: Detector, known: np.ndarray, seed: int = 0) -> dict[str, float]:
    """How well maps find patches that were swapped, blurred, filled with noise or removed in
    `SPOILED` known held-out pictures: `pixel_auroc` and `pointing_game` over all kinds; nothing
    where no defect can be seen, as in pictures of one colour."""
    pictures = known[:SPOILED]
    spoiled, masks = map(
        np.concatenate, zip(*(defects.planted(pictures, kind, seed) for kind in defects.KINDS))
    )
    if not masks.any():
        return {}
    maps = detector.maps(spoiled, seed)
    return {
        "pixel_auroc": defects.pixel_auroc(maps, masks),
        "pointing_game": defects.pointing_game(maps, masks),
    }


def sentence(
    metrics: Mapping[str, float], scores: scored.Scores, known: str, by: str, learned: str
) -> str:
    """What was learned, and how sure that is, in one sentence.

    Args:
      learned: of what, such as "794 pictures of cat".
    """
    said = f"The model learned {learned}"
    if "bits_per_dim" in metrics:  # of features there are none
        bits, error = metrics["bits_per_dim"], metrics["bits_per_dim_se"]
        said += (
            f" and needs {bits:.3f} ± {error:.3f} bits for a pixel of a held-out one, where a"
            f" general code needs {metrics['code_bits_per_dim']:.3f}"
        )
    others = [name for name in scores[by] if name != known]
    if others:
        parts = [_judged(metrics, by, name) for name in others]
        said += f"; {by.replace('_', ' ')} tells {', and '.join(parts)}"
    if "pixel_auroc" in metrics:
        share = f"{metrics['pixel_auroc']:.0%} of pairs"
        said += f"; its maps put a pixel of a planted defect above another pixel in {share}"
    return f"{said}."


def _judged(metrics: Mapping[str, float], by: str, name: str) -> str:
    """How sure a foreign set is told from known pictures, beside the best baseline."""
    found, low, high = (metrics[f"auroc_{by}_{name}{end}"] for end in ("", "_low", "_high"))
    best = max(PictureBaselines.NAMES, key=lambda each: metrics[f"auroc_{each}_{name}"])
    return (
        f"{name} pictures from known ones in {found:.1%} of pairs (95% interval {low:.1%} to"
        f" {high:.1%}; the best baseline, {best.replace('_', ' ')}, in"
        f" {metrics[f'auroc_{best}_{name}']:.1%})"
    )


def _npz(files: Sequence[str], maps: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, names=np.array(files), maps=maps.astype(np.float32))
    return file.getvalue()


def _end(name: str) -> str:
    """The last two parts of a name, or as much of them as has room."""
    end = "/".join(name.split("/")[-2:])
    return end if len(end) <= LONG else f"…{end[1 - LONG :]}"
