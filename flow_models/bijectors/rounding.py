"""Whole numbers as numbers, with learned noise."""

import dataclasses
from typing import Any

from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.levels import Dequantisation
from flow_models.bijectors.spline import RationalQuadratic


@dataclasses.dataclass(frozen=True)
class Rounding(Dequantisation):
    """x = k + u -> k + g(u; k), for vectors of whole numbers k with uniform noise u, which columns
    of the kind integer get: rounding as a surjection (SurVAE flows, Nielsen et al. 2020). Without
    it the noise stays uniform. g is two couplings of splines from [0, 1] to itself.

    log p is a bound, over the noise; the distribution functions of whole numbers have none
    (`cdf.CountCDF`) and are what `architectures.mixed` takes.

    Attributes:
      channels: columns.
      levels: about how many whole numbers there are; the network sees k / levels - 1/2.

    Others as in `Dequantisation`.
    """

    @property
    def size(self) -> int:
        return self.channels

    @property
    def flow(self) -> Chain:
        options: dict[str, Any] = {"hidden": self.hidden, "activation": self.activation}
        layer = Coupling if self.size > 1 else Autoregressive
        spline = RationalQuadratic(self.bins, bound=0.5)
        step = layer(self.size, spline, **options, condition_size=self.size)
        return Chain([step, step])
