"""Generative classification of pictures, application 3: its data, training and evaluation."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np

from flow_models.applications.application import Results, Run, Training
from flow_models.applications.classes import image_figures, study
from flow_models.applications.classes.problem import Problem
from flow_models.applications.pictures import measured, sets
from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.images.dataset import ImageData, Skipped
from flow_models.data.images.listing import ALL
from flow_models.data.shards.stream import EndlessBatches
from flow_models.data.tables.labelled import Labelled, split_by_class
from flow_models.models.pixels import Pixels
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import Trainer

MIRRORED = ("silhouettes", "photo_patches")  # sets whose classes do not know left from right
BETA = 40.0
SEED = 8  # of the samples that baselines classify
BETAS = (1.0, 10.0, 100.0, 1000.0)  # of the study


@dataclasses.dataclass(frozen=True)
class PictureProblem(Problem):
    """A `Problem` of pictures.

    Attributes:
      pixels: what a picture is to the network.
      levels: resolutions of the network.
      mirrored: mirror images are of the same class.
      skipped: files that were left out.
    """

    pixels: Pixels = dataclasses.field(kw_only=True)
    levels: int = 3
    mirrored: bool = False
    skipped: Skipped = dataclasses.field(default_factory=Skipped)


def load(config) -> PictureProblem:
    """The pictures, a class left out and labels taken off where the settings ask for it."""
    pictures, network, asked = config.pictures, config.network, config.classifier
    _check(config)
    measured.check(config)
    known = not pictures.train_uri and pictures.data in MIRRORED
    mirrored = known if pictures.flip is None else pictures.flip
    sets.refuse_unknown_classes(pictures)
    data = sets.open_known(pictures, config.fit, labelled=True, flip=mirrored)
    sets.tell_skipped(data.skipped)
    parts = picture_problem(data, sets.augmentation(pictures, mirrored), config.fit.seed)
    levels = network.levels_of(data.shape)
    name = os.path.basename((pictures.train_uri or pictures.data).rstrip("/"))
    pixels = sets.pixels(config, data, levels)
    problem = PictureProblem(
        **{**vars(parts), "name": name, "source": sets.stated(parts.source, pixels)},
        pixels=pixels,
        levels=levels,
        mirrored=mirrored,
        skipped=data.skipped,
    )
    problem = problem.leaving_out(asked.unknown) if asked.unknown else problem
    refuse_joint(config, problem)
    return problem.with_labels(asked.labelled, config.fit.seed) if asked.labelled else problem


def _check(config) -> None:
    """Refuses settings before anything is read."""
    classes = sets.class_names(config.pictures)
    if classes is not None and len(classes) < 2:
        raise UserError("a classifier needs two classes: give more, or null for all")
    for name in ("margin", "sampling_temperature"):
        if not 0 < getattr(config, name) < math.inf:
            raise UserError(f"{name} is {getattr(config, name)}, must be above 0")


def refuse_joint(config, problem: PictureProblem) -> None:
    """Raises UserError where the label would have to be among the outputs and finds no room."""
    size, count = problem.pixels.flat_size, len(problem.classes)
    if count > size and (config.classifier.form == "joint" or config.classifier.compare):
        raise UserError(
            f"images of {size} numbers are not padded with noise: there are too many classes"
            f" ({count}) for joint"
        )


def picture_problem(data: ImageData, augment: Augmentation | None = None, seed: int = 0) -> Problem:
    """Labelled pictures in parts for training, validation and test; where there is no test part,
    half of each class of the validation pictures is one.

    Raises:
      UserError: fewer than two classes, or nothing left for the test.
    """
    if len(data.classes) < 2:
        there = (
            "no folders of classes"
            if data.classes == (ALL,)
            else f"the one class '{data.classes[0]}'"
        )
        raise UserError(
            f"{data.name}: {there}; a classifier needs two classes, the density of one is the"
            " business of train_flowmodels2.py"
        )
    # of the test part, where there is one
    held = () if data.test is not None else data.held_out_names
    validation = _labelled(data.validation, data.validation_labels, held)
    source = data.source
    if data.test is None or data.test_labels is None:
        validation, test = split_by_class(validation, (0.5, 0.5), seed)
        source += "; half of the validation pictures are the test"
    else:
        test = _labelled(data.test, data.test_labels, data.held_out_names)
    train = _labelled(data.examples, data.example_labels, data.example_names)
    stream = None
    if isinstance(data.train, EndlessBatches) and data.rows > len(data.examples):
        stream = data.train
    return Problem(
        train, validation, test, data.classes, (), source, stream=stream, augment=augment
    )


def _labelled(images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Labelled:
    """Pictures with their files, where they are files."""
    known = len(names) == len(images) > 0
    return Labelled(images, labels.astype(np.int64), np.array(list(names)) if known else None)


def beta_of(config, problem: Problem) -> float:
    """The weight of the class: by default 1 where more takes a pass of the network a class."""
    if config.classifier.beta is not None:
        return config.classifier.beta
    of_all = not config.conditioned or config.network.architecture != "glow"
    return 1.0 if config.classifier.form == "conditional" and of_all else BETA


def _settings(config, problem: PictureProblem) -> FitSettings:
    """No more steps than passes allow; a stream counts by its steps alone."""
    if problem.stream is not None:
        return config.fit
    return study.few_steps(config.fit, config.classifier.passes, len(problem.train))


def training(config, problem: PictureProblem, model) -> Training:
    """Training of pictures; see `study.training`."""
    return study.training(
        model,
        problem,
        _settings(config, problem),
        form=config.classifier.form,
        beta=beta_of(config, problem),
        loss_temperature=config.margin,
    )


def evaluate(run: Run) -> Results:
    """Metrics beside those of other forms, baselines and the same network without classes."""
    if run.problem.skipped.examples:
        run.folder.write_text("skipped.csv", sets.skipped_csv(run.problem.skipped))
    metrics, table = study.compare(run, beta_of, _drawn(run))
    if run.config.unconditional:
        found = without_classes(run)
        ratio = metrics["bits_per_dim"] / found["bits_per_dim_unconditional"]
        metrics |= {**found, "bits_per_dim_ratio": ratio}
        title, columns, rows = table
        table = title, columns, [*rows, ("no classes", None, None, None, *found.values())]
    metrics["class_temperature"] = study.labels_of(run.model).calibration_temperature
    shown = image_figures.of_classifier(
        run.model, run.problem, run.history, run.config.sampling_temperature, metrics
    )
    figures, tables = study.studies(run, beta_of, BETAS)
    of_samples, measures, alike = _measured(run, _recognised(metrics))
    metrics |= of_samples
    return Results(metrics, [table, *measures, *tables], [*shown, *alike, *figures])


def _drawn(run: Run) -> Labelled | None:
    """Samples with their classes, which the baselines classify; None where none are measured."""
    number = measured.count(run.config, run.problem)
    if not number:
        return None
    temperature, labels = run.config.sampling_temperature, run.model.draw_labels(number, seed=SEED)
    drawn = run.model.sample(number, labels, seed=SEED, sampling_temperature=temperature)
    return Labelled(drawn, labels)


def _measured(run: Run, further: list[tuple]):
    """Samples of all classes beside the validation and test pictures; further rows of the table."""
    problem = run.problem
    held_out = np.concatenate([problem.validation.x, problem.test.x])
    return measured.measure(run, problem.train.x, problem.train.y, held_out, further)


def _recognised(metrics: dict[str, float]) -> list[tuple]:
    """Rows of the table of samples: how many the baselines recognise, and of real pictures."""
    return [
        (f"recognised by {name.replace('_', ' ')}", metrics[key], None, metrics[f"accuracy_{name}"])
        + (None, "as held out")
        for key in metrics
        if (name := key.removeprefix("accuracy_of_samples_")) != key
    ]


def without_classes(run: Run) -> dict[str, float]:
    """Test bits per dimension and training seconds of the same network, on the same batches."""
    problem, application = run.problem, run.application
    partition = application.partitions(run.config, problem)["unconditional"]
    network = application.build_model(run.config, problem, partition)
    settings = _settings(run.config, problem)
    batches = problem.batches(settings.batch_size, settings.seed).each(lambda batch: batch["x"])
    result = Trainer(network, batches, problem.validation.x, settings).run(progress=False)
    bits = network.bits_per_dim(problem.test.x).mean(dtype=np.float64)
    return {
        "bits_per_dim_unconditional": float(bits),
        "train_seconds_unconditional": result.train_seconds,
    }
