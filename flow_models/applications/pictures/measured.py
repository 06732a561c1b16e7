"""Samples held against held-out pictures, for applications 2 and 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from flow_models import plots
from flow_models.applications.application import Run, Table
from flow_models.applications.pictures.figures import ROW, Figures
from flow_models.core.errors import warn
from flow_models.diagnostics import generation, sample_quality
from flow_models.models.backbones import Backbone, pooled
from flow_models.models.model import Model
from flow_models.training.picture_features import PictureFeatures

SAMPLES, FEWEST_STEPS = 500, 500  # by default; no samples of a shorter training
NUMBERS = 2**23  # in the pixels of the samples, at most
TRAINED = 20_000  # training pictures that samples are compared with, at most
SEED = 7  # of the samples
HEADING = "Samples beside held-out pictures, by features of a network"
COLUMNS = ("", "samples", "sd", "held out", "sd ", "ideal")


def count(config, problem) -> int:
    """How many samples are measured; 0 for none."""
    asked = config.measured.measured_samples
    if asked is None:
        asked = SAMPLES if config.fit.steps >= FEWEST_STEPS else 0
    most = max(NUMBERS // math.prod(problem.pixels.shape), sample_quality.LEAST)
    return min(asked, most)


def check(config) -> None:
    """Raises UserError before the training where the network that measures is not there."""
    if config.measured.measured_by:
        Backbone(config.measured.measured_by)


def measure(
    run: Run,
    train: np.ndarray,
    labels: np.ndarray | None,
    held_out: np.ndarray,
    further: Sequence[tuple] = (),
) -> tuple[dict[str, float], list[Table], Figures]:
    """Metrics, their table, and samples beside the training pictures with the nearest features.

    Nothing where no samples are asked for, or too few pictures held out.

    Args:
      train, labels: training pictures uint8 [N, H, W, C], and class numbers [N] or None.
      held_out: pictures that the weights were not fitted to; of many, two for each sample.
      further: rows of the table.
    """
    config, model, number = run.config, run.model, count(run.config, run.problem)
    if not number:
        return {}, [], []
    if len(held_out) < 2 * sample_quality.LEAST:
        least = 2 * sample_quality.LEAST
        warn(f"samples are not measured: {len(held_out)} held-out pictures, {least} are needed")
        return {}, [], []
    train, labels = train[:TRAINED], None if labels is None else labels[:TRAINED]
    held_out = held_out[np.random.default_rng(SEED).permutation(len(held_out))[: 2 * number]]
    train, held_out = (at_the_bits(model, each) for each in (train, held_out))
    drawn = model.sample(number, seed=SEED, sampling_temperature=config.sampling_temperature)
    features = _network(config, train, labels)
    of_drawn, of_held, of_train = (pooled(features(each)) for each in (drawn, held_out, train))
    near, near_real = (generation.nearest(each, train)[1][:, 0] for each in (drawn, held_out))
    found = sample_quality.sample_quality(of_drawn, of_held, (near, near_real))
    shown = _alike(drawn, train, of_drawn, of_held, of_train)
    return metrics(found), [table(found, further)], [shown]


def at_the_bits(model: Model, images: np.ndarray) -> np.ndarray:
    """Pictures as the model knows them, with the bits of its samples."""
    return model.codec.samples(model.codec.encode(images, np.float32).rows)


def _network(config, train, labels):
    if config.measured.measured_by:
        return Backbone(config.measured.measured_by)
    labels = None if labels is None or (labels < 0).any() else labels
    return PictureFeatures(train, labels, config.fit.seed)


def metrics(found: Mapping[str, sample_quality.Measure]) -> dict[str, float]:
    """samples_kid, samples_kid_null and the others; standard deviations over the halves are in the
    table alone."""
    return {
        f"samples_{name}{end}": value
        for name, each in found.items()
        for end, value in (("", each.samples), ("_null", each.null))
    }


def table(found: Mapping[str, sample_quality.Measure], further: Sequence[tuple] = ()) -> Table:
    """A row for each measure, and further ones."""
    rows = [
        (name, *(None if np.isnan(each) else each for each in measure), ideal)
        for name, ideal in sample_quality.MEASURES.items()
        if (measure := found.get(name))
    ]
    return HEADING, COLUMNS, [*rows, *further]


def _alike(drawn, train, of_drawn, of_held, of_train):
    """The figure of samples and the training pictures whose features are nearest."""
    numbers, distances = sample_quality.nearest(of_drawn, of_train, 3)
    _, of_real = sample_quality.nearest(of_held, of_train)
    near = train[numbers[:ROW]]
    figure = plots.neighbours(
        drawn[:ROW], near, distances[:, 0], of_real[:, 0], "distance of features"
    )
    caption = (
        "Samples and the training pictures whose features are nearest: moved copies are found too."
        " Held-out pictures are the measure of how near is near."
    )
    return "alike", figure, caption
