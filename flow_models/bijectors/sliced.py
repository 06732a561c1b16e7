"""A part of a vector that leaves, given the rest."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned
from flow_models.bijectors.networks import MLP
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Slice(Conditioned):
    """(a, b) -> (a, transform(b; network(a))): the tensor slice of SurVAE flows (Nielsen et al.
    2020), which drops b and keeps a, the first `kept` numbers.

    Layers behind it act on a alone. What is dropped becomes normal numbers by p(b | a), so the
    density is exact. Where b is noise beside data a, this is the slice in the generative
    direction, with q(b | a) as its posterior, and log p is a bound.

    Attributes:
      kept: width of a, 1 to size - 1.

    Others as in `Conditioned`.
    """

    kept: int = 1

    def __post_init__(self):
        if not 1 <= self.kept < self.size:
            raise UserError(f"kept is {self.kept}, must be 1 to {self.size - 1}")
        super().__post_init__()

    @property
    def transformed(self) -> int:
        return self.size - self.kept

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.transformed
        return MLP(self.kept + self.condition_size, outputs, self.hidden, self.activation)

    def _run(self, direction, weights, x, condition):
        a, b = x[:, : self.kept], x[:, self.kept :]
        b, log_slopes = direction(self.parameters(weights, a, condition), b)
        return tf.concat([a, b], -1), tf.reduce_sum(log_slopes, 1)

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(self.transform.forward_and_log_det, weights, x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(self.transform.inverse_and_log_det, weights, y, condition)
