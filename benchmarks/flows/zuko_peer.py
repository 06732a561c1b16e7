"""zuko's own flows; the spline coupling is its NICE with its spline, as in its documentation."""

from functools import partial

import zuko
from zuko.transforms import MonotonicRQSTransform

from flows import protocol
from flows.torch_library import ACTIVATIONS, TorchLibrary


class Zuko(TorchLibrary):
    packages = ("zuko", "torch")

    def model(self, spec):
        common = {
            "transforms": spec["depth"],
            "hidden_features": spec["hidden"],
            "activation": ACTIVATIONS[spec["activation"]],
        }
        if spec["model"] == "realnvp":
            flow = zuko.flows.RealNVP(2, **common)
        elif spec["model"] == "maf":
            flow = zuko.flows.MAF(2, **common)
        else:
            bins = spec["bins"]
            spline = partial(MonotonicRQSTransform, bound=spec["bound"])
            flow = zuko.flows.NICE(
                2, univariate=spline, shapes=[(bins,), (bins,), (bins - 1,)], **common
            )
        return flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,))


if __name__ == "__main__":
    protocol.serve(Zuko)
