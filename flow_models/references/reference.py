"""The reference posterior: long Markov chains on the exact density of the simulator, with
convergence diagnostics.

All posteriors and chains form one batch, in coordinates u in which each posterior is nearly N(0,
I):

    theta = mode + L^-T u,   L L^T = I + J^T J at the mode (Gauss-Newton)

Hamiltonian Monte Carlo (Neal 2011; No-U-Turn, Hoffman and Gelman 2014) from `tfp.mcmc`, in float64.
If a search from several starts finds another mode, a chain starts there, so that R-hat reveals mass
that the chains do not exchange.
"""

import dataclasses
import functools
import time
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tqdm import tqdm

from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable
from flow_models.references import cache as reference_cache
from flow_models.references.laplace import Laplace, Modes, modes
from flow_models.simulators.simulator import Simulator

_WORTH_A_CHAIN = 1e-3  # relative mass of another mode from which a chain starts there
_BLOCK = 50  # transitions per compiled call


@dataclasses.dataclass(frozen=True)
class Sampling(Serializable):
    """How to sample. Equal settings and data give equal draws on one machine.

    Raises:
      UserError: settings that sample nothing.
    """

    kernel: str = "hmc"
    """hmc with at most `leapfrogs` steps, or nuts, which takes several times as long for nearly
    Gaussian posteriors"""
    chains: int = 4
    """chains per posterior, with separate starts"""
    warmup: int = 300
    """transitions per chain that tune the step size and are dropped"""
    draws: int = 2500
    """transitions per chain that count"""
    thin: int = 4
    """keep every so many-th of them"""
    leapfrogs: int = 6
    """most steps of an hmc transition; each transition draws 1 .. leapfrogs, because with a fixed
    number a nearly Gaussian posterior can oscillate at one distance from its mode"""
    acceptance: float = 0.8
    """target of the step size, which each posterior tunes for itself"""
    starts: int = 8
    """starts of the search for modes"""
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        wrong = [
            (getattr(self, name) < 1, f"{name} is {getattr(self, name)}, must be at least 1")
            for name in ("warmup", "draws", "thin", "leapfrogs", "starts")
        ] + [
            (self.kernel not in ("nuts", "hmc"), f"kernel is {self.kernel!r}, must be nuts or hmc"),
            (
                self.chains < 2,
                f"chains is {self.chains}, must be at least 2, or R-hat says nothing",
            ),
            (
                self.draws < 4 * self.thin,
                f"draws is {self.draws}, must be at least 4 thin = {4 * self.thin}",
            ),
            (
                not 0 < self.acceptance < 1,
                f"acceptance is {self.acceptance}, must be between 0 and 1",
            ),
        ]
        for is_wrong, message in wrong:
            if is_wrong:
                raise UserError(message)


