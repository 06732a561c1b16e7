"""nflows: its transforms composed as in its SimpleRealNVP and MaskedAutoregressiveFlow, with plain
perceptrons."""

from functools import partial

from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    ReversePermutation,
)

from flows import protocol
from flows.torch_library import Conditioner, TorchLibrary


class Nflows(TorchLibrary):
    packages = ("nflows", "torch")

    def model(self, spec):
        steps = [step for k in range(spec["depth"]) for step in self._layer(spec, k)]
        flow = Flow(CompositeTransform(steps), StandardNormal([2]))
        return flow, flow.log_prob, flow.sample

    def _layer(self, spec, k):
        if spec["model"] == "maf":
            # its network has one hidden layer more than blocks
            made = MaskedAffineAutoregressiveTransform(
                2, spec["hidden"][0], num_blocks=len(spec["hidden"]) - 1, use_residual_blocks=False
            )
            return [ReversePermutation(2), made]
        network = partial(Conditioner, hidden=spec["hidden"], activation=spec["activation"])
        mask = [k % 2, 1 - k % 2]
        if spec["model"] == "realnvp":
            return [AffineCouplingTransform(mask, network)]
        return [
            PiecewiseRationalQuadraticCouplingTransform(
                mask, network, num_bins=spec["bins"], tails="linear", tail_bound=spec["bound"]
            )
        ]


if __name__ == "__main__":
    protocol.serve(Nflows)
