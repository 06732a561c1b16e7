"""Networks whose Lipschitz constant is bounded, for residual flows."""

import dataclasses
import math

import numpy as np
import scipy.special
import tensorflow as tf

from flow_models.bijectors.networks import ACTIVATIONS
from flow_models.bijectors.tangents import TangentMLP

STEEPEST = {"relu": 1.0, "silu": 1.0999, "tanh": 1.0, "gelu": 1.1290}  # slopes, rounded up
SQUARINGS = 4
HEAD = 8  # numbers of a token that a head of attention sees


def spectral_bound(w: tf.Tensor, squarings: int = SQUARINGS) -> tf.Tensor:
    """An upper bound of the largest singular value of w [I, O], differentiable in w:

        |W|_2 <= |G^(2^k)|_F^(1 / 2^(k+1)),  G = W^T W or W W^T, the smaller

    It is at most m^(1 / 2^(k+2)) times too large, m the rank: 1.07 for m = 64 and k = 4.
    """
    gram = tf.matmul(
        w, w, transpose_a=w.shape[0] > w.shape[1], transpose_b=w.shape[0] <= w.shape[1]
    )
    log_bound = tf.zeros([], w.dtype)
    for k in range(squarings + 1):
        norm = tf.sqrt(tf.reduce_sum(gram * gram) + 1e-24)  # never zero, where it has no gradient
        log_bound += tf.math.log(norm) / 2 ** (k + 1)
        gram = gram / norm
        gram = gram if k == squarings else gram @ gram
    return tf.exp(log_bound)


@dataclasses.dataclass(frozen=True)
class LipschitzMLP(TangentMLP):
    """A multilayer perceptron of x and a condition, whose Lipschitz constant in x is bounded.

    `bounded` scales each kernel so that `spectral_bound` is at most coefficient^(1/n), n kernels.
    Activations a(b h) / (b s), with the steepest slope s and a trained b > 0 each, have slopes of
    at most 1: for silu it is LipSwish (Chen, Behrmann, Duvenaud and Jacobsen 2019). The condition
    is free.

    Attributes:
      size: of x; the other inputs are the condition.
      coefficient: the Lipschitz constant that is allowed, below 1.
    """

    size: int = 0
    coefficient: float = 0.9

    def init(self, rng):
        betas = np.full(len(self.hidden), np.log(np.e - 1), np.float32)  # of softplus, 1
        return {**super().init(rng), "beta": betas}

    def bounded(self, weights):
        """The weights that the network is run with."""
        kernels = len(self.hidden) + 1
        largest = self.coefficient ** (1 / kernels)
        scaled = dict(weights)
        for i in range(kernels):
            w = weights[f"w{i}"]
            of_x, rest = (w[: self.size], w[self.size :]) if i == 0 else (w, w[:0])
            factor = largest / tf.maximum(spectral_bound(of_x), largest)
            scaled[f"w{i}"] = tf.concat([factor * of_x, rest], 0)
        return scaled

    def _activate(self, weights, i, x):
        beta = tf.nn.softplus(weights["beta"][i])
        return ACTIVATIONS[self.activation](beta * x) / (beta * STEEPEST[self.activation])


def attention_bound(tokens: int) -> float:
    """An upper bound of the Lipschitz constant of m_i = sum_j P_ij u_j for N tokens u_i, with
    P_ij ~ exp(-b |u_i - u_j|^2) and any b > 0:

        sqrt(N) + 2 q(N - 1) + 2 sqrt((N - 1) q(N - 1) q(1)),  q(n) exp(q(n) + 1) = n

    These are the terms of the proof of theorem 3.2 in Kim, Papamakarios and Mnih 2021, each bounded
    by itself: P_ij du_j, and the change of P_ij by u_i and by u_j. Of them together the theorem
    makes sqrt(N) (4 q(N - 1) + 1), which is larger.
    """
    others = tokens - 1
    spread = _most(others)  # of b sum_j P_ij |u_i - u_j|^2
    return math.sqrt(tokens) + 2 * spread + 2 * math.sqrt(others * spread * _most(1))


def _most(others: int) -> float:
    """q(n), the maximum of sum c_j exp(-c_j) / (1 + sum exp(-c_j)) over n numbers c_j >= 0."""
    return float(scipy.special.lambertw(others / math.e).real)


