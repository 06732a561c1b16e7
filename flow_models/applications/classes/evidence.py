"""Which pixels speak for a class: prediction differences of a classifier of pictures."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from flow_models.models.model import Model

PATCHES = 9  # squares along the shorter side of a picture whose evidence is looked at


def evidence(
    model: Model, x: np.ndarray, others: np.ndarray, draws: int = 6, seed: int = 0
) -> np.ndarray:
    """How much each square of pictures x uint8 [B, H, W, C] speaks for its most probable class,
    nats, [B, H, W].

        log odds(class | x) - mean_k log odds(class | x with the square of the picture k among the
        others)

    About PATCHES squares a side. What a square might have held instead is taken from `draws` of the
    others, so that the pictures stay likely ones (Visualizing Deep Neural Network Decisions:
    Prediction Difference Analysis, Zintgraf, Cohen, Adel and Welling 2017). The gradient itself was
    tried and is noise on silhouettes.
    """
    height, width = x.shape[1:3]
    side = max(1, round(min(height, width) / PATCHES))
    places = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    rng = np.random.default_rng(seed)
    found, weights = model.classify(x).argmax(-1), np.zeros(x.shape[:3])
    as_they_are = np.repeat(
        x[None], draws, 0
    )  # of one shape with what is compared, so with the same noise in the pixels
    before = _log_odds(model, as_they_are, found)
    for top, left in places:
        square = np.s_[:, top : top + side, left : left + side]
        changed = as_they_are.copy()
        for copy in changed:
            copy[square] = others[rng.choice(len(others), len(x))][square]
        weights[square] = (before - _log_odds(model, changed, found))[:, None, None]
    return weights


def _log_odds(model, x, found):
    """log p(class | x) / (1 - p(class | x)) for classes [B], mean over copies x [K, B, H, W, C]."""
    values = (
        np.asarray(model.class_log_prob(x), np.float64) / model.labels.calibration_temperature
        + model.labels.log_priors()
    )
    mine = np.arange(values.shape[-1]) == found[:, None]
    rest = logsumexp(np.where(mine, -np.inf, values), axis=-1)
    return (np.where(mine, values, 0.0).sum(-1) - rest).mean(0)
