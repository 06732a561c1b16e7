"""A summary network: the layers see a few learned numbers in place of a long condition."""

import dataclasses

from flow_models.bijectors.layer import Layer
from flow_models.bijectors.networks import MLP
from flow_models.bijectors.summaries import Attention, Convolutions
from flow_models.bijectors.trials import DeepSet

SummaryNetwork = DeepSet | Convolutions | Attention


@dataclasses.dataclass(frozen=True)
class Summarised(Layer):
    """`layer` under the condition network(condition): learned summary statistics, one for all
    layers inside.

    BayesFlow (Radev, Mertens, Voss, Ardizzone and Koethe 2020).

    Attributes:
      layer: what sees the summary; its condition is as wide as the network's outputs.
      network: [B, C] -> [B, K].
    """

    layer: Layer
    network: MLP | SummaryNetwork

    def init(self, rng):
        return {"network": self.network.init(rng), "layer": self.layer.init(rng)}

    def prepare(self, weights, condition):
        return self.network(weights["network"], condition)

    def forward_and_log_det(self, weights, x, condition=None):
        return self.layer.forward_and_log_det(weights["layer"], x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self.layer.inverse_and_log_det(weights["layer"], y, condition)

    def data_dependent_init(self, weights, x, condition=None):
        summary = self.prepare(weights, condition)
        inner, y = self.layer.data_dependent_init(weights["layer"], x, summary)
        return {**weights, "layer": inner}, y

    def check(self, x):
        self.layer.check(x)
