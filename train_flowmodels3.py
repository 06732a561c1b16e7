"""Application 3, generative classification of images: a density for every class of pictures, and
class probabilities from it.

    python train_flowmodels3.py                              # silhouettes of ten animals
    python train_flowmodels3.py --data mnist                 # or digits
    python train_flowmodels3.py --train-uri s3://bucket/parts --image-size 32      # a folder a class
    python train_flowmodels3.py --compare                    # three forms side by side
    python train_flowmodels3.py --unknown zebra              # a class that training does not see
    python train_flowmodels3.py --labelled 640               # most pictures without a label; --label-study, --beta-study: curves
    python train_flowmodels3.py --preset smoke               # to see it run

Expect of the silhouettes an accuracy of 0.95 (0.94 of a support vector machine), an expected
calibration error of at most 0.03, and bits_per_dim within 5% of those of the same network without
classes. Where there are no folders `val` and `test`, a tenth of the pictures of each class is held
out.
"""

from __future__ import annotations

import dataclasses
import math
import os

import flow_models as fm
from flow_models.applications.classes.class_config import ClassConfig, refuse
from flow_models.runs.config import run


@dataclasses.dataclass(frozen=True)
class Config(ClassConfig):
    """Settings of application 3."""

    form: str = "conditional"
    """conditional (the class in the couplings), mixture (a learned Gaussian a class as the base) or
    joint (class among the outputs)"""
    beta: float | None = None
    """weight of -log p(y | x) beside -log p(x); 1 is maximum likelihood; null: 40, and 1 where all
    levels see the class"""
    data: str = "silhouettes"
    """a set that comes with the packages: silhouettes, mnist, digits, ...; not used where train_uri
    is given"""
    train_uri: str = ""
    """the user's pictures: a folder or s3:// prefix with a folder a class, or with train/<class>,
    val/<class>, test/<class>"""
    val_uri: str = ""
    """held-out pictures, as train_uri; empty: val beside train, else a tenth of each class, by the
    seed"""
    classes: list[str | int] | None = None
    """classes to learn, in the order of their numbers; null: all"""
    image_size: int = 0
    """height and width that pictures are brought to; 0: as they are"""
    channels: int = 0
    """1 grey, 3 colour; 0: as they are"""
    cache_dir: str = ""
    """where decoded pictures are kept between runs; empty: the user's cache folder"""
    max_bad: int = 10
    """unreadable pictures that are skipped before the run ends"""
    flip: bool | None = None
    """mirror half of the pictures in training, and look at both sides to classify; null: of
    silhouettes"""
    rotation: float = 0.0
    """augmentation: degrees, at most, to either side"""
    zoom: float = 0.0
    """augmentation: largest change of size, 0.1 for a tenth"""
    shear: float = 0.0
    """augmentation: degrees, at most"""
    shift: float = 0.0
    """augmentation: share of the sides, at most"""
    bits: int = 3
    """of a pixel, 1 to 8"""
    architecture: str = "glow"
    """glow, realnvp_image, or flat_realnvp (dense, for comparison)"""
    levels: int = 0
    """resolutions, each half the one before; 0: three, of pictures of less than 16 pixels two"""
    depth: int = 4
    """steps at each resolution"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the convolutions of each coupling"""
    activation: str = "relu"
    """relu, silu, tanh or gelu"""
    squeeze: str = "space"
    """space, or haar (wavelets)"""
    multiscale: bool = True
    """half of the channels leave after each resolution"""
    conditioned: int = 1
    """conditional: how many levels see the class, the coarsest ones; 0: all, which takes a pass of
    the network a class"""
    margin: float = 4.0
    """log p(x | class) is divided by it in the loss of p(class | x): larger ones ask for wider
    margins"""
    passes: int = 40
    """over the training pictures at most: small sets take fewer steps"""
    unconditional: bool = True
    """train the same network without classes too, to compare bits per dimension"""
    temperature: float = 0.8
    """of the samples in the figures"""


PRESETS = {
    "smoke": {
        "data": "digits",
        "steps": 150,
        "batch_size": 64,
        "depth": 2,
        "hidden": (24, 24),
        "learning_rate": 5e-3,
        "ema": 0.98,
        "epoch_steps": 15,
        "unconditional": False,
    },
    "default": {
        "steps": 3200,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "ema": 0.995,
        "epoch_steps": 200,
    },
    "full": {
        "steps": 20_000,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "depth": 8,
        "hidden": (96, 96),
        "ema": 0.999,
        "epoch_steps": 400,
        "passes": 200,
        "compare": True,
    },
}

TABLE = "Generative classifiers and baselines, on the same test pictures"
MIRRORED = ("silhouettes", "photo_patches")  # sets whose classes do not know left from right
BETA = 40.0
BETAS = (1.0, 10.0, 100.0, 1000.0)  # of the study
SMALL = 16  # pixels, up to which two levels do


def check(config: Config) -> None:
    """Refuses settings before anything is read."""
    config.check()
    refuse(
        (
            not 0 < config.temperature < math.inf,
            f"temperature is {config.temperature}, must be above 0",
        ),
        (not 0 < config.margin < math.inf, f"margin is {config.margin}, must be above 0"),
        (config.passes < 1, f"passes is {config.passes}, must be at least 1"),
        (config.levels < 0, f"levels is {config.levels}, must be at least 0"),
        (config.max_bad < 0, f"max_bad is {config.max_bad}, must be at least 0"),
        (
            config.classes is not None and len(config.classes) < 2,
            "a classifier needs two classes: give more, or null for all",
        ),
    )


