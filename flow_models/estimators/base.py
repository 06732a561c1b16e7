"""What the estimators share: settings, the trained model, pickling."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from flow_models import architectures
from flow_models.core.errors import UserError
from flow_models.data import tables
from flow_models.models.loading import load
from flow_models.models.model import Model
from flow_models.training.settings import FitSettings

LEAST_ROWS = 5
SEEDS = 2**31 - 1  # random_state draws a seed below this


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class FlowEstimator(BaseEstimator):
    """Parameters of all estimators, as scikit-learn asks: stored as they came, used by `fit`.

    The dataclass writes `__init__`, in which scikit-learn looks for parameters; a subclass with
    further ones is a dataclass too.

    Attributes:
      model_: the trained `Model`.
      n_features_in_, feature_names_in_: of the rows.
    """

    architecture: str = "spline_coupling"
    """see `flow_models.architectures`; couplings of one column become `maf`"""
    depth: int = 4
    """layers"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the hidden layers"""
    bins: int = 8
    """of a spline"""
    steps: int = 2000
    """of the optimizer"""
    batch_size: int = 256
    """rows a step"""
    learning_rate: float = 4e-3
    """at its peak"""
    validation_fraction: float = 0.1
    """share of the rows that training is watched on; the weights that are best there stay"""
    patience: int = 10
    """evaluations (50 in all) without a better one before training stops; 0: never"""
    random_state: Any = None
    """of split, weights, batches and samples; an integer makes `fit` repeatable"""
    jit: bool = True
    """compile with XLA; False starts sooner, and trains more slowly"""
    verbose: bool = False
    """show a progress bar"""

    def _rows(self, X, *, fitting: bool = False, **kwargs):
        """X (and y) as scikit-learn checks them: numbers, finite, the columns of training."""
        labels = [str(label) for label in getattr(X, "columns", ())]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise UserError(f"X has two columns {twice!r}: rename one")
        if not fitting:
            check_is_fitted(self)
        least = {"ensure_min_samples": LEAST_ROWS} if fitting else {}
        return validate_data(self, X, reset=fitting, dtype=np.float64, **least, **kwargs)

    def _names(self) -> list[str]:
        unnamed = [f"x{i}" for i in range(self.n_features_in_)]
        return list(getattr(self, "feature_names_in_", unnamed))

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(SEEDS))

    def _flow(self, seed: int, **changed):
        """The network, not yet trained; some of its options may be changed."""
        size = self.n_features_in_
        options = {"depth": self.depth, "hidden": tuple(self.hidden), "bins": self.bins, **changed}
        name = "maf" if size == 1 else self.architecture
        return architectures.build(name, size, seed=seed, **options)

    def _settings(self, rows: int, seed: int) -> FitSettings:
        return FitSettings(
            steps=self.steps,
            batch_size=min(self.batch_size, rows),
            learning_rate=self.learning_rate,
            patience=self.patience,
            seed=seed,
            jit=self.jit,
        )

    def _is_default(self, *names: str) -> bool:
        """Whether none of these parameters was changed."""
        default = type(self)()
        return all(getattr(self, name) == getattr(default, name) for name in names)

    def _held_out(self, X: np.ndarray, seed: int) -> np.ndarray:
        """Which of the rows X [N, D] training is watched on, [N] bool; copies of a row are all
        among them, or none."""
        if not 0 < self.validation_fraction < 1:
            raise UserError(
                f"validation_fraction is {self.validation_fraction}; it is a share of the rows,"
                " above 0 and below 1"
            )
        order, held = np.random.default_rng(seed).permutation(len(X)), np.zeros(len(X), bool)
        count = max(round(len(X) * self.validation_fraction), 1)
        groups = tables.groups_of_copies(X)
        if groups is not None:
            order, ends = tables.together(order, groups)
            count = tables.nearest(ends[:-1], count) if len(ends) > 1 else count
        held[order[:count]] = True
        return held

    # a model is pickled as the files that it saves

    def __getstate__(self):
        state = super().__getstate__()
        return {
            key: _files_of(value) if isinstance(value, Model) else value
            for key, value in state.items()
        }

    def __setstate__(self, state):
        files = state.get("model_")
        model = {"model_": _model_of(files, state["jit"])} if files else {}
        super().__setstate__({**state, **model})


def _files_of(model: Model) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _model_of(files: dict[str, bytes], jit: bool) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return load(folder, jit)
