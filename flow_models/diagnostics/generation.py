"""Images that a model makes: reconstructed, interpolated, and the known images nearest to a
sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow_models.core.errors import UserError
from flow_models.diagnostics.anomaly import pixels

KINDS = ("linear", "spherical")
BLOCK = 2**24  # values in a block of distances


def pictures(model, z: np.ndarray) -> np.ndarray:
    """Images uint8 [n, H, W, C] of latents [n, N]."""
    return model.codec.samples(model.decode(z))


def regenerated(model, images: np.ndarray, shares: Sequence[float] = (1.0,)) -> list[np.ndarray]:
    """decode(encode(x)) of images uint8 [n, H, W, C], keeping a fraction of the latents, coarsest
    first.

    The other latents are set to 0, their mean. A fraction of 1 gives the images back, at the
    model's bits.

    Raises:
      UserError: a fraction outside [0, 1].
    """
    z = model.encode(images)
    wrong = [share for share in shares if not 0.0 <= share <= 1.0]
    if wrong:
        raise UserError(f"the share of latents to keep is {wrong[0]}, must be between 0 and 1")
    kept = np.arange(model.latent_size)
    return [
        pictures(model, np.where(kept < round(share * model.latent_size), z, 0.0))
        for share in shares
    ]


def interpolated(
    model, first: np.ndarray, last: np.ndarray, steps: int = 8, kind: str = "spherical"
) -> np.ndarray:
    """Images uint8 [n, steps, H, W, C] between `first` and `last`, uint8 [n, H, W, C], through the
    latents."""
    ends = (model.encode(pixels(first)), model.encode(pixels(last)))
    z = between(*ends, np.linspace(0.0, 1.0, steps), kind)
    return pictures(model, z.reshape(-1, model.latent_size)).reshape(
        len(first), steps, *model.event_shape
    )


def path(model, ends, steps: int = 9, kind: str = "spherical", label: str | None = None):
    """Events from the first to the last of two `ends` [2, ...] through the latents: an array
    [steps, ...], or a DataFrame where the columns of a table are of several kinds.

    Classes go on the straight line from that of one end to that of the other, each the most
    probable one, or `label` for both.
    """
    t, y = np.linspace(0.0, 1.0, steps), None
    if model.classes:
        numbers = [model.classes.index(label)] * 2 if label else model.classify(ends).argmax(-1)
        y = np.eye(len(model.classes))[numbers]
    z = model.encode(ends, y)
    z = between(z[:1], z[1:], t, kind)[0]
    return model.decode(z, None if y is None else (1 - t[:, None]) * y[0] + t[:, None] * y[1])


def between(a: np.ndarray, b: np.ndarray, t: np.ndarray, kind: str = "spherical") -> np.ndarray:
    """Points [n, T, N] between rows of a and b [n, N] at fractions t [T].

        linear      (1 - t) a + t b, whose middle is closer to the origin than latents ever are
        spherical   sin((1 - t) w) / sin w a + sin(t w) / sin w b, w the angle between a and b:
                    keeps the length (Sampling generative networks, White 2016)

    Raises:
      UserError: another kind.
    """
    if kind not in KINDS:
        raise UserError(f"no interpolation {kind!r}; there are {', '.join(KINDS)}")
    a, b, t = (
        np.asarray(a, np.float64)[:, None],
        np.asarray(b, np.float64)[:, None],
        np.asarray(t, np.float64)[:, None],
    )
    if kind == "linear":
        return (1 - t) * a + t * b
    lengths = np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = np.clip((a * b).sum(-1, keepdims=True) / np.maximum(lengths, 1e-300), -1.0, 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    straight = sine < 1e-6  # equal or opposite directions: no unique great circle
    sine = np.where(straight, 1.0, sine)
    return np.where(
        straight, (1 - t) * a + t * b, (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / sine
    )


def nearest(images: np.ndarray, training: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [n, k] of the training images nearest to each image, nearest first, and their rms
    distances [n, k].

    Images are uint8 of one size. Mirror images count as well: training with mirroring has seen
    them.

    Raises:
      UserError: images of different sizes, or none to compare with.
    """
    images, training = pixels(images), pixels(training)
    if images.shape[1:] != training.shape[1:] or not len(training):
        raise UserError(
            f"pictures {list(images.shape[1:])} and training pictures {list(training.shape)} do not"
            " compare"
        )
    k = min(k, len(training))
    known = training.reshape(len(training), -1).astype(np.float32)
    numbers, distances = [], []
    for block in np.array_split(images, max(1, len(images) * len(training) // BLOCK)):
        squares = np.minimum(_squares(block, known), _squares(block[:, :, ::-1], known))
        order = np.argsort(squares, 1, kind="stable")[:, :k]
        numbers.append(order)
        distances.append(np.sqrt(np.take_along_axis(squares, order, 1) / known.shape[1]))
    return np.concatenate(numbers), np.concatenate(distances)


def _squares(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Squared distances [n, m], exact while below 2^24 (images of up to 258 values), then rounded
    to float32."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    return np.maximum(
        np.square(rows).sum(1)[:, None] - 2.0 * rows @ known.T + np.square(known).sum(1), 0.0
    )
