"""Elementwise maps, which coupling and autoregressive layers apply with parameters from a network.

A map takes `parameters` numbers per dimension, o [B, n, parameters]; x, y and log-derivatives are
[B, n]. Images have further axes [B, H, W, ...].
"""

import dataclasses
from typing import Any

import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable


@dataclasses.dataclass(frozen=True)
class Elementwise(Serializable):
    """The interface of a map y = f(x; o) of single numbers, increasing in x.

    Shapes: o [B, n, parameters] from a network, all zeros at first; x, y and log-slopes [B, n].
    Images have further axes [B, H, W, ...].

    Raises:
      UserError: in all three, where the subclass does not define it.
    """

    @property
    def parameters(self) -> int:
        """Numbers that the map takes for each dimension."""
        raise UserError(f"the map {type(self).__name__} is not complete: write its parameters")

    def forward_and_log_det(self, o, x):
        """y and log dy/dx, [B, n] each."""
        raise UserError(f"the map {type(self).__name__} is not complete: write its forward")

    def inverse_and_log_det(self, o, y):
        """x and log dx/dy, [B, n] each."""
        raise UserError(f"the map {type(self).__name__} is not complete: write its inverse")


@dataclasses.dataclass(frozen=True)
class Affine(Elementwise):
    """y = (x - t) exp(-s), s = bound tanh(o_s / bound).

    NICE (Dinh et al. 2015) with the scale of Real NVP (Dinh et al. 2017), in the direction of MAF
    (Papamakarios et al. 2017). No layer multiplies the density of a number by more than e^bound,
    which keeps training steady.

    Attributes:
      bound: of |s|.
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
class Additive(Elementwise):
    """y = x - t, which preserves volume (NICE, Dinh et al. 2015)."""

    @property
    def parameters(self) -> int:
        return 1

    def forward_and_log_det(self, o, x):
        return x - o[..., 0], tf.zeros_like(x)

    def inverse_and_log_det(self, o, y):
        return y + o[..., 0], tf.zeros_like(y)


@dataclasses.dataclass(frozen=True)
class Composed(Elementwise):
    """y = second(first(x)); each map has its own parameters.

    Attributes:
      first, second: two `Elementwise` maps.
    """

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
