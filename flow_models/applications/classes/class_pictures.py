"""What a generative classifier needs of pictures alone: its data, the same network without classes,
and what it looks at."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from flow_models.applications.classes.class_study import Problem
from flow_models.core.errors import UserError
from flow_models.data.images.augmentation import Augmentation
from flow_models.data.images.image_data import ImageData
from flow_models.data.images.listing import ALL
from flow_models.data.tables.labelled import Labelled, split_by_class
from flow_models.models.class_model import ClassModel
from flow_models.models.model import FlowModel
from flow_models.training.trainer import Trainer

PATCHES = 9  # squares along the shorter side of a picture whose evidence is looked at


def picture_problem(data: ImageData, augment: Augmentation | None = None, seed: int = 0) -> Problem:
    """Labelled pictures in parts for training, validation and test; where there is no test part,
    half of each class of the validation pictures is one.

    Raises:
      UserError: fewer than two classes, or nothing left for the test.
    """
    if len(data.classes) < 2:
        there = (
            "no folders of classes"
            if data.classes == (ALL,)
            else f"the one class '{data.classes[0]}'"
        )
        raise UserError(
            f"{data.name}: {there}; a classifier needs two classes, the density of one is the"
            " business of train_flowmodels2.py"
        )
    validation = Labelled(data.validation, data.validation_labels.astype(np.int64))
    source = data.source
    if data.test is None:
        validation, test = split_by_class(validation, (0.5, 0.5), seed)
        source += "; half of the validation pictures are the test"
    else:
        test = Labelled(data.test, data.test_labels.astype(np.int64))
    train = Labelled(data.examples, data.example_labels.astype(np.int64))
    stream = data.train if data.rows > len(data.examples) else None
    return Problem(
        train, validation, test, data.classes, (), source, stream=stream, augment=augment
    )


def compare_unconditional(network: FlowModel, problem: Problem, settings) -> dict[str, float]:
    """Test bits per dimension and training seconds of a flow without classes, trained on the same
    batches."""
    batches = problem.batches(settings.batch_size, settings.seed).each(lambda batch: batch["x"])
    seconds = (
        Trainer(network, batches, problem.validation.x, settings).run(progress=False).train_seconds
    )
    bits = network.bits_per_dim(problem.test.x).mean(dtype=np.float64)
    return {"bits_per_dim_unconditional": float(bits), "train_seconds_unconditional": seconds}


def evidence(
    model: ClassModel, x: np.ndarray, others: np.ndarray, draws: int = 6, seed: int = 0
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
        np.asarray(model.class_log_prob(x), np.float64) / model.partition.temperature
        + model.log_priors()
    )
    mine = np.arange(values.shape[-1]) == found[:, None]
    rest = logsumexp(np.where(mine, -np.inf, values), axis=-1)
    return (np.where(mine, values, 0.0).sum(-1) - rest).mean(0)
