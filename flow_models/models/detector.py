"""A model of images as a detector: all its scores, and what it remembers of known pictures to judge
them by."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from flow_models.core import archive, storage
from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.diagnostics import anomaly, codes, maps
from flow_models.diagnostics.nearness import distance_to_nearest
from flow_models.models.arguments import generator
from flow_models.models.feature_maps import FeatureMaps, strangeness
from flow_models.models.loading import load
from flow_models.models.model import Model
from flow_models.models.pixels import Pixels

# of the noise in the pixels, over which -log p is averaged: one draw alone moves it by 11 nats for
# a silhouette
DRAWS = 4
KNOWN, NUMBERS = 1000, 2**24  # known pictures that are kept for maps, and numbers in them, at most
SAMPLES = 256  # of the model, that stand for known pictures


@dataclasses.dataclass(frozen=True)
class Detector:
    """Scores of images uint8 [B, H, W, C], all higher for stranger, see
    `flow_models.diagnostics.anomaly`.

    Attributes:
      model: of the known pictures.
      background: a like model of mutated pictures, or None: no `likelihood_ratio` then.
      reference: {score: [R]} of known pictures that neither model was fitted to; empty: no
        `typicality`, no `tails`, no `combined`.
      known: pictures uint8 [K, H, W, C] that `maps` and `combined` compare with; None: samples of
        the model in maps, no `combined`.

    Example:
      >>> detector = load_detector("runs/flowmodels2/latest")
      >>> scores = detector.scores(images)
      >>> strange = detector.tails(scores)["likelihood_ratio"] < 0.05
    """

    model: Model
    background: Model | None = None
    reference: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    known: np.ndarray | None = None

    def scores(
        self, images: np.ndarray, seed: int = 0, code_bits: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """{score: [B]}, as many of `anomaly.SCORES` as there is what they need. code_bits: from
        `codes.code_length`, if known."""
        found = self._judged(self._measured(anomaly.pixels(images), seed, code_bits))
        return {name: found[name] for name in anomaly.SCORES if name in found}

    def _measured(self, images, seed, code_bits=None) -> dict[str, np.ndarray]:
        """The scores that need no reference, and `nearest`, the distance to what is known."""
        nll = self._nll(images, seed)
        found = {
            "nll": nll,
            "latent_norm": anomaly.latent_norm(self.model.encode(images, seed=seed)),
        }
        if self.background is not None:
            found["likelihood_ratio"] = anomaly.likelihood_ratio(
                nll, mean_nll(self.background, images, seed)
            )
        if not isinstance(self.model.codec, FeatureMaps):
            bits = pixels_of(self.model).bits
            code_bits = codes.code_length(images, bits) if code_bits is None else code_bits
            found["complexity"] = anomaly.complexity(nll, code_bits)
            if self.known is not None:
                found["nearest"] = distance_to_nearest(images, self.known)
        return {name: np.where(np.isnan(each), np.inf, each) for name, each in found.items()}

    def _judged(self, measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What was measured, and the scores that compare it with the reference."""
        found, reference = dict(measured), self.reference
        if "nll" in reference:
            found["typicality"] = anomaly.typicality(found["nll"], reference["nll"])
        if "nearest" in measured and "nearest" in reference:
            of_model = "likelihood_ratio" if "likelihood_ratio" in measured else "nll"
            parts = {name: measured[name] for name in (of_model, "nearest")}
            found["combined"] = anomaly.combined(parts, reference)
        return found

    def _nll(self, images, seed):
        """-log p [B]; features have no noise to average over."""
        of_features = isinstance(self.model.codec, FeatureMaps)
        return mean_nll(self.model, images, seed, 1 if of_features else DRAWS)

    def maps(self, images: np.ndarray, seed: int = 0) -> np.ndarray:
        """Where images uint8 [B, H, W, C] are strange: [B, H, W], higher is stranger; see
        `flow_models.diagnostics.maps`. Some 200 evaluations of the model for each image.

        Raises:
          UserError: images of another type or shape.
        """
        images, known = anomaly.pixels(images), self.known
        if images.shape[1:] != self.model.event_shape:
            raise UserError(
                f"images must be {list(self.model.event_shape)} each, got {list(images.shape[1:])}"
            )
        if isinstance(self.model.codec, FeatureMaps):
            return strangeness(self.model, images)
        known = self.model.sample(SAMPLES, seed=seed) if known is None else known
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FlowModelsWarning)  # of patches that do not fit
            log_prob = _equally_noisy(self.model, seed)
            return maps.anomaly_maps(log_prob, images, known)

    def remembering(self, images: np.ndarray) -> Detector:
        """The same detector, whose maps compare with the first of these known images, uint8
        [K, H, W, C]."""
        most = max(1, min(KNOWN, NUMBERS // int(np.prod(images.shape[1:]))))
        return dataclasses.replace(self, known=anomaly.pixels(images[:most]))

    def knowing(self, images: np.ndarray, seed: int = 0) -> Detector:
        """The same detector with these known images uint8 [R, H, W, C], held out of the training,
        as its reference."""
        measured = self._measured(anomaly.pixels(images), seed)
        other = dataclasses.replace(self, reference=measured)
        return dataclasses.replace(self, reference=other._judged(measured))

    def tails(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """For each score [B], the share of known pictures that are at least as strange: (1 + how
        many) / (1 + R).

        Of pictures like the known ones at most a share p has a tail of at most p: flag those below
        0.05 to flag 1 in 20.
        """
        return {
            name: (1 + _at_least(self.reference[name], score)) / (1 + len(self.reference[name]))
            for name, score in scores.items()
            if name in self.reference
        }

    def save(self, folder: str) -> None:
        """Writes reference/ and, where there are some, known/ and background/ into the folder of
        the run; `model.save` writes model/."""
        archive.write(f"{folder}/reference", "reference", self.reference, {"format": 1})
        if self.known is not None:
            archive.write(f"{folder}/known", "known", {"pictures": self.known}, {"format": 1})
        if self.background is not None:
            self.background.save(f"{folder}/background")


def pixels_of(model: Model) -> Pixels:
    """The codec of a model of images.

    Raises:
      UserError: the model is not one of images.
    """
    if not isinstance(model.codec, Pixels):
        raise UserError("this model is of vectors; a detector needs one of images")
    return model.codec


def mean_nll(model: Model, images: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """-log p(x) [B], nats, the mean over `draws` of the noise that makes pixels continuous: nearer
    to the bound on -log P(k)."""
    draws_of = [
        -model.log_prob(images, seed=seed * draws + number).astype(np.float64)
        for number in range(draws)
    ]
    return np.mean(draws_of, 0)


def _equally_noisy(model: Model, seed: int):
    """log p of pictures, with the same noise for all, so that their differences are of pixels."""
    codec = pixels_of(model)
    noise = generator(seed).random(codec.shape, np.float32)
    return lambda images: model.log_prob(codec.with_noise(images, noise))


def load_detector(folder: str, jit: bool = True) -> Detector:
    """The detector of a run's folder (a path or s3://); from a model's folder alone, one without
    reference, background and known pictures.

    Raises:
      UserError: there is no model, or it is not one of images.
    """
    folder = str(folder).rstrip("/")
    model = load(folder, jit)
    if len(model.event_shape) != 3:
        raise UserError(f"{folder} holds a model of vectors; a detector needs one of images")
    background = f"{folder}/background"
    there = storage.exists(f"{background}/model.json")
    return Detector(
        model,
        load(background, jit) if there else None,
        _arrays(folder, "reference"),
        _arrays(folder, "known").get("pictures"),
    )


def _arrays(folder: str, part: str) -> dict[str, np.ndarray]:
    """What a part of the run's folder holds; nothing where there is none."""
    place, what = f"{folder}/{part}", f"{part} of a detector"
    if not storage.exists(f"{place}/{part}.json"):
        return {}
    return archive.read_arrays(place, archive.read_header(place, part, what), what)


def _at_least(reference: np.ndarray, score: np.ndarray) -> np.ndarray:
    """How many of the reference are at least as high as each score."""
    return len(reference) - np.searchsorted(np.sort(reference), np.asarray(score), "left")
