"""Posteriors of inverse problems: what a `Model` of parameters x and data y does with them."""

import math

import numpy as np
import tensorflow as tf
from scipy.special import ndtr

from flow_models.core.errors import UserError
from flow_models.models import rare, truncated
from flow_models.models.arguments import checked_count, checked_seed
from flow_models.models.codecs import Encoded
from flow_models.models.far_data import gaussian_score, warn_of_far
from flow_models.models.parameters_of_kinds import ParametersOfKinds
from flow_models.models.passes import SAMPLES
from flow_models.models.rows import finite_rows
from flow_models.models.truncated import Truncated

NEAR = 20.0  # nats below the most likely data, beyond which others do not count
FEWEST = 20.0  # effective draws that a prediction is made from
ROWS = 2**14  # simulated in one go


def whitened_samples(
    model, y, n: int, seed: int = 0, sampling_temperature: float = 1.0
) -> np.ndarray:
    """`Model.posterior` in whitened parameters: [n, P] for y [M], [B, n, P] for y [B, M]; warns of
    y that are far from the data that the model keeps.

    Raises:
      UserError: the model has no posterior, or y, n or the seed do not fit.
    """
    _check_posterior(model)
    if y is None:
        raise UserError(f"this model is of p(x | y): give y [..., {_width(model)}]")
    checked_count(n, least=1)
    checked_seed(seed)
    blocks, lead = model.observed(y)
    _check_lead(lead, _width(model), "y")
    if "y" in blocks:
        warn_of_far(model, blocks["y"])
    if not isinstance(model.codec, Truncated):
        drawn = _drawn(model, blocks, n, seed, sampling_temperature)
        return drawn.reshape(*lead, n, drawn.shape[-1])

    def draw(places, count, number):
        part = {name: rows[places] for name, rows in blocks.items()}
        own = int(seed) if not number else _folded(seed, number)
        return _drawn(model, part, count, own, sampling_temperature)

    tail = lambda place, count: _rare(model, blocks, place, count, seed, sampling_temperature)
    drawn = truncated.filled(model.codec, draw, math.prod(lead), n, tail)
    return drawn.reshape(*lead, n, drawn.shape[-1])


