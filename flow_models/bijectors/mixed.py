"""A flow of columns of several kinds: categories, counts, angles and atoms first, numbers last."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import CDF, from_normal, to_normal
from flow_models.bijectors.layer import Frozen, Layer
from flow_models.bijectors.networks import MLP


@dataclasses.dataclass(frozen=True)
class Mixed(Layer):
    """p(x) = prod_i p(x_i | x_j, j < i) p(c | x_1 .. x_m): columns with a `CDF`, in their order,
    each given those before it by a network of its own; then the others c, by a flow that is given
    all of them.

    The density of a row with whole numbers k + u is exact and does not depend on u. Latents stand
    at the places of their columns, so a latent of one of the first columns belongs to it alone.

    Attributes:
      columns: a CDF a column, None for the columns of the flow.
      layer: the flow, whose condition is `features` wide (see `features_of`); None where every
        column has a CDF.
      condition_size: width of a condition that all see.
      hidden, activation: of the networks.
    """

    columns: Sequence[CDF | None]
    layer: Layer | None = None
    condition_size: int = 0
    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"

    @property
    def size(self) -> int:
        return len(self.columns)

    @property
    def _first(self) -> list[int]:
        return [i for i, cdf in enumerate(self.columns) if cdf is not None]

    @property
    def _rest(self) -> list[int]:
        return [i for i, cdf in enumerate(self.columns) if cdf is None]

    def _networks(self) -> list[MLP]:
        """One a column with a CDF; a column of ones stands where there is nothing to see."""
        found, seen = [], self.condition_size + 1
        for cdf in self._cdfs():
            found.append(MLP(seen, cdf.parameters, self.hidden, self.activation))
            seen += cdf.features
        return found

    def _cdfs(self) -> list[CDF]:
        return [cdf for cdf in self.columns if cdf is not None]

    @property
    def _measuring(self) -> dict[str, CDF]:
        """Columns, by their number, whose CDF measures the training data."""
        steps = zip(self._first, self._cdfs(), strict=True)
        return {str(i): cdf for i, cdf in steps if cdf.measures}

    def init(self, rng):
        networks = [network.init(rng) for network in self._networks()]
        for weights, cdf in zip(networks, self._cdfs(), strict=True):
            weights[f"b{len(self.hidden)}"] = cdf.start().astype(np.float32)
        weights = {"networks": networks}
        if self._measuring:
            found = {name: cdf.measure() for name, cdf in self._measuring.items()}
            weights["measured"] = {
                name: Frozen(value.astype(np.float32)) for name, value in found.items()
            }
        return weights if self.layer is None else {**weights, "layer": self.layer.init(rng)}

    def forward_and_log_det(self, weights, x, condition=None):
        columns, latents = tf.unstack(x, axis=1), dict.fromkeys(range(self.size))
        seen, tails = self._nothing(x, condition), []
        for place, cdf, measured, parameters in self._steps(weights):
            tails.append(cdf.tails(parameters(seen), columns[place]))
            seen.append(cdf.seen(columns[place], measured))
        # of all columns at once, which compiles faster
        z, log_det = to_normal(*(tf.stack(each, 1) for each in zip(*tails, strict=True)))
        latents |= dict(zip(self._first, tf.unstack(z, axis=1), strict=True))
        total = tf.reduce_sum(log_det, 1)
        if self.layer is not None:
            rest, c = tf.stack([columns[place] for place in self._rest], 1), self._given(seen)
            c = self.layer.prepare(weights["layer"], c)
            z, log_det = self.layer.forward_and_log_det(weights["layer"], rest, c)
            latents |= dict(zip(self._rest, tf.unstack(z, axis=1), strict=True))
            total += log_det
        return tf.stack(list(latents.values()), 1), total

    def inverse(self, weights, y, condition=None):
        latents, columns = tf.unstack(y, axis=1), dict.fromkeys(range(self.size))
        seen, (lower, upper) = self._nothing(y, condition), from_normal(y)
        for place, cdf, measured, parameters in self._steps(weights):
            columns[place] = cdf.quantile(parameters(seen), lower[:, place], upper[:, place])
            seen.append(cdf.seen(columns[place], measured))
        if self.layer is not None:
            rest, c = tf.stack([latents[place] for place in self._rest], 1), self._given(seen)
            c = self.layer.prepare(weights["layer"], c)
            x = self.layer.inverse_and_log_det(weights["layer"], rest, c)[0]
            columns |= dict(zip(self._rest, tf.unstack(x, axis=1), strict=True))
        return tf.stack(list(columns.values()), 1)

    def data_dependent_init(self, weights, x, condition=None):
        x = tf.convert_to_tensor(x)
        found = {
            name: cdf.measure(np.asarray(x[:, int(name)], np.float64))
            for name, cdf in self._measuring.items()
        }
        found = {name: tf.constant(value, x.dtype) for name, value in found.items()}
        weights = {**weights, "measured": found} if found else weights
        if self.layer is not None:
            seen = self._nothing(x, condition)
            seen += [self.columns[i].seen(x[:, i], found.get(str(i))) for i in self._first]
            rest = tf.gather(x, self._rest, axis=1)
            layer = weights["layer"]
            c = self.layer.prepare(layer, self._given(seen))
            weights = {**weights, "layer": self.layer.data_dependent_init(layer, rest, c)[0]}
        return weights, self.forward_and_log_det(weights, x, condition)[0]

    def check(self, x):
        for place in self._first:
            self.columns[place].check(x[:, place], f"column {place}")
        if self.layer is not None:
            self.layer.check(x[:, self._rest])

    def _steps(self, weights):
        """The place, the CDF and what it measured, and its parameters as a function of what is
        seen."""
        found = weights.get("measured", {})
        steps = zip(self._first, self._cdfs(), self._networks(), weights["networks"], strict=True)
        for place, cdf, network, w in steps:
            measured = found.get(str(place))
            yield place, cdf, measured, functools.partial(_parameters, network, w, measured)

    def _nothing(self, x, condition):
        ones = tf.ones_like(x[:, :1])
        return [ones] if condition is None else [ones, condition]

    def _given(self, seen):
        """What the flow is given; the ones in front say nothing."""
        return tf.concat(seen[1:], 1)


def _parameters(network, weights, measured, seen):
    """Parameters of a CDF [B, parameters], and what it measured behind them."""
    o = network(weights, tf.concat(seen, 1))
    if measured is None:
        return o
    return tf.concat([o, tf.tile(measured[None], [tf.shape(o)[0], 1])], 1)


def features_of(columns: Sequence[CDF | None]) -> int:
    """Width of what the flow behind the columns is given of them."""
    return sum(cdf.features for cdf in columns if cdf is not None)
