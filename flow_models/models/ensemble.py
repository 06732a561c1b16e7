"""Several posteriors as one: the mean of the densities of members that were trained apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from flow_models.bijectors.face import FlowBijector
from flow_models.models.model import Model


class Ensemble(Model):
    """p(x | y) = mean_k p_k(x | y); a sample is one of a member, each member's turn as often.

    Where pairs are few, members differ, and their mean is less sure of itself than each of them.
    Simple and scalable predictive uncertainty estimation using deep ensembles (Lakshminarayanan,
    Pritzel and Blundell 2017).

    Args:
      bijectors: of the members, with layers alike; they share frame, partition and codecs.

    Others as in `Model`.
    """

    def __init__(self, bijectors: Sequence[FlowBijector], partition, codecs, **options):
        super().__init__(bijectors[0], partition, codecs, **options)
        self._members = [Model(each, partition, self.codecs, jit=self.jit) for each in bijectors]
        for member in self._members:
            member.passes = self.passes.of(member.bijector)

    @property
    def members(self):
        return self._members

    def log_prob_of_network(self, encoded, y=None) -> np.ndarray:
        each = [member.log_prob_of_network(encoded, y) for member in self.members]
        return np.logaddexp.reduce(each, 0) - math.log(len(each))