@dataclasses.dataclass(frozen=True)
class Reference:
    """Draws of B posteriors of whitened parameters, with diagnostics; NumPy, float64.

    `chains` [B, C, n, P] are thinned. `rhat` [B] is the largest and `effective` [B] the smallest
    value over the parameters, from all draws before thinning (the effective sample size of all
    chains together). `other_mass` [B] is the mass of further modes relative to the best, by the
    Laplace approximation. `acceptance` [B]. `seconds` covers all of it, compilation included.
    """

    chains: np.ndarray
    rhat: np.ndarray
    effective: np.ndarray
    acceptance: np.ndarray
    other_mass: np.ndarray
    laplace: Laplace
    seconds: float

    @property
    def samples(self) -> np.ndarray:
        """Draws of all chains [B, C n, P], interleaved: any part of them represents all chains."""
        return self.chains.swapaxes(1, 2).reshape(len(self.chains), -1, self.chains.shape[3])

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws of the first half of the chains and of the others, [B, C n / 2, P] each.

        The score of a two-sample test between them is its null.
        """
        half = self.chains.shape[1] // 2
        flat = lambda part: part.swapaxes(1, 2).reshape(len(part), -1, part.shape[3])
        return flat(self.chains[:, :half]), flat(self.chains[:, half : 2 * half])


def reference(
    simulator: Simulator, y, settings: Sampling = Sampling(), folder=None, progress: bool = False
) -> Reference:
    """Draws of p(theta | y) for each row of y [B, M], from the cache in `folder` if they are there.

    Args:
      folder: of the cache; None: `flow_models/references` in the user's cache folder.
      progress: show a bar on stderr.

    Raises:
      UserError: y is not [B, M] with finite numbers.
    """
    y = np.asarray(y, np.float64)
    if y.ndim != 2 or y.shape[1] != simulator.data_size or not np.isfinite(y).all():
        raise UserError(
            f"data of shape {list(y.shape)}, expected finite numbers [B, {simulator.data_size}]"
        )
    path = reference_cache.path(folder, simulator, settings, y)
    kept = _unpacked(reference_cache.load(path))
    if kept is None:
        kept = sample(simulator, y, settings, progress)
        reference_cache.save(path, _packed(kept))
    return kept


def sample(
    simulator: Simulator, y: np.ndarray, settings: Sampling = Sampling(), progress: bool = False
) -> Reference:
    """Draws of p(theta | y) for each row of y [B, M], as `reference` without its cache."""
    begin = time.monotonic()
    found = modes(simulator, y, settings.starts, settings.seed)
    start = _starts(found, settings)
    draws, acceptance = _run(simulator, y, found.best, start, settings, progress)
    rhat, effective = convergence(draws)
    theta = _from_unit(found.best, draws[:: settings.thin]).transpose(1, 2, 0, 3)
    other = np.array([masses.sum() for masses in found.masses])
    return Reference(
        theta, rhat, effective, acceptance, other, found.best, time.monotonic() - begin
    )


def _starts(found: Modes, settings: Sampling) -> np.ndarray:
    """u [B, C, P]: draws from the Laplace approximation; the last chains start in other modes, if
    any."""
    rows, size = found.best.mean.shape
    start = np.random.default_rng((settings.seed, 1)).normal(size=(rows, settings.chains, size))
    for row, (others, masses) in enumerate(zip(found.others, found.masses)):
        worthy = others[masses > _WORTH_A_CHAIN][: settings.chains - 1]
        for chain, theta in enumerate(worthy, settings.chains - len(worthy)):
            start[row, chain] = found.best.factor[row].T @ (theta - found.best.mean[row])
    return start


def _from_unit(at: Laplace, u: np.ndarray) -> np.ndarray:
    """theta [n, B, C, P] = mode + L^-T u."""
    return at.mean[:, None] + np.einsum(
        "bpq,nbcq->nbcp", np.linalg.inv(at.factor).swapaxes(1, 2), u
    )


def _run(simulator, y, at, start, settings, progress):
    """Draws u [n, B, C, P] after the warm-up, and the mean acceptance [B]."""
    bootstrap, block = _sampler(simulator, settings, start.shape)
    constants = [tf.constant(value, tf.float64) for value in (y, at.mean, np.linalg.inv(at.factor))]
    state = tf.constant(start, tf.float64)
    results = bootstrap(state, *constants)
    draws, accepted, total = [], [], settings.warmup + settings.draws
    with tqdm(
        total=total, disable=not progress, unit="draw", desc="reference", dynamic_ncols=True
    ) as bar:
        for number in range(-(-total // _BLOCK)):
            states, accept, results = block(
                state, results, tf.constant([settings.seed, number]), *constants
            )
            state = states[-1]
            draws.append(states.numpy())
            accepted.append(accept.numpy())
            bar.update(min(_BLOCK, total - number * _BLOCK))
    keep = slice(settings.warmup, total)
    return np.concatenate(draws)[keep], np.concatenate(accepted)[keep].mean((0, 2))


@functools.lru_cache(maxsize=8)
def _sampler(simulator: Simulator, settings: Sampling, shape: tuple[int, int, int]):
    """Two compiled functions: the kernel results at a start, and a block of transitions.

    Data and preconditioner are arguments, so another batch of this size compiles nothing.
    """
    step = tf.fill([shape[0], 1, 1], tf.constant(0.5, tf.float64))

    def kernel(*constants):
        density = functools.partial(_log_density, simulator, *constants)
        if settings.kernel == "nuts":
            inner = tfp.mcmc.NoUTurnSampler(density, step, max_tree_depth=8)
        else:
            inner = _RandomLength(density, step, settings.leapfrogs)
        aim = tf.constant(settings.acceptance, tf.float64)
        return tfp.mcmc.DualAveragingStepSizeAdaptation(inner, int(0.8 * settings.warmup), aim)

    def bootstrap(state, *constants):
        return kernel(*constants).bootstrap_results(state)

    def block(state, results, seed, *constants):
        accept = lambda _, results: tf.exp(tf.minimum(results.inner_results.log_accept_ratio, 0.0))
        drawn = tfp.mcmc.sample_chain(
            _BLOCK,
            state,
            results,
            kernel(*constants),
            trace_fn=accept,
            return_final_kernel_results=True,
            seed=seed,
        )
        return drawn.all_states, drawn.trace, drawn.final_kernel_results

    compiled = functools.partial(tf.function, jit_compile=simulator.by_xla, autograph=False)
    return compiled(bootstrap), compiled(block)


class _RandomLength(tfp.mcmc.HamiltonianMonteCarlo):
    """HMC that draws the number of steps of each transition from 1 .. num_leapfrog_steps,
    independently of the state."""

    def one_step(self, current_state, previous_kernel_results, seed=None):
        seeds = tf.random.split(seed, 2)
        steps = tf.random.stateless_uniform([], seeds[0], 1, self.num_leapfrog_steps + 1, tf.int32)
        before = previous_kernel_results
        before = before._replace(
            accepted_results=before.accepted_results._replace(num_leapfrog_steps=steps)
        )
        return super().one_step(current_state, before, seeds[1])


def _log_density(simulator, y, mean, inverse_factor, u):
    """log p(theta(u) | y) [B, C] up to a constant; its gradient, -L^-1 (J^T r + theta), uses the
    simulator's Jacobian."""

    @tf.custom_gradient
    def density(u):
        shape = tf.shape(u)
        rows = lambda a: tf.reshape(a, [-1, a.shape[-1]])
        theta = mean[:, None] + tf.einsum("bqp,bcq->bcp", inverse_factor, u)
        data = tf.broadcast_to(y[:, None], [y.shape[0], u.shape[1], y.shape[1]])
        r, jacobian = simulator.residual_and_jacobian(rows(theta), rows(data))
        gradient = tf.reshape(tf.linalg.matvec(jacobian, r, transpose_a=True), shape) + theta
        value = -0.5 * (
            tf.reshape(tf.reduce_sum(tf.square(r), 1), shape[:2])
            + tf.reduce_sum(tf.square(theta), 2)
        )
        return (
            value,
            lambda upstream: (
                -upstream[..., None] * tf.einsum("bqp,bcp->bcq", inverse_factor, gradient)
            ),
        )

    return density(u)


