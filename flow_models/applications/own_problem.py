"""A posterior from draws alone: pairs of parameters and data, whatever made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from flow_models import architectures
from flow_models.bijectors.frames import PriorFrame
from flow_models.core.errors import UserError
from flow_models.models.columns import Columns
from flow_models.models.data_of_kinds import DataOfKinds, features, names_of_features
from flow_models.models.model import Model
from flow_models.models.partition import Partition
from flow_models.models.problem import Data, Parameters
from flow_models.models.rows import by_name, names_of
from flow_models.simulators.drawn import Drawn
from flow_models.training import batches
from flow_models.training.prepared import start
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import Trainer

LEAST = 200  # pairs
OPTIONS = {
    "affine": True,
    "linear": True,
    "bins": 8,
    "layers_per_loop_body": 1,
    "activation": "silu",
}  # of the architecture, unless told otherwise
KEPT = 20_000  # data of pairs that the model keeps, to predict from


@dataclasses.dataclass
class Prepared:
    """A model of pairs that is not yet trained, and what `Trainer` takes: whitened blocks."""

    model: Model
    train: dict[str, np.ndarray]
    held: dict[str, np.ndarray]
    settings: FitSettings


def fit_posterior(
    x,
    y,
    names: Sequence[str] | None = None,
    data_names: Sequence[str] | None = None,
    *,
    data_kinds: Mapping[str, str] | None = None,
    lower: Sequence[float | None] | Mapping[str, float] | None = None,
    upper: Sequence[float | None] | Mapping[str, float] | None = None,
    architecture: str = "spline_coupling",
    settings: FitSettings | None = None,
    validation: float = 0.1,
    folder: str | None = None,
    resume: bool = False,
    **options,
) -> Model:
    """p(x | y) for any y, from draws x [N, P] of the prior and data y [N, M] that were simulated
    for them.

    Args:
      names, data_names: of the columns of x and of y. Data frames and records are taken by these
        names and other columns of them are ignored; without names, all their columns are taken.
      data_kinds: kinds of columns of y by name, such as {"angle": "circular 360"}, which win over
        those found (see `Columns.of`). Kinds are looked for where some are told, or where y has
        text or dates; else all of y are numbers. Networks see features of them, see
        `models.data_of_kinds.features`.
      lower, upper: bounds of each column of x, None where there is none, or a dictionary by name.
        No sample lies on a bound or outside; the density may be positive at a bound.
      architecture, options: see `architectures`; depth, hidden, bins and the like.
      validation: share of the pairs that training is watched on; the weights kept are the best ones
        there.
      folder, resume: of checkpoints, as in `fit`; give the same pairs again to go on.

    Raises:
      UserError: pairs that do not fit, too few of them, or x outside its bounds.

    Example:
      >>> model = fit_posterior(x, y, names=["speed", "angle"])
      >>> model.posterior(observation, 10_000)
    """
    ready = prepare(
        x,
        y,
        names,
        data_names,
        data_kinds=data_kinds,
        lower=lower,
        upper=upper,
        architecture=architecture,
        settings=settings,
        validation=validation,
        **options,
    )
    trainer = Trainer(
        ready.model, ready.train, ready.held, ready.settings, folder=folder, resume=resume
    )
    trainer.run()
    return ready.model


def prepare(
    x,
    y,
    names: Sequence[str] | None = None,
    data_names: Sequence[str] | None = None,
    *,
    data_kinds: Mapping[str, str] | None = None,
    lower: Sequence[float | None] | Mapping[str, float] | None = None,
    upper: Sequence[float | None] | Mapping[str, float] | None = None,
    architecture: str = "spline_coupling",
    settings: FitSettings | None = None,
    validation: float = 0.1,
    weights: np.ndarray | None = None,
    **options,
) -> Prepared:
    """All of `fit_posterior` but the training.

    Args:
      weights: of the pairs [N], at least 0; None for equal ones.
    """
    names = names_of(x) if names is None else names
    data_names = names_of(y) if data_names is None else data_names
    x = x if names is None else by_name(x, names, "x")
    y = y if data_names is None else by_name(y, data_names, "y")
    table = _table(y, data_names, data_kinds)
    prepared = y if table is None else table.prepare(_frame(y, data_names))
    y = y if table is None else features(table, prepared)
    data_names = data_names if table is None else names_of_features(table)
    simulator = Drawn.of(x, y, names, data_names, lower, upper)
    if len(x) < LEAST:
        raise UserError(f"{len(x)} pairs; at least {LEAST} are needed, and thousands are better")
    if not 0 < validation < 1:
        raise UserError(
            f"validation is {validation}; it is a share of the pairs, above 0 and below 1"
        )
    own = {"condition_size", "standardise"} & set(options)
    if own:
        raise UserError(f"no option {min(own)!r}: it follows from the pairs")
    theta, y = (np.asarray(each, np.float32) for each in (simulator.whitened(x), y))
    kept = (y if table is None else prepared)[:KEPT]
    data = Data(simulator, kept) if table is None else DataOfKinds(simulator, kept, table)
    model = _model(simulator, data, architecture, {**OPTIONS, **options})
    start(model, batches.as_batch({"x": theta, "y": y}, model))
    held_out = max(int(len(x) * validation), 1)
    pairs = {"x": theta, "y": y}
    if weights is not None:
        share = np.asarray(weights, np.float64)
        pairs["weight"] = (share / share.mean()).astype(np.float32)[:, None]
    parts = (slice(held_out, None), slice(held_out))
    train, held = ({name: block[rows] for name, block in pairs.items()} for rows in parts)
    return Prepared(model, train, held, settings or FitSettings())


def _table(y, names: Sequence[str] | None, told: Mapping[str, str] | None) -> Columns | None:
    """The columns of data with kinds; None where all are numbers and no kind is told."""
    if not told and np.asarray(y).dtype.kind in "fiub" or names is None and not told:
        return None
    if names is None:
        raise UserError("data_kinds go by name: give a DataFrame, or data_names")
    return Columns.of(_frame(y, names), told)


def _frame(y, names):
    """Data [N, M] as a DataFrame."""
    import pandas as pd

    return pd.DataFrame(np.asarray(y), columns=[str(name) for name in names]).infer_objects()


def _model(simulator: Drawn, data: Data, architecture: str, options: dict) -> Model:
    """The model of p(x | y), not yet trained."""
    size, frame = simulator.size, PriorFrame(simulator)
    # couplings need two columns
    name = "maf" if size == 1 and architecture == "spline_coupling" else architecture
    lower, upper = simulator.whitened_bounds
    bounds: dict = {"lower": lower, "upper": upper} if simulator.lower else {}
    flow = architectures.build(
        name, size, **options, **bounds, condition_size=frame.context_size, standardise=False
    )
    partition = Partition({"x": size}, {"z": size}, given={"y": simulator.data_size})
    codecs = {"x": Parameters(simulator), "y": data}
    return Model(architectures.framed(flow, frame), partition, codecs)
