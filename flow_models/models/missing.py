"""Rows with missing cells, of models whose flow is `bijectors.missing.WithMissing`.

Cells are taken to be missing completely at random. The density of what is observed is an integral
over the rest, estimated by importance sampling with K draws of the proposal q:

    log p(x_obs) = log 1/K sum_k w_k,   w_k = p(x_obs, x_k) / q(x_k | x_obs),   x_k ~ q

as in MIWAE (Mattei and Frellsen 2019). Missing cells are drawn by resampling x_k by w_k.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.bijectors.missing import WithMissing
from flow_models.core.errors import UserError
from flow_models.core.tiling import FixedShapeBatches
from flow_models.models.arguments import checked_count, checked_seed, generator
from flow_models.models.codecs import Encoded
from flow_models.models.rows import is_missing

DRAWS = 256  # of the proposal for each row whose density is asked for; a power of two
DRAWS_OF_EACH = 16  # for each imputation, where that is more
ROWS = 2**16  # of the network at once


def is_modelled(model) -> bool:
    """Whether the model knows the density of rows with missing cells."""
    return isinstance(model.layer, WithMissing)


def cells(codec, values) -> np.ndarray:
    """Which cells of values [..., D] are missing, [..., D]."""
    if hasattr(values, "columns"):
        return values[list(codec.columns)].isna().to_numpy()
    return is_missing(codec.array(values))


def observed_log_prob(
    model, x, *, draws: int = DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """log p(x_obs) of rows x [..., D] with NaN, None or NA in missing cells, and its error, [...].

    The density is per units of the observed columns alone. It is exact of a complete row, and 0 of
    a row where nothing is observed.

    Args:
      draws: K; it is rounded up to a power of two. The draws are quasi-random, a function of the
        seed and the row, so a row has the same estimate wherever it stands.

    Returns:
      log p, and its standard error, as of independent draws: sd(w) / (mean(w) sqrt(K)).

    Raises:
      UserError: the model was not made for missing cells.
    """
    _check(model)
    draws, values = _power_of_two(draws), model.codec.array(x)
    rows, lost, encoded = _encoded(model, values, checked_seed(seed))
    wrong = (np.isnan(rows) & ~lost).any(1)
    partial = lost.any(1) & ~lost.all(1) & ~wrong
    log_p, error = np.full(len(rows), -np.inf, rows.dtype), np.zeros(len(rows), rows.dtype)
    complete = ~lost.any(1) & ~wrong
    exact = model.log_prob_of_rows(Encoded(rows[complete], (int(complete.sum()),)))
    log_p[complete] = np.where(np.isnan(exact), -np.inf, exact)
    log_p[lost.all(1)] = 0.0  # nothing is observed
    found = [weigh(w) for _, w in _proposed(model, rows[partial], draws, seed)]
    if found:
        log_p[partial], error[partial] = (np.concatenate(each) for each in zip(*found, strict=True))
    log_p += log_det_of_observed(model.codec, tf.constant(rows)).numpy()
    return log_p.reshape(encoded.lead), error.reshape(encoded.lead)


def impute(model, x, n: int | None = None, *, seed: int = 0) -> Any:
    """Draws of the missing cells of x [..., D] given the observed ones, which stay as they are.

    Args:
      n: draws of each row; None for one, in the shape of x.

    Returns:
      [..., D], or [..., n, D]; a DataFrame where x is one and n is None.

    Raises:
      UserError: the model was not made for missing cells, or a cell has a value that has no
        density.
    """
    _check(model)
    count, values = 1 if n is None else checked_count(n, 1), model.codec.array(x)
    encoded, lost = drawn(model, values, count, seed)
    wrong = np.argwhere(np.isnan(encoded.rows[::count]) & ~lost)
    if len(wrong):
        row, column = wrong[0]
        name = model.columns[column]
        raise UserError(f"row {row}: column {name!r} has a value that has no density")
    decoded, width = model.codec.decode(encoded.rows), lost.shape[1]
    kept = _with_given(decoded, values, np.repeat(lost, count, 0), count)
    if n is None and hasattr(kept, "columns") and hasattr(x, "index"):
        return kept.set_axis(x.index, axis=0)
    kept = kept.to_numpy(object) if hasattr(kept, "columns") else kept
    return kept.reshape(*encoded.lead, *([] if n is None else [count]), width)


def drawn(model, values, count: int, seed: int) -> tuple[Encoded, np.ndarray]:
    """Values as rows of the network [B count, D] whose missing cells are drawn, `count` times each
    row; and which cells were missing, [B, D]. A row stays as it is where another of its cells has a
    value without a density, NaN in its row."""
    rows, lost, encoded = _encoded(model, values, checked_seed(seed))
    completed, rng = np.repeat(rows[:, None], count, 1), generator(seed)
    empty = lost.all(1)
    partial = lost.any(1) & ~empty & ~(np.isnan(rows) & ~lost).any(1)
    if empty.any():
        z = rng.normal(size=(empty.sum() * count, rows.shape[1])).astype(rows.dtype)
        completed[empty] = model.passes.inverse(z).reshape(-1, *completed.shape[1:])
    draws = _power_of_two(max(DRAWS, DRAWS_OF_EACH * count))
    chosen = [
        _resampled(cells, log_w, count, rng)
        for cells, log_w in _proposed(model, rows[partial], draws, seed)
    ]
    if chosen:
        completed[partial] = np.concatenate(chosen)
    return Encoded(completed.reshape(-1, rows.shape[1]), encoded.lead), lost


def proposals(model, weights, x, noise):
    """Rows x [B, D] completed by draws of q from noise [B, D]; their log w and -log p(z), [B]."""
    completed, log_q = model.layer.proposal.sample(weights["proposal"], x, noise)
    z, log_det = model.layer.forward_and_log_det(weights, completed)
    log_z = model.partition.base_log_prob(z)
    log_w = log_z + log_det - log_q
    return completed, tf.where(tf.math.is_nan(log_w), -np.inf, log_w), -log_z


def log_det_of_observed(codec, rows):
    """log |d rows / d values| [B] of the observed cells of rows [B, D] with NaN."""
    total = tf.zeros_like(rows[:, 0])
    for i, kind in enumerate(getattr(codec, "kinds", ())):
        total += tf.where(tf.math.is_nan(rows[:, i]), 0.0, kind.log_det(rows[:, i]))
    return total


def refuse_new_gaps(codec, values, prepared) -> None:
    """Raises UserError where a value, of training data [N, D], has no number of the network."""
    wrong = np.argwhere(np.isnan(np.asarray(prepared, np.float64)) & ~cells(codec, values))
    if len(wrong):
        name = codec.columns[wrong[0, 1]]
        raise UserError(f"column {name!r}, row {wrong[0, 0]}: a value that has no density")


def weigh(log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log of the mean of w and its standard error [B], of log w [B, K]."""
    top = np.maximum(log_w.max(1, keepdims=True), np.finfo(log_w.dtype).min)
    w = np.exp((log_w - top).astype(np.float64))
    mean = w.mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(mean) + top[:, 0], w.std(1) / (mean * w.shape[1] ** 0.5)