def convergence(draws):
    """Largest R-hat and smallest effective sample size over the parameters, [B] each, of draws [n,
    B, C, P]."""
    level = tf.get_logger().level
    # TFP casts complex autocorrelations to real numbers; TensorFlow warns of it
    tf.get_logger().setLevel("ERROR")
    try:
        # one observation at a time: the transforms of all draws take ten times their memory
        found = [_convergence(tf.constant(draws[:, b])) for b in range(draws.shape[1])]
    finally:
        tf.get_logger().setLevel(level)
    rhat, effective = (np.array(each) for each in zip(*found))
    return rhat, effective


def _convergence(chains):
    """The same of chains [n, C, P] of one observation."""
    rhat = tfp.mcmc.potential_scale_reduction(chains, independent_chain_ndims=1, split_chains=True)
    effective = tfp.mcmc.effective_sample_size(
        chains, filter_beyond_positive_pairs=True, cross_chain_dims=1
    )
    return rhat.numpy().max(), effective.numpy().min()


def _packed(kept: Reference) -> dict[str, np.ndarray]:
    """All arrays by name; those of the Laplace approximation as "laplace.<name>"."""
    fields = {field.name: getattr(kept, field.name) for field in dataclasses.fields(Reference)}
    inner = fields.pop("laplace")
    return fields | {
        f"laplace.{field.name}": getattr(inner, field.name) for field in dataclasses.fields(Laplace)
    }


def _unpacked(arrays: dict[str, np.ndarray] | None) -> Reference | None:
    """The reference made of these arrays; None if there are none, or some are missing."""
    if arrays is None:
        return None
    try:
        inner = Laplace(*(arrays[f"laplace.{field.name}"] for field in dataclasses.fields(Laplace)))
        outer: dict[str, Any] = {
            field.name: arrays[field.name]
            for field in dataclasses.fields(Reference)
            if field.name != "laplace"
        }
        return Reference(**outer | {"laplace": inner, "seconds": float(outer["seconds"])})
    except (KeyError, TypeError):
        return None
