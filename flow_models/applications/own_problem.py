"""A posterior from draws alone: pairs of parameters and data, whatever made them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from flow_models import architectures
from flow_models.applications import own_shards
from flow_models.applications.own_defaults import Defaults, OwnFit, defaults
from flow_models.applications.own_pairs import OwnPairs, own_pairs
from flow_models.applications.own_shards import Streamed
from flow_models.applications.own_training import Prepared, is_low, trained
from flow_models.applications.own_training import learning_curve as curve
from flow_models.bijectors import repeats
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.frames import PriorFrame
from flow_models.bijectors.regression_frame import RegressionFrame
from flow_models.bijectors.summaries import Attention, Convolutions
from flow_models.bijectors.summary import Summarised, SummaryNetwork
from flow_models.bijectors.trials import DeepSet, TrialsFrame
from flow_models.core.errors import UserError
from flow_models.data.shards.stream import EndlessBatches
from flow_models.models.codecs import Codec
from flow_models.models.ensemble import Ensemble
from flow_models.models.model import Model
from flow_models.models.parameters_of_kinds import ParametersOfKinds
from flow_models.models.partition import Partition
from flow_models.models.problem import Parameters
from flow_models.models.trials import Trials
from flow_models.models.truncated import Truncated, half_spaces
from flow_models.training import batches
from flow_models.training.prepared import start
from flow_models.training.settings import FitSettings

SUMMARY = 16  # numbers at least that a network makes of trials
Bounds = float | Sequence[float | None] | Mapping[str, float] | None


def fit_posterior(
    x=None,
    y=None,
    names: Sequence[str] | None = None,
    data_names: Sequence[str] | None = None,
    *,
    kinds: Mapping[str, str] | None = None,
    data_kinds: Mapping[str, str] | None = None,
    data_form: str | None = None,
    lower: Bounds = None,
    upper: Bounds = None,
    support: tuple | None = None,
    truncate: bool | None = None,
    architecture: str | None = None,
    settings: FitSettings | None = None,
    validation: float = 0.1,
    members: int = 1,
    learning_curve: bool = False,
    pairs_from: str | None = None,
    memory_limit_mb: float = own_shards.MEMORY,
    folder: str | None = None,
    resume: bool = False,
    **options,
) -> Model:
    """p(x | y) for any y, from draws x [N, P] of the prior and data y [N, M] that were simulated
    for them; one number a row may come as [N].

    y [N, T, M] are up to T trials of each simulation, independent and alike, NaN in those that are
    missing: a deep set summarises them, and an observation has any number of trials up to T. y
    [N, H, W, M] are images.

    Pairs whose data are NaN or infinite are simulations that failed: they are counted in a warning
    and left out.

    Args:
      names, data_names: of the columns of x and of y. Data frames and records are taken by these
        names and other columns of them are ignored; without names, all their columns are taken.
      kinds: kinds of columns of x by name, such as {"layers": "integer", "rock": "categorical"},
        found as those of y are: the posterior then has a probability for each whole number and
        category, exactly, and samples are a DataFrame (an array, for several observations). Whole
        numbers may lie on their bounds; categories keep to the values that were there.
      data_kinds: kinds of columns of y by name, such as {"angle": "circular 360"}, which win over
        those found (see `Columns.of`). Kinds are looked for where some are told, or where y has
        text or dates; else all of y are numbers. Networks see features of them, see
        `models.data_of_kinds.features`.
      data_form: of y [N, T, M]: "trials" in any order; "series", T steps in time, those after a
        shorter one's end missing, which convolutions summarise; "attention", a transformer for
        either. Of images: "series", the default, or "attention".
      lower, upper: bounds of each column of x, None where there is none, one number for all
        columns, or a dictionary by name. No sample lies on a bound or outside; the density may be
        positive at a bound.
      support: (A, b) where the prior has A x <= b, A [K, P] and b [K]: it cuts as bounds do.
      truncate: bounds cut a flow that does not know them (see `models.truncated`), which is more
        accurate; False: columns with bounds have distribution functions of their own, whose samples
        are all inside at once. None: the former, and where less than a tenth of the flow's draws
        for held-out data is inside, as it may be with dozens of bounded columns, the latter is
        trained instead.
      architecture, options: see `architectures`; depth, hidden, bins and the like. They, and the
        settings, follow the pairs where they are not told, see `own_defaults`.
      validation: share of the pairs, drawn at random, that training is watched on; the weights kept
        are the best ones there.
      members: networks that are trained one after the other, each watched on other pairs; the
        density is their mean (see `models.ensemble`). Five cost five times as much, and gain most
        where pairs are few.
      learning_curve: train on a quarter and half of the pairs too, and say what more would gain.
      pairs_from: in place of x and y, a folder or s3:// prefix of pairs that `python -m flow_models
        simulate` made.
      memory_limit_mb: pairs of a folder that need more are streamed: names and scales then follow
        from 100,000 of them, and the last ones are held out, for all members the same.
      folder, resume: of checkpoints, as in `fit`; give the same pairs again to go on.

    Raises:
      UserError: pairs that do not fit, too few of them, discrete parameters, or x outside its
        bounds.

    Example:
      >>> model = fit_posterior(x, y, names=["speed", "angle"])
      >>> model.posterior(observation, 10_000)
    """
    if not isinstance(members, int) or members < 1:
        raise UserError(f"members is {members!r}: a whole number of at least 1 is expected")
    if (x is None) != (pairs_from is not None):
        raise UserError("give x and y, or pairs_from, a folder of pairs")
    if pairs_from is not None:
        x, y, names, data_names = own_shards.opened(pairs_from, memory_limit_mb)
    told: dict[str, Any] = {
        "kinds": kinds,
        "data_kinds": data_kinds,
        "data_form": data_form,
        "lower": lower,
        "upper": upper,
        "support": support,
        "truncate": truncate is not False,
        "architecture": architecture,
        "validation": validation,
    }

    def prepared(number: int) -> Prepared:
        seeded = {"settings": settings, "number": number, **told, **options}
        return prepare(x, y, names, data_names, **seeded)

    def place(name: str) -> str | None:
        return f"{folder.rstrip('/')}/{name}" if folder and name else folder

    models = []
    for k in range(members):
        ready = prepared(k)
        result = trained(ready, place(f"member{k}" if k else ""), resume)
        if truncate is None and support is None and not k and is_low(ready):
            told["truncate"] = False
            ready = prepared(k)
            result = trained(ready, place("bounded"), resume)
        if learning_curve and not k:
            curve(ready, lambda: prepared(0).model, result)
        models.append(ready.model)
    return models[0] if members == 1 else ensemble(models)


def prepare(
    x,
    y,
    names: Sequence[str] | None = None,
    data_names: Sequence[str] | None = None,
    *,
    kinds: Mapping[str, str] | None = None,
    data_kinds: Mapping[str, str] | None = None,
    lower: Bounds = None,
    upper: Bounds = None,
    support: tuple | None = None,
    truncate: bool = True,
    architecture: str | None = None,
    settings: FitSettings | None = None,
    validation: float = 0.1,
    weights: np.ndarray | Callable | None = None,
    number: int = 0,
    **options,
) -> Prepared:
    """All of `fit_posterior` but the training.

    Args:
      x: also a `Streamed`, without y.
      weights: of the pairs [N], at least 0; of streamed ones weights(x [n, P]) -> [n]; None for
        equal ones.
      number: of the member of an ensemble, which starts at other weights and is watched on other
        pairs.
    """
    if not 0 < validation < 1:
        raise UserError(
            f"validation is {validation}; it is a share of the pairs, above 0 and below 1"
        )
    own = {"condition_size", "standardise"} & set(options)
    if own:
        raise UserError(f"no option {min(own)!r}: it follows from the pairs")
    seed = (0 if settings is None else settings.seed) + number
    of_pairs = names, data_names, data_kinds, lower, upper, seed, kinds
    of_model = settings, seed, architecture, support, truncate, options
    if isinstance(x, Streamed):
        return _streamed(x, of_pairs, of_model, validation, weights)
    pairs = own_pairs(x, y, *of_pairs)
    rows = np.arange(len(pairs.theta))[:, None]
    held = held_out(rows if _is_discrete(pairs) else pairs.theta, validation, seed)
    model, settings = _begun(pairs, int((~held).sum()), *of_model)
    blocks = {"x": pairs.theta, "y": pairs.y}
    seen = {name: block[~held] for name, block in blocks.items()}
    start(model, batches.as_batch(seen, model))
    if weights is not None:
        share = np.asarray(weights, np.float64)[pairs.valid]
        blocks["weight"] = (share / share.mean()).astype(np.float32)[:, None]
    train, watched = (
        {name: block[rows] for name, block in blocks.items()} for rows in (~held, held)
    )

    def some(count: int, _: int) -> dict[str, np.ndarray]:
        order = np.random.default_rng(seed).permutation(len(train["x"]))[:count]
        return {name: block[order] for name, block in train.items()}

    return Prepared(model, train, watched, settings, len(train["x"]), some)


def _streamed(given: Streamed, of_pairs: tuple, of_model: tuple, validation, weights) -> Prepared:
    """`prepare` of pairs in shards: all but the training is done on some of them."""
    shards, (rows, end) = given.shards, given.held(validation)
    pairs = own_pairs(*shards.pairs(0, min(own_shards.SAMPLE, rows)), *of_pairs)
    x, y = shards.pairs(rows, end)
    held = pairs.blocks(x, y)
    if not _is_discrete(pairs):
        own_shards.refuse_copies(pairs.theta, held["x"][: own_shards.SAMPLE])
    model, settings = _begun(pairs, rows, *of_model)
    start(model, batches.as_batch({"x": pairs.theta, "y": pairs.y}, model))
    if weights is not None:
        raw, mean = weights, weights(shards.pairs(0, min(own_shards.SAMPLE, rows))[0]).mean()
        weights = lambda x: raw(x) / mean
        held["weight"] = weights(x)[:, None].astype(np.float32)
    check, codec = None, model.codec
    if isinstance(codec, Truncated) and codec.matrix is not None:
        check = codec.refuse_outside
        check(held["x"])

    def some(count: int, batch_size: int) -> EndlessBatches:
        return shards.batches(pairs, count, batch_size, settings.seed, weights, check)

    return Prepared(model, some(rows, settings.batch_size), held, settings, rows, some)


def _is_discrete(pairs: OwnPairs) -> bool:
    """Whether no parameter is a number that varies continuously."""
    return pairs.table is not None and not pairs.table.numbers


def _begun(
    pairs: OwnPairs,
    rows: int,
    settings: FitSettings | None,
    seed: int,
    architecture: str | None,
    support,
    truncate: bool,
    options: dict,
) -> tuple[Model, FitSettings]:
    """The model of pairs and its settings, which follow from the number of training pairs."""
    found = defaults(rows, pairs.theta.shape[1], pairs.y.shape[1])
    settings = _settings(settings, found, rows, seed)
    options = {**found.options, "seed": seed, **options}
    codec = _parameters(pairs, support, truncate)
    model = _model(pairs, codec, architecture or found.architecture, options, settings.jit)
    return model, settings


def ensemble(models: Sequence[Model]) -> Ensemble:
    """Models of the same pairs as one; they have the same layers."""
    first = models[0]
    options = {"data_model": first.data_model, "jit": first.jit}
    found = Ensemble([m.bijector for m in models], first.partition, first.codecs, **options)
    found.started = True
    return found


def held_out(theta: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which pairs training is watched on, [N]: a random share, all pairs of equal parameters
    together."""
    _, of_pair = np.unique(theta, axis=0, return_inverse=True)
    groups = of_pair.max() + 1
    chosen = np.random.default_rng(seed).permutation(groups)[: max(int(groups * share), 1)]
    return np.isin(of_pair.reshape(-1), chosen)


def _settings(told: FitSettings | None, found: Defaults, rows: int, seed: int) -> FitSettings:
    """The settings told, with batches that the pairs are enough for; those found without."""
    settings = told or found.settings
    settings = settings.over(found.settings) if isinstance(settings, OwnFit) else settings
    return dataclasses.replace(settings, batch_size=min(settings.batch_size, rows), seed=seed)


def _parameters(pairs: OwnPairs, support, truncate: bool) -> Codec:
    """The codec of x.

    Raises:
      UserError: a support that does not fit.
    """
    simulator, table = pairs.simulator, pairs.table
    if support is not None and (table is not None or not truncate):
        raise UserError("a support goes without kinds and without truncate=False")
    if table is not None:
        return ParametersOfKinds(table.names, "x", table.kinds, (), simulator)
    if support is None:
        return Truncated(simulator) if _bounded(pairs) and truncate else Parameters(simulator)
    codec = Truncated(simulator, *half_spaces(support, simulator.size))
    codec.refuse_outside(pairs.theta)
    return codec


def _bounded(pairs: OwnPairs) -> bool:
    return any(each is not None for each in (*pairs.simulator.lower, *pairs.simulator.upper))


def _model(pairs: OwnPairs, codec: Codec, architecture: str, options: dict, jit: bool) -> Model:
    """The model of p(x | y), not yet trained."""
    size = pairs.simulator.size
    # couplings need two columns
    name = "maf" if size == 1 and architecture == "spline_coupling" else architecture
    if _bounded(pairs) and not isinstance(codec, Truncated):
        lower, upper = pairs.simulator.whitened_bounds
        options = {**options, "lower": lower, "upper": upper}
    partition = Partition({"x": size}, {"z": size}, given={"y": pairs.y.shape[1]})
    codecs = {"x": codec, "y": pairs.data}
    data, form = pairs.data, options.pop("data_form", None)
    if isinstance(data, Trials):
        flow = _of_places(pairs, name, options, _network(data, options.get("summary", 0), form))
    elif form is None:
        flow = _of_columns(pairs, name, options)
    else:
        raise UserError(f"data_form is {form!r}: it is of y [N, T, M] or [N, H, W, M]")
    return Model(flow, partition, codecs, jit=jit)


def _flow(pairs: OwnPairs, name: str, options: dict) -> FlowBijector:
    """The flow of the parameters, of their kinds."""
    if pairs.table is None:
        return architectures.build(name, pairs.simulator.size, **options)
    return architectures.mixed(name, pairs.table.cdfs, **options)


def _of_columns(pairs: OwnPairs, name: str, options: dict) -> FlowBijector:
    """The flow behind a regression on the columns of the data, which kinds do without."""
    kind = PriorFrame if pairs.table is not None else RegressionFrame
    frame = kind(pairs.simulator, repeats=_repeats(pairs))
    options = {**options, "condition_size": frame.context_size, "standardise": False}
    return architectures.framed(_flow(pairs, name, options), frame)


def _repeats(pairs: OwnPairs) -> tuple[tuple[int, ...], ...]:
    """Groups of columns of the data that repeat one another; says which they are."""
    found = repeats.repeated_columns(pairs.theta, pairs.y)
    names = pairs.simulator.observed
    groups = "; ".join(", ".join(names[i] for i in group) for group in found)
    if found:
        print(
            f"data that repeat one another: {groups}. The network sees their mean, spread and"
            " correlation too",
            file=sys.stderr,
        )
    return found


def _of_places(pairs: OwnPairs, name: str, options: dict, network: SummaryNetwork):
    """The flow behind a summary of trials, of a series or of an image."""
    options = {**options, "summary": 0, "condition_size": network.width, "standardise": False}
    flow = _flow(pairs, name, options)
    layer = Summarised(flow.layer, network)
    frame = TrialsFrame(pairs.simulator, network.places, network.columns)
    return architectures.framed(FlowBijector(layer, flow.parameters["seed"], flow.dtype), frame)


def _network(data: Trials, width: int, form: str | None) -> SummaryNetwork:
    """What summarises the places of y in `width` numbers; 0 for as many as they may need.

    Raises:
      UserError: there is no such form, or trials on a grid.
    """
    columns, width = data.simulator.data_size, width or max(SUMMARY, 4 * data.simulator.size)
    form = form or ("series" if data.grid else "trials")
    if form == "trials" and not data.grid:
        return DeepSet(data.most, columns, width, moments=True)
    if form == "series":
        return Convolutions(data.grid or (data.most,), columns, width)
    if form == "attention":
        return Attention(data.most, columns, width)
    forms = "series or attention" if data.grid else "trials, series or attention"
    raise UserError(f"data_form is {form!r}, must be {forms}")
