"""Pictures changed through the latents of a model: along an attribute, with new details, or back to
usual ones. Holes are filled by `inpainting`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flow_models.bijectors.multiscale import MultiScale
from flow_models.core.errors import UserError
from flow_models.models.arguments import generator
from flow_models.models.model import Model
from flow_models.models.pixels import Pixels

SHRINKAGES = 20  # between a picture and the middle of all


def attribute(model: Model, without: np.ndarray, having: np.ndarray) -> np.ndarray:
    """The mean latent [N] of pictures `having` an attribute, minus that of those `without` it.

    Glow: generative flow with invertible 1x1 convolutions (Kingma and Dhariwal 2018, section 6).

    Args:
      without, having: uint8 [n, H, W, C].

    Raises:
      UserError: pictures do not fit the model.
    """
    refuse_others(model)
    return model.encode(having).mean(0) - model.encode(without).mean(0)


def along(
    model: Model, images: np.ndarray, direction: np.ndarray, strengths, label: str | None = None
) -> np.ndarray:
    """Pictures uint8 [n, S, H, W, C] of latents z + s * direction, for strengths s [S].

    Classes, where there are any, stay: `label`, or the most probable one.

    Raises:
      UserError: pictures do not fit the model.
    """
    z, y = latents(model, images, label)
    moved = z[:, None] + np.asarray(strengths)[:, None] * direction
    return _pictures(model, moved, y)


def redrawn(
    model: Model,
    images: np.ndarray,
    draws: int = 4,
    levels: int = 1,
    *,
    label: str | None = None,
    seed: int = 0,
    sampling_temperature: float = 1.0,
) -> np.ndarray:
    """Pictures uint8 [n, draws, H, W, C] with the coarse latents of `images` and drawn fine ones.

    A small picture that is brought to the size of the model has details that the model finds
    strange; drawn ones are those it expects, so its resolution doubles for each level that is
    drawn.

    Args:
      levels: the finest ones, whose latents are drawn.

    Raises:
      UserError: the model has no level more than these.
    """
    z, y = latents(model, images, label)
    there = _levels(model)
    if not 0 < levels < there:
        raise UserError(
            f"{levels} levels are to be drawn; the model has {there}, of which one at least stays"
        )
    kept = round(model.latent_size * 0.5**levels)
    drawn = generator(seed).standard_normal((len(z), draws, model.latent_size - kept))
    coarse = np.repeat(z[:, None, :kept], draws, 1)
    return _pictures(model, np.concatenate([coarse, sampling_temperature * drawn], -1), y)


class Projected(NamedTuple):
    """Usual pictures uint8 [n, H, W, C], the factor [n] that their latents were shrunk by, and
    -log p [n], nats, before and after."""

    images: np.ndarray
    shrinkage: np.ndarray
    before: np.ndarray
    after: np.ndarray


def projected(
    model: Model, images: np.ndarray, usual: float, label: str | None = None
) -> Projected:
    """The first pictures on the way from `images` to the middle of latent space that are usual.

        z -> s z, the largest s in [0, 1] with -log p <= usual

    Pictures that are usual stay as they are, at the model's bits; of those that never become so
    the most probable one is given. -log p takes plain pictures for usual, so what is strange by
    another score may stay.

    Args:
      usual: -log p of usual pictures, nats, their median, say.

    Raises:
      UserError: pictures do not fit the model.
    """
    z, y = latents(model, images, label)
    factors = np.linspace(1.0, 0.0, SHRINKAGES + 1)
    shown = _pictures(model, factors[:, None] * z[:, None], y)
    shown[:, 0] = model.codec.samples(model.codec.encode(images, np.float32).rows)
    names = None if y is None else np.repeat(y[:, None], len(factors), 1)
    nll = -model.log_prob(shown, names)
    first = np.where((nll <= usual).any(1), (nll <= usual).argmax(1), nll.argmin(1))
    each = np.arange(len(z))
    return Projected(shown[each, first], factors[first], nll[:, 0], nll[each, first])


def refuse_others(model: Model) -> None:
    """Raises UserError where the model is not one of pictures."""
    if not isinstance(model.codec, Pixels):
        raise UserError(
            "only pictures are edited, by a model of their pixels; this one is of something else"
        )


def latents(model: Model, images: np.ndarray, label: str | None = None):
    """z [n, N] of pictures, and class numbers [n]: of `label`, or the most probable ones; None
    where the model has no classes."""
    refuse_others(model)
    y = None
    if model.classes:
        number = None if label is None else model.classes.index(label)
        y = model.classify(images).argmax(-1) if number is None else np.full(len(images), number)
    return model.encode(images, y), y


def _pictures(model, z, y):
    """Pictures of latents [n, S, N] of classes [n]."""
    names = None if y is None else np.repeat(y[:, None], z.shape[1], 1)
    shape = (*z.shape[:2], *model.event_shape)
    flat = z.reshape(-1, z.shape[-1])
    return model.codec.samples(
        model.decode(flat, None if names is None else names.ravel())
    ).reshape(shape)


def _levels(model):
    layers = getattr(model.layer, "layers", ())
    return next((len(each.levels) for each in layers if isinstance(each, MultiScale)), 1)
