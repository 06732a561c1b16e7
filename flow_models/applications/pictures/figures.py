"""The figures of a model of images, in the order in which a report tells them: (name, figure,
caption)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from flow_models import plots
from flow_models.bijectors.multiscale import MultiScale
from flow_models.data.images import ImageData
from flow_models.diagnostics import generation, scored
from flow_models.diagnostics.baselines import PictureBaselines
from flow_models.models.feature_maps import strangeness

TEMPERATURES = (0.6, 0.8, 0.9, 1.0)
MOST_SHARES = (
    3  # rows of regenerated pictures: all latents, without the finest level, without the two finest
)
ROW = 12  # pictures in a row
MANY = 200  # samples whose nearest training pictures are measured
PAIRS = 3  # of pictures that are interpolated
MAPPED = 300  # pictures of a set in the map of latents

Figures = list[tuple[str, Figure, str]]


def of_model(
    model, known: ImageData, held_out: np.ndarray, history: Mapping[str, list], temperature: float
) -> Figures:
    """Data, training, samples, their neighbours, latents, regenerated and interpolated pictures."""
    return [
        *_learned(model, known, history),
        *_drawn(model, known, held_out, temperature),
        *_through_latents(model, known, held_out),
    ]


def _learned(model, known: ImageData, history: Mapping[str, list]) -> Figures:
    """Data and training."""
    size = math.prod(model.event_shape) * math.log(2)
    training = plots.training_curves(history, unit="bits per dimension", nats=size)
    return [
        _data(known),
        (
            "training",
            training,
            "Training, in bits per dimension: the latent part and the log-determinant, which"
            " make the objective.",
        ),
    ]


def _data(known: ImageData):
    title = f"{known.rows:,} training pictures: {short(', '.join(known.classes), 60)}"
    figure = plots.image_grid(known.examples[: 4 * ROW], title, ROW)
    return "data", figure, f"What is learned: the first of {known.rows:,} pictures."


def _drawn(model, known: ImageData, held_out: np.ndarray, temperature: float) -> Figures:
    """Samples, and the training pictures nearest to them."""
    near, nearest = neighbours(model, known.examples, held_out, temperature)
    return [
        (
            "samples",
            samples(model, known.examples),
            "Samples by temperature, the standard deviation of their latents: low ones are"
            " plain and alike, 1 is the model's own.",
        ),
        (
            "neighbours",
            near,
            f"Is it learned by heart? Samples at temperature {temperature:g} and the training"
            " pictures nearest to them, mirrored or not; held-out pictures are the measure of how"
            " near is near." + listed("The nearest, from left:", known.example_names, nearest),
        ),
    ]


def _through_latents(model, known: ImageData, held_out: np.ndarray) -> Figures:
    """Latents, and pictures that go through them and back."""
    pairs, names = min(PAIRS, len(held_out) // 2), known.held_out_names
    return [
        (
            "latents",
            plots.latents(model.encode(held_out)),
            "Held-out pictures in latent space: standard normal if all is right.",
        ),
        (
            "regenerated",
            regenerated(model, held_out),
            "Held-out pictures, to latents and back, from ever fewer latents: the coarsest are"
            " kept, the others set to 0.",
        ),
        (
            "interpolated",
            interpolated(model, held_out),
            "From one held-out picture to another through latent space, on the straight line"
            " and on the circle."
            + listed("From:", names, range(pairs))
            + listed("To:", names, range(pairs, 2 * pairs)),
        ),
    ]


def of_features(
    model,
    known: ImageData,
    held_out: np.ndarray,
    history: Mapping[str, list],
    sets: Mapping[str, np.ndarray],
) -> Figures:
    """Data, training, latents, and where the strangest pictures of each set are strange."""
    rows: dict[str, np.ndarray] = {}
    for name, images in sets.items():
        some = images[:MAPPED]
        some = some[np.argsort(-model.anomaly_score(some), kind="stable")[:ROW]]
        rows |= {short(name, 12): some, f"{short(name, 12)}, where": _grey(model, some)}
    return [
        _data(known),
        ("training", plots.training_curves(history, unit="nats"), "Training, in nats."),
        (
            "latents",
            plots.latents(model.encode(held_out)),
            "Features of held-out pictures in latent space: standard normal if all is right.",
        ),
        (
            "where",
            plots.image_rows(rows, "The strangest pictures by -log p of features"),
            "Where the strangest pictures of each set are strange: the latents' squares by place.",
        ),
    ]


def _grey(model, images: np.ndarray) -> np.ndarray:
    """Maps of strangeness as pictures, black at the least and white at the most of them."""
    found = strangeness(model, images)
    shown = 255 * (found - found.min()) / max(float(np.ptp(found)), 1e-12)
    return np.repeat(shown[..., None].astype(np.uint8), images.shape[-1], -1)


def of_detector(
    model,
    known: ImageData,
    sets: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]],
    scores: scored.Scores,
    name: str,
    by: str,
    files: Mapping[str, Sequence[str]],
) -> Figures:
    """Where the latents of all sets lie, the strangest pictures, scores by set, ROC curves. name:
    of the known set."""
    z = {each: model.encode(images[:MAPPED]) for each, images in sets.items()}
    shown = {each: images[:MAPPED] for each, images in sets.items()}
    title, alone = by.replace("_", " "), {by: {name: scores[by][name]}}
    return [
        (
            "latent_map",
            plots.latent_map(z, shown, name, model.encode(known.examples[:1000])),
            (
                "Latents on the first two principal components of the training pictures' latents;"
                " inliers, outliers, others."
            ),
        ),
        (
            "anomalies",
            anomalies(sets, labels, scores, by, files),
            f"The strangest held-out pictures of all sets, by {title}.",
        ),
        (
            "strangest_known",
            anomalies({name: sets[name]}, labels, alone, by, files),
            (
                f"The strangest of the known set alone, by {title}: what would be flagged first,"
                " rightly or not."
            ),
        ),
        (
            "scores",
            plots.score_histograms(scores, name),
            "Scores and baselines by set; higher is stranger.",
        ),
        (
            "roc",
            plots.roc_curves(scores, name, PictureBaselines.NAMES),
            "What is found at what price: ROC curves of the scores, baselines grey.",
        ),
    ]


def samples(model, data: np.ndarray, seed: int = 1) -> Figure:
    """A row of data, then a row of samples a temperature, from the same latents but for their
    scale."""
    drawn = {
        f"temperature {t:g}": model.sample(ROW, seed=seed, sampling_temperature=t)
        for t in TEMPERATURES
    }
    return plots.image_rows({"data": data[:ROW], **drawn}, "Data and samples")


def neighbours(
    model, training: np.ndarray, held_out: np.ndarray, temperature: float, seed: int = 2
) -> tuple[Figure, np.ndarray]:
    """`ROW` samples over their nearest training pictures; distances of many more. Also the numbers
    of the nearest."""
    drawn = model.sample(MANY, seed=seed, sampling_temperature=temperature)
    numbers, distances = generation.nearest(drawn, training, 3)
    _, known = generation.nearest(held_out, training)
    near = training[numbers[:ROW]]
    figure = plots.neighbours(drawn[:ROW], near, distances[:, 0], known[:, 0])
    return figure, numbers[:ROW, 0]


def regenerated(model, images: np.ndarray) -> Figure:
    """Pictures and what comes back from a share of their latents, that of the coarsest levels."""
    kept = shares(model)
    back = generation.regenerated(model, images[:ROW], kept)
    names = ["all latents" if share == 1 else f"coarsest {share:.0%}" for share in kept]
    return plots.image_rows(
        {"held out": images[:ROW], **dict(zip(names, back))}, "Regenerated from latents"
    )


def shares(model) -> list[float]:
    """Of the latents without those of the finest levels, each of which takes half of what is left;
    all where there is one."""
    layers = getattr(model.layer, "layers", ())
    levels = next((len(layer.levels) for layer in layers if isinstance(layer, MultiScale)), 1)
    return [0.5**number for number in range(min(levels, MOST_SHARES))]


def interpolated(model, images: np.ndarray, pairs: int = PAIRS, steps: int = 10) -> Figure:
    """A row for each pair and kind of interpolation."""
    pairs = min(pairs, len(images) // 2)
    ways = {
        kind: generation.interpolated(model, images[:pairs], images[pairs : 2 * pairs], steps, kind)
        for kind in generation.KINDS
    }
    rows = {f"{kind} {pair + 1}": ways[kind][pair] for pair in range(pairs) for kind in ways}
    return plots.image_rows(
        rows,
        "Interpolated between held-out pictures",
        [f"{t:.0%}" for t in np.linspace(0, 1, steps)],
    )


def anomalies(
    sets: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]],
    scores: scored.Scores,
    by: str,
    files: Mapping[str, Sequence[str]],
    top: int = 30,
) -> Figure:
    """The strangest pictures with rank, label and score."""
    order = scored.ranked(scores, by, top)
    pictures = np.stack([sets[name][row] for name, row in order])
    captions = [
        f"{rank}: {short(labels[name][row], 14)}\n{file_of(files[name], row)}"
        f"{scores[by][name][row]:.4g}"
        for rank, (name, row) in enumerate(order, 1)
    ]
    total = sum(len(images) for images in sets.values())
    return plots.image_grid(
        pictures,
        f"The {len(order)} strangest of {total:,} held-out pictures by {by.replace('_', ' ')}",
        10,
        captions,
    )


def file_of(names: Sequence[str] | np.ndarray | None, row: int) -> str:
    """A line with the end of a file's name; nothing where there is no file."""
    if names is None or not len(names):
        return ""
    name = names[row].rpartition("/")[2]
    return (name if len(name) <= 16 else f"…{name[-15:]}") + "\n"


def listed(introduction: str, names: Sequence[str] | np.ndarray | None, rows: Iterable[int]) -> str:
    """A sentence that names the files of a figure; nothing where there are none."""
    if names is None or not len(names):
        return ""
    return f" {introduction} {', '.join(names[int(row)].rpartition('/')[2] for row in rows)}."


def short(text: str, most: int) -> str:
    """The beginning of a text that has no room."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
