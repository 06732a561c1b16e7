"""Application 2, image generation and anomaly detection: learn pictures, draw new ones, tell which
do not belong.

    python train_flowmodels2.py                              # silhouettes of cats, against other animals and digits
    python train_flowmodels2.py --classes '[zebra]'          # whose likelihood takes simpler pictures for known
    python train_flowmodels2.py --train-uri s3://bucket/parts --classes '[good]' --image-size 32
    python train_flowmodels2.py --preset smoke               # to see it run

The classes named are what is known; the other classes are near anomalies, the sets of --anomalies
or --anomaly-uri far ones. Expect an AUROC of at least 0.95 on digits from complexity and
likelihood_ratio; doc/anomaly_scores.md has measured values and says what the scores are.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

import flow_models as fm
from flow_models.data.images.image_data import ImageData
from flow_models.runs.config import RunConfig, run

KNOWN, NEAR, FAR = "known", "near", "far"  # the sets; a far one that is embedded has its own name


@dataclasses.dataclass(frozen=True)
class Config(RunConfig):
    """Settings of application 2."""

    data: str = "silhouettes"
    """a set that comes with the packages; not used where train_uri is given"""
    train_uri: str = ""
    """the user's pictures: a folder or s3:// prefix with a folder a class, PNG or JPEG"""
    val_uri: str = ""
    """held-out pictures, as train_uri; empty: val beside train, else a tenth of each class, by the
    seed"""
    classes: list[str | int] | None = dataclasses.field(default_factory=lambda: ["cat"])
    """what is known; the other classes are near anomalies. null: all classes are known"""
    anomalies: list[str] = dataclasses.field(default_factory=lambda: ["mnist"])
    """sets that come with the packages, as far anomalies"""
    anomaly_uri: str = ""
    """a folder or s3:// prefix of far anomalies"""
    image_size: int = 0
    """height and width that pictures are brought to; 0: as they are"""
    channels: int = 0
    """1 grey, 3 colour; 0: as they are"""
    cache_dir: str = ""
    """where decoded pictures are kept between runs; empty: the user's cache folder"""
    max_bad: int = 10
    """unreadable pictures that are skipped before the run ends"""
    flip: bool = True
    """augmentation: mirror half of the pictures"""
    rotation: float = 0.0
    """augmentation: degrees, at most, to either side"""
    zoom: float = 0.0
    """augmentation: largest change of size, 0.1 for a tenth"""
    shear: float = 0.0
    """augmentation: degrees, at most"""
    shift: float = 0.0
    """augmentation: share of the sides, at most"""
    bits: int = 3
    """of a pixel, 1 to 8; silhouettes are almost black and white"""
    architecture: str = "glow"
    """glow, realnvp_image, or flat_realnvp (dense, for comparison)"""
    levels: int = 3
    """resolutions, each half the one before"""
    depth: int = 8
    """steps at each resolution"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the convolutions of each coupling"""
    activation: str = "relu"
    """relu, silu, tanh or gelu"""
    squeeze: str = "space"
    """space, or haar (wavelets)"""
    mixing: str = "lu"
    """of the channels: lu, householder or shuffle"""
    coupling: str = "affine"
    """affine or additive"""
    multiscale: bool = True
    """half of the channels leave after each resolution"""
    dequantisation: str = "uniform"
    """uniform or variational"""
    logit: float = 0.0
    """a of the logit that pixels go through; 0: none"""
    reversible: str = "auto"
    """yes: train by inversion, in memory that does not grow with depth; no; auto: by depth"""
    temperature: float = 1.0
    """of the samples that are compared with the training pictures"""
    background: str = "distorted"
    """what the background model of the likelihood ratio learns: the known pictures distorted,
    mutated, or none"""
    mutation: float = 0.2
    """share of pixels drawn anew in mutated pictures"""
    background_steps: int = 0
    """steps of the background model's training; 0: half of steps"""
    score: str = "likelihood_ratio"
    """what the anomalies of the report are ranked by: nll, typicality, complexity, likelihood_ratio
    or latent_norm"""
    resamples: int = 1000
    """bootstrap draws of the intervals"""