def _check(model) -> None:
    if not is_modelled(model):
        raise UserError(
            "this model was not made for missing cells: make its flow with"
            " fm.architectures.with_missing, or train with --missing model"
        )


def _power_of_two(draws: int) -> int:
    return 1 << (checked_count(draws, 1, "the number of draws") - 1).bit_length()


def _encoded(model, values, seed):
    """Rows [B, D] with NaN in missing cells, which cells are missing, and what was encoded."""
    encoded = model.codec.encode(values, model.dtype.as_numpy_dtype, seed)
    return encoded.rows, cells(model.codec, values).reshape(encoded.rows.shape), encoded


def _proposed(model, rows, draws, seed):
    """(completed rows [b, K, D], log w [b, K]) of parts of the rows."""
    run = model.compiled.get("proposals")
    if run is None:
        function = lambda weights, x, noise: proposals(model, weights, x, noise)[:2]
        run = FixedShapeBatches(function, model.codec.tiles, model.jit)
        model.compiled["proposals"] = run
    height = max(ROWS // draws, 1)
    for first in range(0, len(rows), height):
        part = rows[first : first + height]
        noise = _noise(part, draws, seed)
        repeated = np.repeat(part, draws, 0)
        drawn, log_w = run(model.weights, repeated, noise.reshape(repeated.shape))
        yield drawn.reshape(noise.shape), log_w.reshape(len(part), draws)


def _noise(rows: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Quasi-random N(0, 1) numbers [B, K, D]: scrambled Sobol points, shifted for each row."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    points = qmc.Sobol(rows.shape[1], rng=generator(seed)).random(draws)
    places = np.mod(points + _shifts(rows, seed)[:, None], 1.0)
    return ndtri(np.clip(places, 1e-7, 1 - 1e-7)).astype(rows.dtype)


def _shifts(rows: np.ndarray, seed: int) -> np.ndarray:
    """Numbers in [0, 1), [B, D], a function of each row alone (mixed as in SplitMix64)."""
    size = rows.shape[1]
    bits = np.nan_to_num(rows.astype(np.float64)).view(np.uint64)
    factors = generator(seed).integers(2**63, size=size, dtype=np.uint64) * 2 + 1
    mixed = (bits * factors).sum(1)[:, None] + np.arange(1, size + 1, dtype=np.uint64) * factors
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64


def _resampled(drawn, log_w, count, rng):
    """`count` of K draws [B, K, D] of each row, with probabilities proportional to w."""
    w = np.exp(log_w - log_w.max(1, keepdims=True)).astype(np.float64)
    sums = np.cumsum(w, 1)
    wanted = rng.random((len(w), count)) * sums[:, -1:]
    chosen = np.stack([np.searchsorted(*each, side="right") for each in zip(sums, wanted)])
    return np.take_along_axis(drawn, np.minimum(chosen, w.shape[1] - 1)[..., None], 1)


def _with_given(decoded, values, lost, count):
    """Decoded values [B count, D] with the observed cells as they were given."""
    if not hasattr(decoded, "columns"):
        given = values[list(values.columns)].to_numpy() if hasattr(values, "columns") else values
        given = np.repeat(np.asarray(given).reshape(-1, lost.shape[1]), count, 0)
        return np.where(lost, decoded, given.astype(decoded.dtype))
    for i, name in enumerate(decoded.columns if hasattr(values, "columns") else ()):
        given, drawn = np.repeat(values[name].to_numpy(), count), decoded[name].to_numpy()
        if given.dtype.kind == drawn.dtype.kind:  # others, such as dates in words, are as decoded
            decoded[name] = np.where(lost[:, i], drawn, given)
    return decoded
