"""A model of images as a detector: all its scores, and what it remembers of known pictures to judge
them by."""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models.core import archive, storage
from flow_models.core.errors import UserError
from flow_models.diagnostics import anomaly, codes
from flow_models.models.loading import load
from flow_models.models.model import Model
from flow_models.models.pixels import Pixels

# of the noise in the pixels, over which -log p is averaged: one draw alone moves it by 11 nats for
# a silhouette
DRAWS = 4
PARTS = ("reference", "background")  # folders beside model/


@dataclasses.dataclass(frozen=True)
class Detector:
    """Scores of images uint8 [B, H, W, C], all higher for stranger, see
    `flow_models.diagnostics.anomaly`.

    Attributes:
      model: of the known pictures.
      background: a like model of mutated pictures, or None: no `likelihood_ratio` then.
      reference: {score: [R]} of known pictures that neither model was fitted to; empty: no
        `typicality`, no `tails`.

    Example:
      >>> detector = load_detector("runs/flowmodels2/latest")
      >>> scores = detector.scores(images)
      >>> strange = detector.tails(scores)["likelihood_ratio"] < 0.05
    """

    model: Model
    background: Model | None = None
    reference: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def scores(
        self, images: np.ndarray, seed: int = 0, code_bits: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """{score: [B]}, as many of `anomaly.SCORES` as there is what they need. code_bits: from
        `codes.code_length`, if known."""
        images = anomaly.pixels(images)
        bits = pixels_of(self.model).bits
        code_bits = codes.code_length(images, bits) if code_bits is None else code_bits
        nll = mean_nll(self.model, images, seed)
        found = {
            "nll": nll,
            "complexity": anomaly.complexity(nll, code_bits),
            "latent_norm": anomaly.latent_norm(self.model.encode(images, seed=seed)),
        }
        if "nll" in self.reference:
            found["typicality"] = anomaly.typicality(nll, self.reference["nll"])
        if self.background is not None:
            found["likelihood_ratio"] = anomaly.likelihood_ratio(
                nll, mean_nll(self.background, images, seed)
            )
        return {
            name: np.where(np.isnan(found[name]), np.inf, found[name])
            for name in anomaly.SCORES
            if name in found
        }

    def knowing(self, images: np.ndarray, seed: int = 0) -> Detector:
        """The same detector with these known images uint8 [R, H, W, C], held out of the training,
        as its reference."""
        nll = mean_nll(self.model, anomaly.pixels(images), seed)
        other = dataclasses.replace(self, reference={"nll": nll})
        return dataclasses.replace(self, reference=other.scores(images, seed))

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
        """Writes reference/ and, where there is one, background/ into the folder of the run;
        `model.save` writes model/."""
        archive.write(f"{folder}/reference", "reference", self.reference, {"format": 1})
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


def load_detector(folder: str, jit: bool = True) -> Detector:
    """The detector of a run's folder (a path or s3://); from a model's folder alone, one without
    reference and background.

    Raises:
      UserError: there is no model, or it is not one of images.
    """
    folder = str(folder).rstrip("/")
    model = load(folder, jit)
    if len(model.event_shape) != 3:
        raise UserError(f"{folder} holds a model of vectors; a detector needs one of images")
    there = {
        part: storage.exists(f"{folder}/{part}/{name}.json")
        for part, name in zip(PARTS, ("reference", "model"))
    }
    reference = {}
    if there["reference"]:
        header = archive.read_header(f"{folder}/reference", "reference", "reference of a detector")
        reference = archive.read_arrays(f"{folder}/reference", header, "reference of a detector")
    return Detector(
        model, load(f"{folder}/background", jit) if there["background"] else None, reference
    )


def _at_least(reference: np.ndarray, score: np.ndarray) -> np.ndarray:
    """How many of the reference are at least as high as each score."""
    return len(reference) - np.searchsorted(np.sort(reference), np.asarray(score), "left")
