"""How strange a picture is: scores of arrays, all higher for stranger.

A flow likes simple pictures, foreign ones too, more than those it was trained on (Do deep
generative models know what they don't know?, Nalisnick et al. 2018): -log p alone ranks digits
below cats. `complexity` and `likelihood_ratio` take off what every picture of this simplicity would
get; `typicality` and `latent_norm` ask whether a picture is as (im)probable as the known ones are.
"""

from __future__ import annotations

import math

import numpy as np

from flow_models.core.errors import UserError

SCORES = (
    "nll",
    "typicality",
    "complexity",
    "likelihood_ratio",
    "latent_norm",
)  # in the order of reports
BACKGROUNDS = ("distorted", "mutated", "none")  # what the background model of a ratio may learn


def typicality(nll: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|nll - mean(reference)|, [B] nats: distance from the entropy, which known pictures have on
    average.

    `reference` [R] is the nll of known pictures that the model was not fitted to; those of the
    paper are the training pictures, of which it has so many that they are not remembered (Detecting
    out-of-distribution inputs to deep generative models using typicality, Nalisnick et al. 2019;
    here with batches of one picture).
    """
    nll, reference = np.asarray(nll, np.float64), np.asarray(reference, np.float64)
    known = reference[np.isfinite(reference)]
    if not known.size:
        raise UserError(
            "typicality needs the nll of known pictures, of which at least one is finite"
        )
    return np.abs(nll - known.mean())


def complexity(nll: np.ndarray, code_bits: np.ndarray) -> np.ndarray:
    """nll / ln 2 - code_bits, [B] bits: how much more the model needs for a picture than a general
    code does.

    The ratio of the model's likelihood to that of a universal one (Input complexity and
    out-of-distribution detection with likelihood-based generative models, Serra et al. 2020, eq.
    3). `code_bits` [B] is from `codes.code_length`.
    """
    return np.asarray(nll, np.float64) / math.log(2.0) - np.asarray(code_bits, np.float64)


def likelihood_ratio(nll: np.ndarray, background_nll: np.ndarray) -> np.ndarray:
    """nll - background_nll = log(p_background / p), [B] nats: what is foreign to the model beyond
    being foreign at all.

    The background is a like model trained on `mutated` pictures (Likelihood ratios for
    out-of-distribution detection, Ren et al. 2019). Where both rule a picture out, it is as strange
    as can be.
    """
    with np.errstate(invalid="ignore"):
        ratio = np.asarray(nll, np.float64) - np.asarray(background_nll, np.float64)
    return np.where(np.isnan(ratio), np.inf, ratio)


def latent_norm(z: np.ndarray) -> np.ndarray:
    """abs(|z|^2 - N) / sqrt(2 N) of latents z [B, N]: from the shell of N(0, I), in its standard
    deviations."""
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or z.shape[1] < 1:
        raise UserError(f"latents must be [B, N], got {z.shape}")
    return np.abs(np.square(z).sum(1) - z.shape[1]) / math.sqrt(2.0 * z.shape[1])


def mutated(images: np.ndarray, rate: float, seed: int = 0, bits: int = 8) -> np.ndarray:
    """Copies of images uint8 [n, H, W, C] in which each pixel was, with probability `rate`, drawn
    anew, uniformly.

    What makes a cat a cat is gone, the black around it is left (Ren et al. 2019, section 3; there
    rates are 0.1 to 0.3). A value that is drawn is one of the 2^bits that a picture of that depth
    can have.
    """
    images = pixels(images)
    if not 0.0 <= rate <= 1.0:
        raise UserError(f"the rate of mutation is {rate}, must be between 0 and 1")
    rng = np.random.default_rng((seed, 0))
    drawn = rng.integers(0, 2**bits, images.shape) * (255 / (2**bits - 1))
    return np.where(rng.random(images.shape) < rate, np.round(drawn).astype(np.uint8), images)


def pixels(images: np.ndarray) -> np.ndarray:
    """Images as uint8 [B, H, W, C].

    Raises:
      UserError: something else.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"images must be uint8 [B, H, W, C], got {images.dtype} {list(images.shape)}"
        )
    return images
