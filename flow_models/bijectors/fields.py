"""Velocity fields of continuous flows, with their divergence."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.tangents import TangentMLP
from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable

EXACT = 16  # dimensions up to which the divergence is exact
WAVES = (1, 2)  # half periods of the sines and cosines by which a network sees the time
EARLY = 0.02  # time scale that is resolved at t = 0, where densities of data are sharp


@dataclasses.dataclass(frozen=True)
class FreeField(Serializable):
    """f(t, x, condition), a multilayer perceptron; the field of FFJORD (Grathwohl et al. 2019).

    Attributes:
      size: dimensions D.
      hidden, activation: of the network; relu has no curvature to learn densities by.
      condition_size: width of a condition; 0 for none.
      divergence: exact (D directional derivatives), estimate (one: v^T J v with random signs v,
        Hutchinson's), or auto: exact up to `EXACT` dimensions.
    """

    size: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "silu"
    condition_size: int = 0
    divergence: str = "auto"

    def __post_init__(self):
        super().__post_init__()
        if self.divergence not in ("auto", "exact", "estimate"):
            known = "auto, exact or estimate"
            raise UserError(f"divergence is {self.divergence!r}, must be {known}")

    @property
    def is_exact(self) -> bool:
        """Whether the divergence is exact."""
        return self.divergence == "exact" or self.divergence == "auto" and self.size <= EXACT

    @property
    def _network(self):
        inputs = self.size + 2 + 2 * len(WAVES) + self.condition_size
        return TangentMLP(inputs, self.size, self.hidden, self.activation)

    def init(self, rng):
        """Initial weights, of a field that is zero."""
        return self._network.init(rng)

    def velocity(self, weights, t, x, condition=None):
        """f [B, D] for times t [B] and x [B, D]."""
        return self._network(weights, tf.concat([x, *_seen(t, condition)], 1))

    def velocity_and_divergence(self, weights, t, x, condition=None, signs=None):
        """f [B, D] and its divergence [B], which is an estimate where `signs` [B, D] are given."""
        along = None if signs is None else signs[:, None]
        f, tangents = self._network.with_tangents(weights, x, _seen(t, condition), along)
        if signs is None:
            return f, tf.linalg.trace(tangents)
        return f, tf.reduce_sum(signs * tangents[:, 0], 1)


def _seen(t, condition):
    """What a network sees beside x: the time, in several forms, and the condition."""
    t = t[:, None]
    early = tf.math.log(t + EARLY) / 2 + 1  # from -1 to 1
    waves = [wave(np.pi * k * t) for k in WAVES for wave in (tf.sin, tf.cos)]
    return [t, early, *waves, *([] if condition is None else [condition])]


@dataclasses.dataclass(frozen=True)
class PotentialField(Serializable):
    """f = -grad_x Phi(s), s = (x, t, condition), with its divergence in closed form.

        Phi(s) = w^T u_M(s) + |A s|^2 / 2 + b^T s
        u_0 = a(K_0 s + b_0),  u_i = u_(i-1) + a(K_i u_(i-1) + b_i) / M,  a(x) = log 2 cosh x

    OT-Flow (Onken, Wu Fung, Li and Ruthotto 2021): paths of least transport have a potential.

    Attributes:
      size: dimensions D.
      width: of u.
      blocks: M.
      condition_size: width of a condition; 0 for none.
      rank: of A^T A, at most.
    """

    size: int
    width: int = 32
    blocks: int = 1
    condition_size: int = 0
    rank: int = 10

    is_exact = True

    def __post_init__(self):
        super().__post_init__()
        if min(self.width, self.blocks, self.rank) < 1:
            raise UserError("width, blocks and rank of a potential must be at least 1")

    def init(self, rng):
        """Initial weights, of a potential that is zero."""
        size, rank = self.size + 1 + self.condition_size, min(self.rank, self.size + 1)
        shapes = [(size, self.width), *[(self.width, self.width)] * self.blocks]
        kernels = {
            f"k{i}": rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)
            for i, shape in enumerate(shapes)
        }
        shifts = {f"b{i}": np.zeros(self.width, np.float32) for i in range(self.blocks + 1)}
        ends = {"w": np.zeros(self.width, np.float32), "linear": np.zeros(size, np.float32)}
        quadratic = {"a": rng.normal(0, 0.01, (size, rank)).astype(np.float32)}
        return {**kernels, **shifts, **ends, **quadratic}

    def velocity(self, weights, t, x, condition=None):
        """f [B, D] for times t [B] and x [B, D]."""
        return self.velocity_and_divergence(weights, t, x, condition)[0]

    def velocity_and_divergence(self, weights, t, x, condition=None, signs=None):
        """f [B, D] and its divergence [B]."""
        size, blocks = self.size, self.blocks
        s = tf.concat([x, t[:, None], *([] if condition is None else [condition])], 1)
        # up: u_i, and its derivative by x, [B, D, width]
        k = weights["k0"]
        inputs, along = [s @ k + weights["b0"]], [k[None, :size]]
        u, du = _log_cosh(inputs[0]), tf.tanh(inputs[0])[:, None] * along[0]
        for i in range(1, blocks + 1):
            k = weights[f"k{i}"]
            inputs.append(u @ k + weights[f"b{i}"])
            along.append(tf.reshape(tf.reshape(du, [-1, self.width]) @ k, tf.shape(du)))
            u += _log_cosh(inputs[i]) / blocks
            du += tf.tanh(inputs[i])[:, None] * along[i] / blocks
        # down: z = dPhi/du_i; each layer adds its own curvature to the Laplacian
        z, laplacian = tf.ones_like(u) * weights["w"], tf.reduce_sum(weights["a"][:size] ** 2)
        for i in range(blocks, -1, -1):
            slope, share = tf.tanh(inputs[i]), 1 / blocks if i else 1.0
            curved = share * z * (1 - slope * slope)
            laplacian += tf.reduce_sum(curved[:, None] * along[i] ** 2, [1, 2])
            back = tf.matmul(share * z * slope, weights[f"k{i}"], transpose_b=True)
            z = z + back if i else back
        quadratic = tf.matmul(s @ weights["a"], weights["a"], transpose_b=True)
        gradient = z + quadratic + weights["linear"]
        return -gradient[:, :size], -laplacian


def _log_cosh(x):
    """log(exp(x) + exp(-x)), without overflow."""
    return tf.abs(x) + tf.nn.softplus(-2 * tf.abs(x))
