"""Anomaly scores of images; a higher score is stranger.

Plain likelihood fails here: a flow assigns simple images a high density, foreign ones too (Do deep
generative models know what they don't know?, Nalisnick et al. 2018), so -log p ranks digits below
cats. `complexity` and `likelihood_ratio` subtract what any image of the same simplicity would get.
`typicality` and `latent_norm` ask whether an image is as probable as known images are. `combined`
also asks how far it is from the nearest of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import scipy.stats

from flow_models.core.errors import UserError

# in the order of reports
BEST = ("combined", "likelihood_ratio", "nll")  # the first of them that there is
SCORES = ("nll", "typicality", "complexity", "likelihood_ratio", "latent_norm", "combined")
BACKGROUNDS = ("distorted", "mutated", "none")  # training images of the background model


def typicality(nll: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """|nll - mean(reference)|, [B] nats: distance from the entropy, the mean nll of known images.

    `reference` [R] is the nll of known images that the model was not fitted to. The paper takes
    training images; it has so many that the model does not remember them (Detecting
    out-of-distribution inputs to deep generative models using typicality, Nalisnick et al. 2019;
    here with batches of one image).

    Raises:
      UserError: no finite value in `reference`.
    """
    nll, reference = np.asarray(nll, np.float64), np.asarray(reference, np.float64)
    known = reference[np.isfinite(reference)]
    if not known.size:
        raise UserError(
            "typicality needs the nll of known pictures, of which at least one is finite"
        )
    return np.abs(nll - known.mean())


def complexity(nll: np.ndarray, code_bits: np.ndarray) -> np.ndarray:
    """nll / ln 2 - code_bits, [B] bits: what the model needs beyond a general lossless code.

    This is the likelihood ratio of the model and a universal model (Input complexity and
    out-of-distribution detection with likelihood-based generative models, Serra et al. 2020, eq.
    3). `code_bits` [B] comes from `codes.code_length`.
    """
    return np.asarray(nll, np.float64) / math.log(2.0) - np.asarray(code_bits, np.float64)


def likelihood_ratio(nll: np.ndarray, background_nll: np.ndarray) -> np.ndarray:
    """nll - background_nll = log(p_background / p), [B] nats.

    The background is the same kind of model trained on `mutated` images, so the ratio removes what
    both find foreign (Likelihood ratios for out-of-distribution detection, Ren et al. 2019). The
    score is inf where both rule an image out.
    """
    with np.errstate(invalid="ignore"):
        ratio = np.asarray(nll, np.float64) - np.asarray(background_nll, np.float64)
    return np.where(np.isnan(ratio), np.inf, ratio)


def latent_norm(z: np.ndarray) -> np.ndarray:
    """abs(|z|^2 - N) / sqrt(2 N) of latents z [B, N]: the distance of |z|^2 from its mean under
    N(0, I), in its standard deviations.

    Raises:
      UserError: z is not [B, N].
    """
    z = np.asarray(z, np.float64)
    if z.ndim != 2 or z.shape[1] < 1:
        raise UserError(f"latents must be [B, N], got {z.shape}")
    return np.abs(np.square(z).sum(1) - z.shape[1]) / math.sqrt(2.0 * z.shape[1])


def best(names: Collection[str]) -> str:
    """The score that tells best, of those there are (`make bench-anomalies`)."""
    return next(name for name in (*BEST, *names) if name in names)


def combined(parts: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> np.ndarray:
    """How unusual some scores [B] are together, [B] nats: the statistic of Fisher's method
    (Statistical methods for research workers, Fisher 1925).

        sum over parts of -log(1 - Phi((score - mean) / sd))

    Mean and standard deviation are those of `reference` [R], scores of known images that no model
    was fitted to; Phi is the normal distribution function, so the strangest of many are told apart.
    """
    total = np.zeros(())
    for name, score in parts.items():
        known = reference[name][np.isfinite(reference[name])]
        z = (np.asarray(score, np.float64) - known.mean()) / max(float(known.std()), 1e-12)
        total = total - scipy.stats.norm.logsf(z)
    return total


def mutated(images: np.ndarray, rate: float, seed: int = 0, bits: int = 8) -> np.ndarray:
    """Copies of images uint8 [n, H, W, C] with each pixel redrawn uniformly with probability
    `rate`.

    The redraws destroy what makes a cat a cat and leave the black around it (Ren et al. 2019,
    section 3, with rates of 0.1 to 0.3). A redrawn value is one of the 2^bits values of that bit
    depth.

    Raises:
      UserError: images of another type or shape, or a rate outside [0, 1].
    """
    images = pixels(images)
    if not 0.0 <= rate <= 1.0:
        raise UserError(f"the rate of mutation is {rate}, must be between 0 and 1")
    rng = np.random.default_rng((seed, 0))
    drawn = rng.integers(0, 2**bits, images.shape) * (255 / (2**bits - 1))
    return np.where(rng.random(images.shape) < rate, np.round(drawn).astype(np.uint8), images)


def pixels(images: np.ndarray) -> np.ndarray:
    """The images, checked to be uint8 [B, H, W, C]. Raises UserError if they are not."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"images must be uint8 [B, H, W, C], got {images.dtype} {list(images.shape)}"
        )
    return images
