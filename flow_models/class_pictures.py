"""What a generative classifier needs of pictures alone: its data, the same network without classes, and what it looks at."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from flow_models import classification
from flow_models.class_model import ClassModel
from flow_models.class_study import Problem
from flow_models.data.augmentation import Augmentation
from flow_models.data.image_data import ImageData
from flow_models.data.image_listing import ALL
from flow_models.data.labelled import Labelled, split_by_class
from flow_models.errors import UserError
from flow_models.model import FlowModel
from flow_models.training import Trainer


def picture_problem(data: ImageData, augment: Augmentation | None = None, seed: int = 0) -> Problem:
    """Labelled pictures in parts for training, validation and test; where there is no test part, half of each class of
    the validation pictures is one.

    Raises:
      UserError: fewer than two classes, or nothing left for the test.
    """
    if len(data.classes) < 2:
        there = "no folders of classes" if data.classes == (ALL,) else f"the one class '{data.classes[0]}'"
        raise UserError(f"{data.name}: {there}; a classifier needs two classes, the density of one is the business of "
                        "train_flowmodels2.py")  # fmt: skip
    validation = Labelled(data.validation, data.validation_labels.astype(np.int64))
    source = data.source
    if data.test is None:
        validation, test = split_by_class(validation, (0.5, 0.5), seed)
        source += "; half of the validation pictures are the test"
    else:
        test = Labelled(data.test, data.test_labels.astype(np.int64))
    train = Labelled(data.examples, data.example_labels.astype(np.int64))
    stream = data.train if data.rows > len(data.examples) else None
    return Problem(train, validation, test, data.classes, (), source, stream=stream, augment=augment)


def compare_unconditional(network: FlowModel, problem: Problem, settings) -> dict[str, float]:
    """Test bits per dimension and training seconds of a flow without classes, trained on the same batches."""
    batches = problem.batches(settings.batch_size, settings.seed).each(lambda batch: batch["x"])
    seconds = Trainer(network, batches, problem.validation.x, settings).run(progress=False).train_seconds
    bits = network.bits_per_dim(problem.test.x).mean(dtype=np.float64)
    return {"bits_per_dim_unconditional": float(bits), "train_seconds_unconditional": seconds}


def evidence(model: ClassModel, x: np.ndarray, draws: int = 16) -> np.ndarray:
    """d log p(class | x) / dx of the most probable class, [B, H, W] summed over the channels, per level of a pixel.

    The mean over draws of the noise that makes pixels continuous, which takes the noise out of the gradient as well
    (SmoothGrad, Smilkov, Thorat, Kim, Viegas and Wattenberg 2017): positive where more brightness speaks for the class.
    """
    found, log_priors = model.classify(x).argmax(-1), tf.constant(model.log_priors(), model.dtype)
    total = 0.0
    for seed in range(draws):
        rows = tf.constant(model.event.rows(x, model.dtype.as_numpy_dtype, seed)[0])
        with tf.GradientTape() as tape:
            tape.watch(rows)
            values = model.log_prob_of_classes(model.weights, rows) / model.partition.temperature
            chosen = tf.gather(classification.log_posterior(values, log_priors), found, batch_dims=1)
        total += tape.gradient(chosen, rows).numpy() / draws
    return model.event.uncovered(total).sum(-1)