def mirrored(config: Config) -> bool:
    """Whether a mirror image is of the same class: what the command line says, else what is known
    of the set."""
    return (
        config.flip if config.flip is not None else not config.train_uri and config.data in MIRRORED
    )


def load_data(config: Config):
    """The pictures as a classification problem, a class left out and labels taken off where that is
    asked for."""
    from flow_models.core.startup import load_tensorflow

    load_tensorflow()
    from flow_models.applications.classes import class_pictures
    from flow_models.data.images import sets as image_sets

    config = dataclasses.replace(config, flip=mirrored(config))
    image_sets.refuse_unknown_classes(config)
    data = image_sets.open_known(config, labelled=True)
    problem = class_pictures.picture_problem(data, image_sets.changes(config), config.seed)
    problem = problem.leaving_out(config.unknown) if config.unknown else problem
    return problem.with_labels(config.labelled, config.seed) if config.labelled else problem


def event_of(config: Config, problem):
    """What a picture is, and the options of the network for it."""
    from flow_models.architectures import images as image_architectures

    shape = problem.train.x.shape[1:]
    levels = config.levels or (2 if min(shape[:2]) < SMALL else 3)
    event = image_architectures.event_of(config.architecture, shape, config.bits, levels)
    return event, {**dataclasses.asdict(config), "levels": levels}


def build_model(config: Config, problem, form: str):
    from flow_models.models.class_model import class_model

    event, options = event_of(config, problem)
    options |= {"form": form, "event": event, "classes": problem.classes, "priors": problem.priors}
    return class_model(covariance="diagonal", mirrored=mirrored(config), **options)


def build_unconditional(config: Config, problem) -> fm.FlowModel:
    """The same network without classes."""
    from flow_models.architectures import images as image_architectures

    event, options = event_of(config, problem)
    return fm.FlowModel(
        image_architectures.build(config.architecture, event, **options),
        event=event,
        jit=config.jit,
    )


def fit_settings(config: Config, problem) -> fm.FitSettings:
    """Those of the command line, with no more steps than passes allow; a stream counts by its steps
    alone."""
    most = (
        config.steps
        if problem.stream
        else max(config.passes * len(problem.train) // config.batch_size, 1)
    )
    return dataclasses.replace(config.fit_settings(), steps=min(config.steps, most))


def beta_of(config: Config, form: str) -> float:
    """That of the command line, else maximum likelihood where more takes a pass of the whole
    network a class."""
    if config.beta is not None:
        return config.beta
    of_all = not config.conditioned or config.architecture != "glow"
    return 1.0 if form == "conditional" and of_all else BETA


def judge(model, config: Config, problem, settings):
    """Metrics of the model, of the same network without classes, of other forms and of baselines,
    and their table."""
    from flow_models.applications.classes import class_pictures, class_study

    prepare = lambda form: (build_model(config, problem, form), settings, beta_of(config, form))  # noqa: E731
    metrics, rows = class_study.judge(model, problem, config, prepare, temperature=config.margin)
    if config.unconditional:
        found = class_pictures.compare_unconditional(
            build_unconditional(config, problem), problem, settings
        )
        metrics |= {
            **found,
            "bits_per_dim_ratio": metrics["bits_per_dim"] / found["bits_per_dim_unconditional"],
        }
        rows.append(("no classes", None, None, None, *found.values()))
    return {**metrics, "class_temperature": model.partition.temperature}, rows


def main(config: Config) -> None:
    check(config)
    problem = load_data(config)
    from flow_models import plots
    from flow_models.applications.classes import class_image_figures, class_study
    from flow_models.runs.folder import RunFolder, machine_metrics

    folder, settings = RunFolder(config, "flowmodels3"), fit_settings(config, problem)
    model, beta = build_model(config, problem, config.form), beta_of(config, config.form)
    training = class_study.trainer(
        model,
        problem,
        settings,
        beta,
        temperature=config.margin,
        folder=folder.checkpoints,
        resume=config.resume,
    )
    with folder:
        result = training.run(on_epoch=folder.log_epoch)
        class_study.calibrate(model, problem.validation)
        model.save(folder.model)
        metrics, rows = judge(model, config, problem, settings)
        rows[0] = (*rows[0][:-1], result.train_seconds)
        shown = class_image_figures.of_classifier(
            model, problem, result.history, config.temperature, metrics
        )
        figures = [(folder.write_figure(name, figure), caption) for name, figure, caption in shown]
        tables = [(TABLE, class_study.table_columns(problem), rows)]
        build = lambda _: build_model(config, problem, config.form)  # noqa: E731
        for name, curve, label, table in class_study.studies(
            problem, config, build, settings, beta, BETAS, temperature=config.margin
        ):
            figures.append((folder.write_figure(name, plots.curve(curve, label)), table[0]))
            tables.append(table)
        folder.finish(
            result.history,
            {**metrics, **result.metrics(), **machine_metrics()},
            "Generative classification:"
            f" {os.path.basename((config.train_uri or config.data).rstrip('/'))}",
            problem.source,
            figures,
            tables,
        )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
