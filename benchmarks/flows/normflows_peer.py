"""normflows: its layers with plain perceptrons; `Reverse` turns layers whose fast direction is the
other one."""

from functools import partial

import normflows
import torch
from normflows.flows.base import Reverse
from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling

from flows import protocol
from flows.torch_library import Conditioner, TorchLibrary


class Normflows(TorchLibrary):
    packages = ("normflows", "torch")

    def model(self, spec):
        steps = [step for k in range(spec["depth"]) for step in self._layer(spec, k)]
        flow = normflows.NormalizingFlow(
            normflows.distributions.DiagGaussian(2, trainable=False), steps
        )
        return flow, flow.log_prob, lambda n: flow.sample(n)[0]

    def _layer(self, spec, k):
        network = partial(Conditioner, hidden=spec["hidden"], activation=spec["activation"])
        swap = normflows.flows.Permute(2, "swap")
        if spec["model"] == "maf":
            # its network has one hidden layer more than blocks, and no activation after the
            # first
            made = normflows.flows.MaskedAffineAutoregressive(
                2, spec["hidden"][0], num_blocks=len(spec["hidden"]) - 1, use_residual_blocks=False
            )
            return [Reverse(made), swap]
        if spec["model"] == "realnvp":
            return [normflows.flows.AffineCouplingBlock(network(1, 2)), swap]
        return [
            Reverse(
                PiecewiseRationalQuadraticCoupling(
                    torch.tensor([k % 2, 1 - k % 2]),
                    network,
                    num_bins=spec["bins"],
                    tails="linear",
                    tail_bound=spec["bound"],
                )
            )
        ]


if __name__ == "__main__":
    protocol.serve(Normflows)
