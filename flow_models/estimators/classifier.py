"""A generative classifier: a density for each class, and Bayes' rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from flow_models import architectures
from flow_models.applications.classes import study
from flow_models.applications.classes.problem import Problem
from flow_models.core.errors import UserError
from flow_models.data.tables.labelled import Labelled
from flow_models.estimators.base import FlowEstimator
from flow_models.models.codecs import Codec
from flow_models.models.labels import Labels
from flow_models.models.model import Model
from flow_models.models.partition import Partition
from flow_models.training.trainer import fit

BETA_PER_COLUMN = 10.0  # the weight of the class in the loss, as in application 4


class FlowClassifier(ClassifierMixin, FlowEstimator):
    """p(class | x) by Bayes' rule, from one flow that ends in a Gaussian for each class.

    Takes what `FlowEstimator` lists. Semi-Supervised Learning with Normalizing Flows (Izmailov,
    Kirichenko, Finzi and Wilson 2020).

    Attributes:
      classes_: [M], sorted.

    Example:
      >>> FlowClassifier(random_state=0).fit(X, y).predict_proba(X)
    """

    def fit(self, X, y):
        """Learns from rows X [N, D] and their classes y [N].

        Raises:
          UserError: one class alone, or too few rows. What scikit-learn's checks refuse is a
            ValueError.
        """
        rows, y = self._rows(X, fitting=True, y=y)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UserError("a classifier needs two classes, got one class")
        seed = self._seed()
        held = self._held_out_of_classes(rows, numbers, seed)
        train, watched = (Labelled(rows[part], numbers[part]) for part in (~held, held))
        problem = Problem(
            train,
            watched,
            watched,
            tuple(map(str, range(len(self.classes_)))),
            tuple(self._names()),
            "rows",
        )
        self.model_ = self._trained(problem, seed)
        return self

    def _held_out_of_classes(self, rows, numbers, seed):
        """Rows to watch, none of which is the last of its class."""
        held = self._held_out(rows, seed)
        for number in range(len(self.classes_)):
            own = np.flatnonzero(numbers == number)
            if held[own].all():
                held[own[0]] = False
        if not held.any():
            raise UserError(f"{len(numbers)} rows of {len(self.classes_)} classes are too few")
        return held

    def _trained(self, problem: Problem, seed: int) -> Model:
        size, classes = len(problem.columns), len(problem.classes)
        flow = architectures.class_mixture(self._flow(seed), size, classes)
        partition = Partition({"x": size}, {"z": size}, given={"y": classes})
        labels = Labels(problem.classes, tuple(problem.priors))
        codecs: dict[str, Codec | Sequence[str]] = {"x": problem.columns, "y": labels}
        model = Model(flow, partition, codecs, jit=self.jit)
        settings = self._settings(len(problem.train), seed)
        todo = study.training(model, problem, settings, form="mixture", beta=BETA_PER_COLUMN * size)
        fit(
            model,
            todo.data,
            todo.validation,
            todo.settings,
            loss=todo.loss,
            progress=bool(self.verbose),
        )
        return model

    def predict_proba(self, X) -> np.ndarray:
        """p(class | x) of rows [N, D] -> [N, M], in the order of `classes_`."""
        rows = self._rows(X)
        return self.model_.classify(rows).astype(np.float64)

    def predict(self, X) -> np.ndarray:
        """The most probable class of each row, [N]."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]
