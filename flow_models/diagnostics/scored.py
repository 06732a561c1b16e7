"""Sets of images with all their scores: detection measures, a table, a CSV with a row per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from flow_models.diagnostics import codes, detection
from flow_models.diagnostics.baselines import PictureBaselines

Scores = dict[str, dict[str, np.ndarray]]  # {score: {set: [n]}}


def score_sets(
    detector, baselines: PictureBaselines, sets: Mapping[str, np.ndarray], seed: int = 0
) -> Scores:
    """Every score and every baseline of each set of images uint8 [n, H, W, C]."""
    found: Scores = {}
    for number, (name, images) in enumerate(sets.items()):
        code_bits = codes.code_length(images, detector.model.codec.bits)
        scores = detector.scores(images, seed + number, code_bits) | baselines.scores(
            images, code_bits
        )
        for score, values in scores.items():
            found.setdefault(score, {})[name] = values
    return found


def detection_table(
    scores: Scores, metrics: Mapping[str, float], known: str
) -> tuple[str, list[str], list[list]]:
    """A table for the report, one row per score: the three measures, and the interval of the AUROC,
    for each set.

    metrics: from `detection.table`. Rows keep the order of `scores`; baselines come last.
    """
    others = [name for name in next(iter(scores.values())) if name != known]
    columns = [
        "score",
        *(
            f"{other}: {measure}"
            for other in others
            for measure in ("AUROC", "95% interval", "AUPR", "FPR at 95%")
        ),
    ]
    rows = []
    for score in scores:
        title = f"{score} (baseline)" if score in PictureBaselines.NAMES else score
        rows.append(
            [
                title.replace("_", " "),
                *(cell for other in others for cell in _cells(metrics, score, other)),
            ]
        )
    return f"Anomaly scores: {known} against {' and '.join(others)}", columns, rows


def _cells(metrics, score, other):
    auroc, aupr, fpr = (metrics[f"{measure}_{score}_{other}"] for measure in detection.MEASURES)
    low, high = (metrics[f"auroc_{score}_{other}_{end}"] for end in ("low", "high"))
    return f"{auroc:.3f}", f"{low:.3f} to {high:.3f}", f"{aupr:.3f}", f"{fpr:.3f}"


def scores_csv(
    scores: Scores, names: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]
) -> str:
    """CSV text with one row per image: name, set, label and every score.

    names, labels: of the images of each set.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", "set", "label", *scores])
    for name in names:
        columns = [scores[score][name] for score in scores]
        for picture, label, *values in zip(names[name], labels[name], *columns, strict=True):
            writer.writerow([picture, name, label, *(f"{value:.6g}" for value in values)])
    return buffer.getvalue()


def ranked(scores: Scores, score: str, top: int) -> list[tuple[str, int]]:
    """(set, row) of the `top` strangest images of all sets by one score, strangest first."""
    places = [
        (set_name, row) for set_name, values in scores[score].items() for row in range(len(values))
    ]
    order = np.argsort(-np.concatenate(list(scores[score].values())), kind="stable")[:top]
    return [places[i] for i in order]