@dataclasses.dataclass(frozen=True)
class LipschitzAttention(LipschitzMLP):
    """A `LipschitzMLP` that sees x beside what attention makes of it:

        g(x, condition) = MLP([x, m / L] / sqrt(2), condition)
        m_i = sum_j P_ij u_j,  P_ij ~ exp(-b |u_i - u_j|^2),  u_i = x_i w_i + c_i

    A token u_i stands for each number x_i, with |w_i| at most 1; m / L has the Lipschitz constant 1
    by `attention_bound`. Each head sees `HEAD` numbers of a token and has its own trained b > 0.
    This is the L2 attention with equal queries and keys of The Lipschitz constant of self-attention
    (Kim, Papamakarios and Mnih 2021), whose values are the keys: the network behind it is free to
    combine them.

    Attributes:
      heads: of attention.

    Others as in `LipschitzMLP`.
    """

    heads: int = 4

    @property
    def _behind(self) -> LipschitzMLP:
        """The network that sees x and what attention makes of it."""
        seen = self.size * (1 + self.heads * HEAD)
        inputs = self.inputs - self.size + seen
        return LipschitzMLP(
            inputs, self.outputs, self.hidden, self.activation, seen, self.coefficient
        )

    def init(self, rng):
        width = self.heads * HEAD
        tokens = {
            "w": rng.normal(0, width**-0.5, (self.size, width)).astype(np.float32),
            "c": rng.normal(0, width**-0.5, (self.size, width)).astype(np.float32),
            "b": np.full(self.heads, np.log(np.e - 1), np.float32),  # of softplus, 1
        }
        return {"tokens": tokens, "behind": self._behind.init(rng)}

    def bounded(self, weights):
        w = weights["tokens"]["w"]
        norms = tf.sqrt(tf.reduce_sum(w * w, 1, keepdims=True) + 1e-24)
        tokens = weights["tokens"] | {"w": w / tf.maximum(norms, 1)}
        return {"tokens": tokens, "behind": self._behind.bounded(weights["behind"])}

    def __call__(self, weights, x):
        x, rest = x[:, : self.size], x[:, self.size :]
        seen = self._beside(x, self._attended(weights["tokens"], x)[2])
        return self._behind(weights["behind"], tf.concat([seen, rest], 1))

    def with_tangents(self, weights, x, seen, directions=None):
        tokens = weights["tokens"]
        if directions is None:
            directions = tf.eye(self.size, batch_shape=tf.shape(x)[:1], dtype=x.dtype)
        u, shares, m = self._attended(tokens, x)
        du = self._in_heads(directions[..., None] * tokens["w"])
        # of the exponents -b |u_i - u_j|^2 + b |u_i|^2, and so of P up to the sum over j
        change = tf.einsum("bkihd,bjhd->bkhij", du, u) + tf.einsum("bihd,bkjhd->bkhij", u, du)
        change -= tf.einsum("bjhd,bkjhd->bkhj", u, du)[:, :, :, None]
        change *= shares[:, None] * 2 * self._sharpness(tokens)
        dm = tf.einsum("bhij,bkjhd->bkihd", shares, du) + tf.einsum("bkhij,bjhd->bkihd", change, u)
        dm -= tf.einsum("bkhij,bihd->bkihd", change, m)
        beside, along = self._beside(x, m), self._beside(directions, dm)
        return self._behind.with_tangents(weights["behind"], beside, seen, along)

    def _attended(self, tokens, x):
        """Tokens u [B, N, H, d], shares P [B, H, N, N] and the means m [B, N, H, d]."""
        u = self._in_heads(x[:, :, None] * tokens["w"] + tokens["c"])
        products, squares = tf.einsum("bihd,bjhd->bhij", u, u), tf.einsum("bjhd,bjhd->bhj", u, u)
        exponents = self._sharpness(tokens) * (2 * products - squares[:, :, None])
        shares = tf.nn.softmax(exponents)
        return u, shares, tf.einsum("bhij,bjhd->bihd", shares, u)

    def _sharpness(self, tokens):
        return tf.nn.softplus(tokens["b"])[:, None, None]

    def _in_heads(self, tokens):
        """[..., N, H d] -> [..., N, H, d]."""
        return tf.reshape(tokens, [-1, *tokens.shape[1:-1], self.heads, HEAD])

    def _beside(self, x, m):
        """[x, m / L] / sqrt(2), x [..., N] and m [..., N, H, d]."""
        flat = tf.reshape(m, [-1, *x.shape[1:-1], self.size * self.heads * HEAD])
        return tf.concat([x, flat / attention_bound(self.size)], -1) / math.sqrt(2)
