"""Elementwise maps, which coupling and autoregressive layers apply with parameters from a network.

A map takes `parameters` numbers per dimension, o [B, n, parameters]; x, y and log-derivatives are
[B, n]. Images have further axes [B, H, W, ...].
"""

import dataclasses
from typing import Any

import tensorflow as tf

from flow_models.core.serializable import Serializable


@dataclasses.dataclass(frozen=True)
class Affine(Serializable):
    """y = (x - t) exp(-s), s = bound tanh(o_s / bound).

    NICE (Dinh et al. 2015) with the scale of Real NVP (Dinh et al. 2017), in the direction of MAF
    (Papamakarios et al. 2017). No layer multiplies the density of a number by more than e^bound,
    which keeps training steady.
    """

    bound: float = 3.0

    @property
    def parameters(self) -> int:
        return 2

    def shift_and_log_scale(self, o):
        """t and s [B, n]."""
        return o[..., 0], self.bound * tf.tanh(o[..., 1] * (1.0 / self.bound))

    def forward_and_log_det(self, o, x):
        t, s = self.shift_and_log_scale(o)
        return (x - t) * tf.exp(-s), -s

    def inverse_and_log_det(self, o, y):
        t, s = self.shift_and_log_scale(o)
        return y * tf.exp(s) + t, s


@dataclasses.dataclass(frozen=True)
class Additive(Serializable):
    """y = x - t, which preserves volume (NICE, Dinh et al. 2015)."""

    @property
    def parameters(self) -> int:
        return 1

    def forward_and_log_det(self, o, x):
        return x - o[..., 0], tf.zeros_like(x)

    def inverse_and_log_det(self, o, y):
        return y + o[..., 0], tf.zeros_like(y)


@dataclasses.dataclass(frozen=True)
class Composed(Serializable):
    """y = second(first(x)); each map has its own parameters."""

    first: Any
    second: Any

    @property
    def parameters(self) -> int:
        return self.first.parameters + self.second.parameters

    def forward_and_log_det(self, o, x):
        cut = self.first.parameters
        x, d1 = self.first.forward_and_log_det(o[..., :cut], x)
        y, d2 = self.second.forward_and_log_det(o[..., cut:], x)
        return y, d1 + d2

    def inverse_and_log_det(self, o, y):
        cut = self.first.parameters
        y, d2 = self.second.inverse_and_log_det(o[..., cut:], y)
        x, d1 = self.first.inverse_and_log_det(o[..., :cut], y)
        return x, d1 + d2