PRESETS = {
    "smoke": {
        "steps": 150,
        "batch_size": 32,
        "levels": 2,
        "depth": 2,
        "hidden": (24, 24),
        "learning_rate": 2e-3,
        "resamples": 200,
    },
    "default": {"steps": 2500, "batch_size": 32, "learning_rate": 3e-3, "ema": 0.995},
    "full": {
        "steps": 30_000,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "depth": 16,
        "hidden": (128, 128),
        "ema": 0.999,
    },
}

MIN_HELD_OUT = 4  # of the known classes, so that there is something to score


@dataclasses.dataclass(frozen=True)
class Data:
    """Known pictures in parts, and the held-out sets that are scored: the known one, near and far
    ones."""

    known: ImageData
    sets: dict[str, np.ndarray]
    labels: dict[str, list[str]]

    def names(self) -> dict[str, list[str]]:
        """A name for each picture of each set, for the CSV."""
        return {
            name: [f"{name}/{number:05d}" for number in range(1, len(images) + 1)]
            for name, images in self.sets.items()
        }


def check(config: Config) -> None:
    """Refuses settings of the scores that cannot be, before anything else is done."""
    from flow_models.diagnostics.anomaly import BACKGROUNDS, SCORES

    ratio = config.score == "likelihood_ratio" and config.background == "none"
    own = (config.train_uri or config.data) in config.anomalies
    for wrong, message in (
        (
            config.background not in BACKGROUNDS,
            f"background is {config.background!r}, must be one of {', '.join(BACKGROUNDS)}",
        ),
        (not 0 <= config.mutation <= 1, f"mutation is {config.mutation}, must be between 0 and 1"),
        (
            config.score not in SCORES,
            f"score is {config.score!r}, must be one of {', '.join(SCORES)}",
        ),
        (
            ratio,
            "the score likelihood_ratio needs a background: choose another score, or a background",
        ),
        (config.resamples < 1, f"resamples is {config.resamples}, must be at least 1"),
        (
            not 0 < config.temperature < math.inf,
            f"temperature is {config.temperature}, must be above 0",
        ),
        (
            config.background_steps < 0,
            f"background_steps is {config.background_steps}, must be at least 0",
        ),
        (config.levels < 1, f"levels is {config.levels}, must be at least 1"),
        (config.max_bad < 0, f"max_bad is {config.max_bad}, must be at least 0"),
        (
            config.classes == [],
            "classes is empty: name what is known, or give null for all classes",
        ),
        (
            own,
            (
                f"anomalies are sets that are foreign, {config.data} is what is learned: its other"
                " classes are near anomalies"
            ),
        ),
    ):
        if wrong:
            raise fm.UserError(message)


def load_data(config: Config) -> Data:
    """An embedded set or the user's own pictures, and what is foreign to them."""
    from flow_models.data.images import sets as image_sets

    known = image_sets.open_known(config)
    number = len(known.held_out[0])
    if number < MIN_HELD_OUT:
        raise fm.UserError(
            f"{number} held-out pictures of the known classes, {MIN_HELD_OUT} are needed: give"
            " more, or --val-uri"
        )
    found = {KNOWN: image_sets.known_held_out(known), NEAR: image_sets.other_classes(config, known)}
    found |= {name: image_sets.embedded(name, known.shape) for name in config.anomalies}
    if config.anomaly_uri:
        found[FAR] = image_sets.from_uri(config.anomaly_uri, known.shape, config.max_bad)
    found = {name: pair for name, pair in found.items() if pair is not None}
    return Data(
        known,
        {name: images for name, (images, _) in found.items()},
        {name: labels for name, (_, labels) in found.items()},
    )


