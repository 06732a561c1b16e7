"""Recursive couplings, whose Jacobian is a dense triangle."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned
from flow_models.bijectors.layer import no_log_det, sum_event
from flow_models.bijectors.networks import MLP
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class RecursiveCoupling(Conditioned):
    """f(a, b) = (f(a), transform(f(b); network(a))), where f of a half is f of its halves, down to
    single numbers.

    HINT: Hierarchical invertible neural transport for density estimation and Bayesian inference
    (Kruse, Detommaso, Köthe and Scheichl 2021). Every number depends on all before it, as in an
    autoregressive layer, and both directions take log2(size) networks one after the other.

    Attributes: see `Conditioned`; `size` is at least 2.
    """

    def __post_init__(self):
        if self.size < 2:
            raise UserError(f"a recursive coupling needs at least 2 dimensions, got {self.size}")
        super().__post_init__()

    @property
    def kept(self) -> int:
        """Dimensions of the first half, which the network sees."""
        return self.size // 2

    @property
    def transformed(self) -> int:
        return self.size - self.kept

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.transformed
        return MLP(self.kept + self.condition_size, outputs, self.hidden, self.activation)

    @property
    def halves(self) -> dict[str, "RecursiveCoupling"]:
        """The couplings inside the halves of at least two numbers."""
        sizes = {"first": self.kept, "second": self.transformed}
        return {
            name: dataclasses.replace(self, size=size) for name, size in sizes.items() if size > 1
        }

    def init(self, rng):
        inside = {name: half.init(rng) for name, half in self.halves.items()}
        return {"network": super().init(rng), **inside}

    def _in_half(self, direction, name, weights, x, condition):
        if name not in weights:
            return x, no_log_det(x)
        return getattr(self.halves[name], direction)(weights[name], x, condition)

    def forward_and_log_det(self, weights, x, condition=None):
        run, a, b = "forward_and_log_det", x[:, : self.kept], x[:, self.kept :]
        o = self.parameters(weights["network"], a, condition)
        b, second = self._in_half(run, "second", weights, b, condition)
        b, log_slopes = self.transform.forward_and_log_det(o, b)
        a, first = self._in_half(run, "first", weights, a, condition)
        return tf.concat([a, b], 1), first + second + sum_event(log_slopes)

    def inverse_and_log_det(self, weights, y, condition=None):
        run, a, b = "inverse_and_log_det", y[:, : self.kept], y[:, self.kept :]
        a, first = self._in_half(run, "first", weights, a, condition)
        o = self.parameters(weights["network"], a, condition)
        b, log_slopes = self.transform.inverse_and_log_det(o, b)
        b, second = self._in_half(run, "second", weights, b, condition)
        return tf.concat([a, b], 1), first + second + sum_event(log_slopes)
