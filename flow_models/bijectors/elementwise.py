"""Maps of one number with parameters from elsewhere: what couplings and autoregressive layers apply.

A map has `parameters` numbers a dimension. They come as one array o [B, parameters * n], parameter-major (all shifts,
then all log-scales); x, y and log-derivatives are [B, n].
"""

import dataclasses

import tensorflow as tf

from flow_models.described import Described


@dataclasses.dataclass(frozen=True)
class Affine(Described):
    """y = (x - t) exp(-s), s = bound tanh(o_s / bound).

    NICE (Dinh et al. 2015) with the scale of RealNVP (Dinh et al. 2017), in the direction of MAF (Papamakarios et al.
    2017). The bound keeps a step of training from multiplying densities by more than e^bound a layer.
    """

    bound: float = 3.0

    @property
    def parameters(self) -> int:
        return 2

    def split(self, o, n):
        """Shift and log-scale [B, n] each."""
        return o[:, :n], self.bound * tf.tanh(o[:, n:] * (1.0 / self.bound))

    def forward_and_log_det(self, o, x):
        t, s = self.split(o, x.shape[1])
        return (x - t) * tf.exp(-s), -s

    def inverse_and_log_det(self, o, y):
        t, s = self.split(o, y.shape[1])
        return y * tf.exp(s) + t, s


@dataclasses.dataclass(frozen=True)
class Additive(Described):
    """y = x - t: volume-preserving (NICE, Dinh et al. 2015)."""

    @property
    def parameters(self) -> int:
        return 1

    def forward_and_log_det(self, o, x):
        return x - o, tf.zeros_like(x)

    def inverse_and_log_det(self, o, y):
        return y + o, tf.zeros_like(y)


@dataclasses.dataclass(frozen=True)
class Composed(Described):
    """y = second(first(x)), each with its own share of the parameters."""

    first: Described
    second: Described

    @property
    def parameters(self) -> int:
        return self.first.parameters + self.second.parameters

    def _shares(self, o, n):
        cut = self.first.parameters * n
        return o[:, :cut], o[:, cut:]

    def forward_and_log_det(self, o, x):
        o1, o2 = self._shares(o, x.shape[1])
        x, d1 = self.first.forward_and_log_det(o1, x)
        y, d2 = self.second.forward_and_log_det(o2, x)
        return y, d1 + d2

    def inverse_and_log_det(self, o, y):
        o1, o2 = self._shares(o, y.shape[1])
        y, d2 = self.second.inverse_and_log_det(o2, y)
        x, d1 = self.first.inverse_and_log_det(o1, y)
        return x, d1 + d2