def build_model(config: Config, data: Data) -> fm.FlowModel:
    from flow_models.architectures import images as image_architectures

    event = image_architectures.event_of(
        config.architecture, data.known.shape, config.bits, config.levels
    )
    bijector = image_architectures.build(config.architecture, event, **dataclasses.asdict(config))
    return fm.FlowModel(bijector, event=event, jit=config.jit)


def train_background(config: Config, data: Data, folder) -> fm.FlowModel | None:
    """A like model of pictures that have lost what makes them these pictures: what the likelihood
    ratio is to."""
    from flow_models.data.images.background import background_pictures

    if config.background == "none":
        return None
    options = (config.background, config.mutation)
    pictures = background_pictures(
        data.known.examples, *options, seed=config.seed, bits=config.bits
    )
    held_out = background_pictures(
        data.known.validation, *options, seed=config.seed + 10**6, bits=config.bits, copies=1
    )
    settings = dataclasses.replace(
        config.fit_settings(), steps=config.background_steps or max(config.steps // 2, 1)
    )
    model = build_model(config, data)
    fm.fit(
        model,
        pictures,
        held_out,
        settings,
        folder=folder.checkpoints + "-background",
        resume=config.resume,
    )
    return model


def evaluate(detector: fm.Detector, data: Data, config: Config) -> tuple[dict[str, float], dict]:
    """Held-out bits per dimension, how normal the latents are, and how well each score finds each
    foreign set."""
    from flow_models.diagnostics import baselines, codes, detection, normality, scored

    model, known = detector.model, data.sets[KNOWN]
    bits = model.bits_per_dim(known).astype(np.float64)
    metrics = {
        "bits_per_dim": bits.mean(),
        "bits_per_dim_se": bits.std() / len(bits) ** 0.5,
        "code_bits_per_dim": codes.code_length(known, config.bits).mean() / model.event_size,
    }
    scores = scored.score_sets(detector, baselines.PictureBaselines(data.known.examples), data.sets)
    if len(data.sets) > 1:
        metrics |= detection.table(scores, KNOWN, resamples=config.resamples)
    if len(known) >= normality.LEAST:
        metrics |= normality.latent_normality(model.encode(known))
    return metrics, scores


def show(
    folder, detector: fm.Detector, data: Data, config: Config, history: dict, scores: dict
) -> list[tuple[str, str]]:
    """The figures of the report with their captions."""
    from flow_models.applications import image_figures

    figures = image_figures.of_model(
        detector.model, data.known, data.sets[KNOWN], history, config.temperature
    )
    if len(data.sets) > 1:
        figures += image_figures.of_detector(
            detector.model, data.known, data.sets, data.labels, scores, KNOWN, config.score
        )
    return [(folder.write_figure(name, figure), caption) for name, figure, caption in figures]


def main(config: Config) -> None:
    from flow_models.diagnostics import scored
    from flow_models.runs.folder import RunFolder, machine_metrics

    check(config)
    data = load_data(config)
    folder = RunFolder(config, "flowmodels2")
    model = build_model(config, data)
    trainer = fm.Trainer(
        model,
        data.known.train,
        data.known.validation,
        config.fit_settings(),
        folder=folder.checkpoints,
        resume=config.resume,
    )
    with folder:
        result = trainer.run(on_epoch=folder.log_epoch)
        model.save(folder.model)
        detector = fm.Detector(model, train_background(config, data, folder)).knowing(
            data.known.validation
        )
        detector.save(str(folder))
        metrics, scores = evaluate(detector, data, config)
        folder.write_text("scores.csv", scored.scores_csv(scores, data.names(), data.labels))
        tables = [scored.detection_table(scores, metrics, KNOWN)] if len(data.sets) > 1 else []
        metrics = {
            "nll_val": min(result.history["val_objective"]),
            **metrics,
            **result.metrics(),
            **machine_metrics(),
        }
        folder.finish(
            result.history,
            metrics,
            f"Pictures: {', '.join(data.known.classes)}",
            data.known.source,
            show(folder, detector, data, config, result.history, scores),
            tables,
        )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