def _drawn(model, blocks, n: int, seed: int, sampling_temperature: float) -> np.ndarray:
    """n draws of the network for each observation, theta [B, n, P]; of an ensemble, all members'
    in random order."""
    members = model.members
    if len(members) > 1:
        rng = np.random.default_rng(int(seed) % 2**64)
        counts = _turns(len(members), n, rng)
        each = [
            _drawn(one, blocks, count, _folded(seed, -1 - k), sampling_temperature)
            for k, (one, count) in enumerate(zip(members, counts, strict=True))
            if count
        ]
        return np.concatenate(each, 1)[:, rng.permutation(n)]
    rows_of_y = len(next(iter(blocks.values())))
    size = model.simulator.size
    drawn = np.empty((rows_of_y, n, size), model.dtype.as_numpy_dtype)
    most = max(SAMPLES // n, 1)
    for first in range(0, rows_of_y, most):
        part = {name: rows[first : first + most] for name, rows in blocks.items()}
        count = min(most, rows_of_y - first)
        z = model.partition.standard_sample(
            count * n, (seed, first), model.dtype, sampling_temperature
        )
        of_y = {"y": np.repeat(part["y"], n, 0)} if "y" in model.partition.outputs else {}
        v = model.partition.from_standardised(z, **of_y).numpy()
        inputs = model.passes.inverse(v, model.given_rows(part))
        drawn[first : first + most] = inputs[:, :size].reshape(count, n, size)
    return drawn


def share_inside(model, blocks, n: int) -> np.ndarray:
    """Share of n draws of the network that is inside the bounds, for the blocks of observations
    [B, ...]: [B]; 1 where the network knows them."""
    if not isinstance(model.codec, Truncated):
        return np.ones(len(next(iter(blocks.values()))))
    return model.codec.allows(_drawn(model, blocks, n, 0, 1.0)).mean(1)


def log_share_inside(model, blocks) -> np.ndarray:
    """log of the share of the network's draws that is inside the bounds, for the blocks of
    observations [B, ...]: [B]. It is estimated from draws with the same latents for all."""

    members = model.members
    if len(members) > 1:
        each = [log_share_inside(one, blocks) for one in members]
        return np.logaddexp.reduce(each, 0) - math.log(len(each))

    def draw(places, count, number):
        z = model.partition.standard_sample(count, (number, -2), model.dtype).numpy()
        drawn = np.empty((len(places), count, model.simulator.size), model.dtype.as_numpy_dtype)
        most = max(SAMPLES // count, 1)
        for first in range(0, len(places), most):
            part = {name: rows[places[first : first + most]] for name, rows in blocks.items()}
            some = len(places[first : first + most])
            theta = model.passes.inverse(np.tile(z, (some, 1)), model.given_rows(part))
            drawn[first : first + most] = theta.reshape(some, count, -1)
        return drawn

    rows = len(next(iter(blocks.values())))
    return truncated.log_share(model.codec, draw, rows, lambda k, n: _rare(model, blocks, k, n))


def _rare(model, blocks, place: int, n: int, seed: int = 0, sampling_temperature: float = 1.0):
    """n draws inside for one observation that has almost none, and log of their share; or None.

    A further latent chooses the member of an ensemble.
    """
    members, size = model.members, model.partition.size
    given = model.given_rows({name: rows[place : place + 1] for name, rows in blocks.items()})

    def theta_of(z):
        which = np.minimum((ndtr(z[:, -1]) * len(members)).astype(int), len(members) - 1)
        theta = np.empty((len(z), model.simulator.size), model.dtype.as_numpy_dtype)
        for k, one in enumerate(members):
            v = (sampling_temperature * z[which == k, :size]).astype(theta.dtype)
            theta[which == k] = one.passes.inverse(v, given)
        return theta

    return rare.reached(theta_of, model.codec.outside_by, size + 1, n, int(seed))


def _turns(members: int, n: int, rng: np.random.Generator) -> list[int]:
    """How many of n samples come from each member."""
    extra = rng.permutation(members) < n % members
    return [n // members + int(one) for one in extra]


def _folded(seed: int, number: int) -> int:
    """A further seed."""
    return int(np.random.default_rng((int(seed) % 2**64, number % 2**64)).integers(2**63))


def log_prob_whitened(model, theta: np.ndarray, y) -> np.ndarray:
    """log p(theta | y), theta [..., P] and y [..., M] or [M] -> [...], nats of whitened
    parameters."""
    rows = np.asarray(theta, model.dtype.as_numpy_dtype)
    return model.log_prob_of_rows(Encoded(rows.reshape(-1, rows.shape[-1]), rows.shape[:-1]), y)


def contexts(model, y) -> np.ndarray:
    """What the flow behind the frame sees of data y [B, M], [B, C]."""
    return model.passes.state(model.given_rows(model.observed(y)[0]))["context"]


def anomaly_score(model, y) -> np.ndarray:
    """-log p(y) of the data in their context, [..., M] -> [...], nats; of a model that keeps data
    and has no network for their density, that of a Gaussian (see `far_data`).

    Raises:
      UserError: the model has no density of the data.
    """
    if model.data_model is None:
        blocks, lead = model.observed(y)
        found = gaussian_score(model, blocks["y"]) if "y" in blocks else None
        if found is None:
            raise UserError("this model has no density of the data")
        return found.reshape(lead)
    y, lead = finite_rows(y, model.simulator.data_names, "y", model.dtype.as_numpy_dtype)
    context = model.frame.data_context(contexts(model, y))
    return model.data_model.anomaly_score(context).reshape(lead)


def predict(model, x, n: int, seed: int = 0) -> np.ndarray:
    """n draws of the data that x would give, noise included: [n, M] for x [P], [B, n, M] for many.

    Data among the outputs come from the network: f(x) = (v_y, v_z), and v_y is y but for the width
    that it was trained with. Else they come from the simulator (NaN where it cannot simulate x).
    Where pairs are all there is, they come from Bayes' rule, p(y | x) ~ p(x | y) p(y), resampled
    from data of the prior.

    Raises:
      UserError: x is outside the prior's support; or too few data of the prior are like what x
        would give.
    """
    _check_posterior(model)
    x, lead = _x_of(model, x, n, seed)
    if "y" in model.partition.outputs:
        drawn = [_by_network(model, x, n, seed)]
    elif model.codecs["y"].kept is not None:
        drawn = [_resampled(model, row, n, (int(seed) % 2**64, i)) for i, row in enumerate(x)]
    elif not model.simulator.simulates:
        raise UserError("this model was saved without data to predict from: train it anew")
    else:
        drawn = _simulated(model, x, n, seed)
    none = np.empty((0, _width(model)), model.dtype.as_numpy_dtype)  # of no x
    return np.concatenate([none, *drawn]).reshape(*lead, n, _width(model))


def _x_of(model, x, n, seed):
    """Rows of parameters, each an array [P] or a frame of one row, and their leading shape."""
    names = model.simulator.parameter_names
    if isinstance(model.codec, ParametersOfKinds):
        checked_count(n, least=1)
        checked_seed(seed)
        lead = np.shape(model.codec.array(x))[:-1]
        _check_lead(lead, len(names), "x")
        frame = model.codec.frame(x)
        return [frame.iloc[[row]] for row in range(len(frame))], lead
    number = tf.as_dtype(model.codec.number(model.dtype.as_numpy_dtype))
    return _one_or_many(x, n, seed, names, "x", number)


def _by_network(model, x, n, seed):
    """Data [B n, M] by a network that has them among its outputs."""
    partition, codec = model.partition, model.codecs["y"]
    theta = np.repeat(_whitened(model, x), n, 0)
    rng = np.random.default_rng(int(seed) % 2**64)
    normal = rng.normal(size=(len(theta), partition.outputs["y"])).astype(theta.dtype)
    levels = _noise_levels(model, len(theta), seed)
    noise_inputs = len(partition.inputs) > 1
    inputs = np.concatenate([theta, normal], 1) if noise_inputs else theta
    given = {}
    if partition.given:
        silent = np.zeros([len(levels), model.simulator.data_size - 1], theta.dtype)
        data = np.concatenate([silent, levels], 1)
        given = {
            name: model.codecs[name].encode(data, theta.dtype).rows for name in partition.given
        }
    outputs = model.passes.forward(inputs, model.given_rows(given))[0]
    components = partition.split("outputs", outputs)["y"].numpy()
    components = components + (0.0 if noise_inputs else partition.sigma_y * normal)
    return np.concatenate([codec.decode(components), levels], 1)


def _noise_levels(model, rows, seed):
    """Log sigma [N, 1] as data have it, or no column where it does not vary."""
    simulator = model.simulator
    nothing = tf.zeros([rows, simulator.data_size - simulator.noise_varies], model.dtype)
    observed = simulator.observe(nothing, tf.constant([seed % 2**31, 0]))
    return observed.numpy()[:, nothing.shape[1] :]


def _simulated(model, x, n, seed):
    """Parts [R, M] of n noisy data for each row of x."""
    theta = np.repeat(_whitened(model, x), n, 0)
    for first in range(0, len(theta), ROWS):
        clean = model.simulator.forward(tf.constant(theta[first : first + ROWS]))
        yield model.simulator.observe(clean, tf.constant([seed, first])).numpy()


def _resampled(model, x, n, seed):
    """n of the data that the codec keeps, [n, M], by the weights p(x | y)."""
    kept = model.codecs["y"].of_prior
    log_weights = _log_likeness(model, x, kept)
    # all may be -inf
    weights = np.exp(log_weights - max(log_weights.max(), np.finfo(float).min))
    effective = weights.sum() ** 2 / max(np.square(weights).sum(), 1e-300)
    if not effective >= FEWEST:
        raise UserError(
            f"of {len(weights)} simulated data only {effective:.1f} are like what x ="
            f" {np.asarray(x).tolist()} would give, too few to predict from: simulate it, or give"
            " more pairs"
        )
    chosen = np.random.default_rng(seed).choice(len(weights), n, p=weights / weights.sum())
    return kept[chosen]


def _log_likeness(model, x, kept) -> np.ndarray:
    """log p(x | y) of one x [P] for data kept [K, M] but for a constant; the share inside bounds
    is computed where it matters."""
    if not isinstance(model.codec, Truncated):
        return model.log_prob(x, kept).astype(np.float64)
    encoded = model.codec.encode(x, model.dtype.as_numpy_dtype)
    value = np.asarray(model.log_prob_of_network(encoded, kept), np.float64)
    near = value > value.max(initial=-np.inf, where=~np.isnan(value)) - NEAR
    found = np.full(len(value), -np.inf)
    blocks = model.observed(kept[near])[0]
    shares = log_share_inside(model, blocks)
    found[near] = np.where(np.isnan(shares), -np.inf, value[near] - shares)
    return found


def _whitened(model, x: np.ndarray) -> np.ndarray:
    """theta [B, P] of the user's parameters; refuses those outside the prior's support."""
    theta = model.codec.encode(x, model.dtype.as_numpy_dtype).rows
    outside = np.flatnonzero(~np.isfinite(theta).all(-1))
    if len(outside):
        raise UserError(f"x = {x[outside[0]].tolist()} is outside what the prior allows")
    return theta


def _one_or_many(values, n, seed, names, what: str, dtype):
    """One row [M] or many [B, M] as rows, and the leading shape.

    Raises:
      UserError: something else, or an n or a seed that is none.
    """
    checked_count(n, least=1)
    checked_seed(seed)
    rows, lead = finite_rows(values, names, what, dtype.as_numpy_dtype)
    _check_lead(lead, len(names), what)
    return rows, lead


def _check_lead(lead, width: int, what: str) -> None:
    """Refuses more leading axes than one."""
    if len(lead) > 1:
        raise UserError(f"{what} must have shape [{width}] or [B, {width}]")


def _width(model) -> int:
    """Columns of the data, as the user has them."""
    return model.codecs["y"].shape[-1]


def _check_posterior(model) -> None:
    if not model.is_posterior:
        raise UserError("this model is not of parameters given data: it has no posterior")
