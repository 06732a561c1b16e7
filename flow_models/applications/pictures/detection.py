"""Anomaly detection in pictures, application 2: known and foreign sets, detector and its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from flow_models.applications.application import Results, Run, Training
from flow_models.applications.pictures import figures, measured, on_features, sets, strange
from flow_models.core.errors import UserError
from flow_models.data.images.background import background_pictures
from flow_models.data.images.dataset import ImageData
from flow_models.diagnostics import anomaly, baselines, codes, detection, normality, scored
from flow_models.models.detector import Detector
from flow_models.models.pixels import Pixels
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import fit

KNOWN, NEAR, FAR = "known", "near", "far"  # the sets; a far one inside a package has its own name
MIN_HELD_OUT = 4  # of the known classes, so that there is something to score
BACKGROUND_SEEDS = 10**6  # between those of training and held-out background pictures


@dataclasses.dataclass(frozen=True)
class Problem:
    """Known pictures in parts, and the held-out sets that are scored: known, near and far ones.

    Attributes:
      pixels: what a picture is to the network.
      levels: resolutions of the network.
      files: the names of each set's pictures, empty where they are no files.
    """

    known: ImageData
    pixels: Pixels
    levels: int
    sets: dict[str, np.ndarray]
    labels: dict[str, list[str]]
    files: dict[str, Sequence[str]]
    features: on_features.OnFeatures | None = None
    """where a network stands in front: its maps are learned"""

    @property
    def codec(self):
        """Of the model."""
        return self.features.codec if self.features else self.pixels

    @property
    def name(self) -> str:
        return ", ".join(self.known.classes)

    @property
    def source(self) -> str:
        if self.features:
            return f"{self.known.source}; features of {self.features.codec.network}"
        return sets.stated(self.known.source, self.pixels)

    @property
    def train(self):
        return self.features.train if self.features else self.known.train

    @property
    def validation(self) -> np.ndarray:
        return self.features.validation if self.features else self.known.validation

    def names(self) -> dict[str, Sequence[str]]:
        """A name for each picture of each set, for the CSV."""
        return {
            name: self.files[name]
            or [f"{name}/{number:05d}" for number in range(1, len(images) + 1)]
            for name, images in self.sets.items()
        }


def load(config) -> Problem:
    """A set inside a package or the user's own pictures, and what is foreign to them.

    Raises:
      UserError: too few pictures of the known classes, or more levels than they have room for.
    """
    pictures, network = config.pictures, config.network
    measured.check(config)
    known = sets.open_known(pictures, config.fit)
    number = len(known.held_out[0])
    if number < MIN_HELD_OUT:
        raise UserError(
            f"{number} held-out pictures of the known classes, {MIN_HELD_OUT} are needed: give"
            " more, or --val-uri"
        )
    levels = network.levels_of(known.shape)
    pixels = sets.pixels(config, known, levels)
    found: dict[str, sets.Labelled | None] = {
        KNOWN: sets.known_held_out(known),
        NEAR: sets.other_classes(pictures, known),
    }
    found |= {name: sets.embedded(name, known.shape) for name in config.far}
    if config.anomaly_uri:
        found[FAR] = sets.from_uri(config.anomaly_uri, known, pictures.max_bad)
    sets.tell_skipped(known.skipped)
    there = {name: pair for name, pair in found.items() if pair is not None}
    images = {name: found.images for name, found in there.items()}
    labels = {name: found.labels for name, found in there.items()}
    files = {name: found.names for name, found in there.items()}
    maps = on_features.measured(config, known, pixels) if config.features else None
    return Problem(known, pixels, levels, images, labels, files, maps)


def flow(config, problem: Problem):
    """The network: of pixels, or of the features of another."""
    if problem.features:
        return on_features.flow(config, problem.features.codec)
    from flow_models import architectures

    options = {**dataclasses.asdict(config.network), "levels": problem.levels}
    options["seed"] = config.fit.seed
    return architectures.build_image(options.pop("architecture"), problem.pixels, **options)


def training(config, problem: Problem, model) -> Training:
    """Of the known pictures."""
    return Training(problem.train, problem.validation, fit_settings(config))


def fit_settings(config) -> FitSettings:
    """How the model is trained: a background model, if there will be one, shares its minutes."""
    steps, others = config.fit.steps, _background_steps(config)
    minutes = config.fit.minutes * steps / (steps + others)
    return dataclasses.replace(config.fit, minutes=minutes)


def _background_steps(config) -> int:
    """Of the background model; 0: there is none."""
    if config.background == "none" or config.features:
        return 0
    return config.background_steps or max(config.fit.steps // 2, 1)


def evaluate(run: Run) -> Results:
    """Trains the background model, scores all sets, and writes detector and scores.csv."""
    problem, config = run.problem, run.config
    detector = Detector(
        run.model, background_of(run, f"{run.folder.checkpoints}-background")
    ).remembering(problem.known.examples)
    detector = detector.knowing(problem.known.validation)
    detector.save(str(run.folder))
    known, several = problem.sets[KNOWN], len(problem.sets) > 1
    of_baselines = baselines.PictureBaselines(problem.known.examples)
    scores = scored.score_sets(detector, of_baselines, problem.sets)
    metrics = {"nll_val": min(run.history["val_objective"])}
    metrics |= {} if problem.features else _likelihood(run.model, known)
    if several:
        metrics |= detection.table(scores, KNOWN, resamples=config.resamples)
    if len(known) >= normality.LEAST:
        metrics |= normality.latent_normality(run.model.encode(known))
    if problem.known.skipped.examples:
        run.folder.write_text("skipped.csv", sets.skipped_csv(problem.known.skipped))
    run.folder.write_text("scores.csv", scored.scores_csv(scores, problem.names(), problem.labels))
    shown = (
        figures.of_features(run.model, problem.known, known, run.history, problem.sets)
        if problem.features
        else figures.of_model(
            run.model, problem.known, known, run.history, config.sampling_temperature
        )
    )
    if several:
        shown += figures.of_detector(
            run.model,
            problem.known,
            problem.sets,
            problem.labels,
            scores,
            KNOWN,
            _ranking(config, scores),
            problem.files,
        )
    of_samples, table, alike = _measured(run)
    of_strange, maps, summary = _strange(run, detector, scores, metrics)
    tables = [scored.detection_table(scores, metrics, KNOWN)] if several else []
    return Results(
        {**metrics, **of_strange, **of_samples},
        [*tables, *table],
        [*maps, *shown, *alike],
        f"{problem.source}.\n{summary}",
    )


def _strange(run: Run, detector: Detector, scores, metrics):
    """How well planted defects are found, the strangest pictures with their maps, and what all of
    it says in a sentence."""
    problem, by = run.problem, _ranking(run.config, scores)
    figure, arrays = strange.of_maps(detector, problem.sets, problem.names(), scores, KNOWN, by)
    run.folder.write_bytes("strange_maps.npz", arrays)
    found = strange.found_defects(detector, problem.sets[KNOWN])
    learned = f"{problem.known.rows:,} pictures of {problem.name}"
    return found, figure, strange.sentence({**metrics, **found}, scores, KNOWN, by, learned)


def _ranking(config, scores) -> str:
    """The score that ranks pictures: features have not all."""
    return config.score if config.score in scores else anomaly.best(scores)


def _measured(run: Run):
    """Samples beside all pictures that the weights were not fitted to; none of features."""
    known = run.problem.known
    if run.problem.features:
        return {}, [], []
    parts = [known.validation] if known.test is None else [known.validation, known.test]
    return measured.measure(run, known.examples, known.example_labels, np.concatenate(parts))


def _likelihood(model, known) -> dict[str, float]:
    """Held-out bits per dimension, beside those of a general code."""
    bits = model.bits_per_dim(known).astype(np.float64)
    code = codes.code_length(known, model.codec.bits).mean() / model.event_size
    return {
        "bits_per_dim": bits.mean(),
        "bits_per_dim_se": bits.std() / len(bits) ** 0.5,
        "code_bits_per_dim": code,
    }


def background_of(run: Run, folder: str | None):
    """A model like the run's, of changed pictures: what the likelihood ratio divides by.

    folder: of its checkpoints.
    """
    config, problem, known = run.config, run.problem, run.problem.known
    if not _background_steps(config):
        return None
    kind, bits, seed = (config.background, config.mutation), problem.pixels.bits, config.fit.seed
    changed = background_pictures(known.examples, *kind, seed=seed, bits=bits)
    held_out = background_pictures(
        known.validation, *kind, seed=seed + BACKGROUND_SEEDS, bits=bits, copies=1
    )
    settings = fit_settings(config).part(_background_steps(config))
    model = run.application.prepared(config, run.problem)[0]
    fit(
        model, changed, held_out, settings, folder=folder, resume=config.run.resume and bool(folder)
    )
    return model
