"""Planar and radial flows: one ridge or one bump a layer."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.bijectors.amortised import Amortised
from flow_models.bijectors.roots import increasing_root
from flow_models.bijectors.spline import MIN_SLOPE, UNIT_SLOPE


def above_minus_one(t: tf.Tensor) -> tf.Tensor:
    """A number above -1; 0 gives 0, a layer that does nothing."""
    return tf.nn.softplus(t + UNIT_SLOPE) + (MIN_SLOPE - 1)


def tanh_root(p: tf.Tensor, s: tf.Tensor) -> tf.Tensor:
    """t with t + p tanh(t) = s, for p > -1: the one equation that planar layers are inverted by."""

    def function(t):
        h = tf.tanh(t)
        return t + p * h - s, 1 + p * (1 - h * h)

    return increasing_root(function, s - tf.abs(p), s + tf.abs(p))


@dataclasses.dataclass(frozen=True)
class Planar(Amortised):
    """y = x + u tanh(w x + b), log |det| = log(1 + (w u) (1 - tanh^2)), with w u > -1.

    Variational inference with normalizing flows (Rezende and Mohamed 2015, equations 10 to 12 and
    appendix A.1, which keeps it invertible). A search in one dimension, for w x, inverts it. In the
    paper it carries latents to samples: `Inverse(Planar(size))` does, so both directions are here.

    Attributes: see `Amortised`.
    """

    @property
    def parts(self):
        return {"w": self.size, "u": self.size, "b": 1}

    def start(self, rng):
        return {"w": rng.normal(size=self.size), "b": rng.normal(size=1)}

    def _ridge(self, weights, condition):
        """w, u and b, with w u made larger than -1 by moving u along w; and w u."""
        w, u, b = self.parameters(weights, condition).values()
        given = tf.reduce_sum(w * u, 1, keepdims=True)
        slope = above_minus_one(given)
        length = tf.maximum(tf.reduce_sum(w * w, 1, keepdims=True), 1e-12)
        return w, u + (slope - given) * w / length, b, slope

    def forward_and_log_det(self, weights, x, condition=None):
        w, u, b, slope = self._ridge(weights, condition)
        h = tf.tanh(tf.reduce_sum(w * x, 1, keepdims=True) + b)
        return x + u * h, tf.math.log1p(slope * (1 - h * h))[:, 0]

    def inverse_and_log_det(self, weights, y, condition=None):
        w, u, b, slope = self._ridge(weights, condition)
        h = tf.tanh(tanh_root(slope, tf.reduce_sum(w * y, 1, keepdims=True) + b))
        return y - u * h, -tf.math.log1p(slope * (1 - h * h))[:, 0]


@dataclasses.dataclass(frozen=True)
class Radial(Amortised):
    """y = x + beta (x - c) / (alpha + r), r = |x - c|, alpha > 0, beta > -alpha.

        log |det| = (D - 1) log(1 + beta / (alpha + r)) + log(1 + alpha beta / (alpha + r)^2)

    Variational inference with normalizing flows (Rezende and Mohamed 2015, equation 14 and appendix
    A.2). The inverse is the root of a quadratic equation in r. Direction as in `Planar`.

    Attributes: see `Amortised`.
    """

    @property
    def parts(self):
        return {"centre": self.size, "log_alpha": 1, "beta": 1}

    def start(self, rng):
        return {"centre": rng.normal(size=self.size)}

    def _bump(self, weights, condition):
        """The centre, alpha, and beta / alpha > -1."""
        centre, log_alpha, beta = self.parameters(weights, condition).values()
        return centre, tf.exp(log_alpha), above_minus_one(beta)

    def _log_det(self, alpha, share, r):
        """share is beta / alpha, r [B, 1]."""
        near = alpha / (alpha + r)
        return ((self.size - 1) * tf.math.log1p(share * near) + tf.math.log1p(share * near * near))[
            :, 0
        ]

    def forward_and_log_det(self, weights, x, condition=None):
        centre, alpha, share = self._bump(weights, condition)
        r = _length(x - centre)
        y = x + share * alpha / (alpha + r) * (x - centre)
        return y, self._log_det(alpha, share, r)

    def inverse_and_log_det(self, weights, y, condition=None):
        """r^2 + q r = alpha R with R = |y - c| and q = alpha + beta - R, in its stable forms."""
        centre, alpha, share = self._bump(weights, condition)
        length = _length(y - centre)
        q = alpha * (1 + share) - length
        root = tf.sqrt(q * q + 4 * alpha * length)
        r = tf.where(q > 0, 2 * alpha * length / (tf.abs(q) + root), 0.5 * (tf.abs(q) + root))
        x = centre + (y - centre) / (1 + share * alpha / (alpha + r))
        return x, -self._log_det(alpha, share, r)


def _length(x):
    """|x| [B, 1], whose gradient at 0 is 0."""
    squares = tf.reduce_sum(x * x, 1, keepdims=True)
    return tf.sqrt(tf.maximum(squares, float(np.finfo(np.float32).tiny)))
