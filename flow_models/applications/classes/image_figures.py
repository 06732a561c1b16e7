"""The figures of a classifier of pictures, in the order in which a report tells them: (name,
figure, caption)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from flow_models import plots
from flow_models.applications.classes import evidence as evidences
from flow_models.applications.classes import study
from flow_models.applications.classes.problem import Problem
from flow_models.applications.pictures import figures as image_figures
from flow_models.data.tables.labelled import Labelled
from flow_models.models.model import Model

ROW = 12  # pictures in a row
CLASSES = 12  # shown at most
CARRIED = 6  # pictures carried into other classes
STRANGEST = 30
EXPLAINED = 6  # pictures a row whose pixels are looked at


def of_classifier(
    model: Model,
    problem: Problem,
    history: Mapping[str, list],
    temperature: float,
    metrics: Mapping[str, float],
) -> image_figures.Figures:
    """Samples a class, probabilities, transfer, interpolation, evidence, latents, training, the
    strangest, an unknown class."""
    test, train = problem.test, problem.train
    p, score = model.classify(test.x), model.anomaly_score(test.x)
    moved, paths, kinds = study.carried(model, spread(test), CARRIED, 10, "spherical")
    near, nearest = image_figures.neighbours(model, train.x, test.x, temperature)
    return [
        ("data", by_class(train, model), "Training pictures of each class."),
        (
            "samples",
            samples(model, temperature),
            f"Samples of each class, at temperature {temperature:g}; a column has one latent.",
        ),
        (
            "probabilities",
            plots.class_probabilities(p, test.y, score, model.classes),
            (
                "Calibration, the accuracy that rejecting the strangest pictures buys, and which"
                " classes are confused."
            ),
        ),
        (
            "transfer",
            transfer(model, spread(test), moved),
            "Test pictures, and their latents in every class: same z, other y."
            + image_figures.listed("From above:", spread(test).names, range(len(moved))),
        ),
        (
            "interpolated",
            interpolated(model, paths, kinds),
            (
                "From one test picture to another, along circles of latents and straight lines of"
                " labels." + _ends(spread(test))
            ),
        ),
        (
            "evidence",
            evidence(model, test, p),
            "Which pixels drove the class: right and wrong ones of the test pictures.",
        ),
        (
            "neighbours",
            near,
            (
                "Is it learned by heart? Samples and the training pictures nearest to them,"
                " mirrored or not."
                + image_figures.listed("The nearest, from left:", train.names, nearest)
            ),
        ),
        (
            "latents",
            plots.latents(model.encode(test.x, test.y)),
            "Test pictures as members of their classes, in latent space.",
        ),
        ("training", plots.training_curves(history), "Training."),
        ("strangest", strangest(model, test, score), "The strangest test pictures, by -log p(x)."),
        *study.unknown_figures(model, problem, score, metrics),
    ]


def _ends(rows: Labelled) -> str:
    """A sentence that names the files of the paths of `study.carried`."""
    pairs = study.pairs_of(rows)
    first = image_figures.listed("From:", rows.names, [pair[0] for pair in pairs])
    return first + image_figures.listed("To:", rows.names, [pair[1] for pair in pairs])


def spread(rows: Labelled) -> Labelled:
    """The first rows of each class in turn, then the others."""
    rank = np.zeros(len(rows), int)
    for label in np.unique(rows.y):
        rank[rows.y == label] = np.arange((rows.y == label).sum())
    return rows[np.lexsort((rows.y, rank))]


def by_class(rows: Labelled, model: Model) -> Figure:
    """A row of pictures for each class."""
    shown = {name: rows.x[rows.y == k][:ROW] for k, name in enumerate(model.classes[:CLASSES])}
    return plots.image_rows(
        {plots.plain(name): x for name, x in shown.items() if len(x)},
        f"{len(rows):,} training pictures by class",
    )


def samples(model: Model, temperature: float) -> Figure:
    """A row of samples for each class; the same latents in each."""
    drawn = {
        plots.plain(name): model.sample(ROW, seed=1, y=name, sampling_temperature=temperature)
        for name in model.classes[:CLASSES]
    }
    return plots.image_rows(drawn, f"Samples by class, temperature {temperature:g}")


def transfer(model: Model, rows: Labelled, moved: np.ndarray) -> Figure:
    """A row for each picture: itself, then its latents in every class."""
    shown, names = (
        {},
        [plots.plain(image_figures.short(name, 8)) for name in model.classes[:CLASSES]],
    )
    for number, places in enumerate(moved):
        name = f"{number + 1}. {plots.plain(model.classes[rows.y[number]])}"
        shown[name] = np.concatenate(
            [rows.x[number : number + 1], model.codec.samples(places[:CLASSES])]
        )
    return plots.image_rows(shown, "The same latents in other classes", ["picture", *names])


def interpolated(model: Model, paths: np.ndarray, kinds: list[str]) -> Figure:
    """A row for each path."""
    rows = {
        f"{kind} {number}": model.codec.samples(path)
        for number, (path, kind) in enumerate(zip(paths, kinds), 1)
    }
    return plots.image_rows(
        rows,
        "Interpolated between test pictures",
        [f"{t:.0%}" for t in np.linspace(0, 1, paths.shape[1])],
    )


def evidence(model: Model, rows: Labelled, p: np.ndarray) -> Figure:
    """Pictures that were classified rightly and wrongly, with what their pixels say for the class
    that was found."""
    found, wrong = p.argmax(1), np.flatnonzero(p.argmax(1) != rows.y)[:EXPLAINED]
    right = spread(Labelled(np.flatnonzero(found == rows.y), rows.y[found == rows.y])).x[
        : 2 * EXPLAINED - len(wrong)
    ]
    some = np.concatenate([right, wrong]).astype(int)
    captions = [
        image_figures.file_of(rows.names, i)
        + f"{model.classes[found[i]]} {p[i].max():.0%}"
        + ("" if found[i] == rows.y[i] else f"\n(is {model.classes[rows.y[i]]})")
        for i in some
    ]
    return plots.evidence(rows.x[some], evidences.evidence(model, rows.x[some], rows.x), captions)


def strangest(model: Model, rows: Labelled, score: np.ndarray) -> Figure:
    """The test pictures of the highest score, with class and score."""
    order = np.argsort(-score, kind="stable")[:STRANGEST]
    captions = [
        image_figures.file_of(rows.names, i)
        + f"{image_figures.short(model.classes[rows.y[i]], 12)}\n{score[i]:.4g}"
        for i in order
    ]
    return plots.image_grid(
        rows.x[order],
        f"The {len(order)} strangest of {len(rows):,} test pictures by -log p(x), nats",
        10,
        captions,
    )
