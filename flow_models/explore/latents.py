"""Latents as sliders: directions of latent space, and events that they lead to."""

from __future__ import annotations

import numpy as np

from flow_models.explore.opened import Opened, as_frame

MOST = 12  # sliders
OF_PICTURES = 8
ENCODED = 200  # known pictures whose latents say where pictures vary


def directions(opened: Opened) -> np.ndarray:
    """Steps in latent space, one a slider [K, N]: the first latents themselves, and for pictures
    the principal components of the latents of known pictures, each as long as their spread."""
    size = opened.model.latent_size
    if opened.kind != "pictures":
        return np.eye(min(size, MOST), size)
    from sklearn.decomposition import PCA

    z = opened.model.encode(opened.known[:ENCODED])
    found = PCA(min(OF_PICTURES, len(z) - 1, size)).fit(z)
    return found.components_ * np.sqrt(found.explained_variance_)[:, None]


def names(opened: Opened, count: int) -> list[str]:
    """Of the sliders."""
    what = "component" if opened.kind == "pictures" else "z"
    return [f"{what} {number + 1}" for number in range(count)]


def at_rest(opened: Opened, start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Where the sliders [K] stand at a start [N]: at its latents, or at 0 for components."""
    return np.zeros(len(steps)) if opened.kind == "pictures" else steps @ start


def moved(start: np.ndarray, steps: np.ndarray, rest: np.ndarray, values) -> np.ndarray:
    """Latents [1, N] of sliders at `values` [K], which were at `rest` for the start [N]."""
    return (start + (np.asarray(values, np.float64) - rest) @ steps)[None]


def made(opened: Opened, z: np.ndarray, y=None):
    """Events that have latents z [B, N]: a DataFrame, or pictures uint8 [B, H, W, C]."""
    values = opened.model.decode(z, y)
    if opened.kind == "pictures":
        return opened.model.codec.samples(values)
    return as_frame(values, opened.model.columns)


def drawn(opened: Opened, n: int, temperature: float, seed: int, y=None):
    """Samples as `made` gives them."""
    labels = None if y is None else np.array([y] * n)
    values = opened.model.sample(n, labels, seed=seed, sampling_temperature=temperature)
    return values if opened.kind == "pictures" else as_frame(values, opened.model.columns)


def in_other_classes(opened: Opened, event):
    """What the latents of an event [1, ...] in its most probable class make in each class, as
    `made` gives it."""
    classes = len(opened.model.classes)
    return made(opened, np.repeat(opened.model.encode(event), classes, 0), np.eye(classes))
